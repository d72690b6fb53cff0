"""Imitates Windows, as far as Linux can, in every Python process that has this folder on its PYTHONPATH.

Python imports this file when it starts, in spawned processes too.

- The modules of Unix are missing, and multiprocessing spawns.
- The functions, flags and signals of Unix, and the system's name, are hidden from woof_lightning alone: the standard
  library, PyTorch and Lightning rely on them wherever `sys.platform` is linux.
- Under PYTHONWARNDEFAULTENCODING=1, text that woof_lightning opens without an encoding is an error.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import types
import warnings
from collections.abc import Mapping
from typing import Any

MODULES = ("fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
# What the documentation of `os` marks as available on Unix, without the rest of its scheduling and ids.
FUNCTIONS = (
    *("chown", "chroot", "confstr", "copy_file_range", "eventfd", "fchdir", "fchmod", "fchown", "fork", "forkpty"),
    *("fstatvfs", "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp", "getsid", "getuid"),
    *("killpg", "lchown", "lockf", "memfd_create", "mkfifo", "nice", "openpty", "pidfd_open", "pipe2", "posix_spawn"),
    *("pread", "preadv", "pwrite", "pwritev", "readv", "register_at_fork", "sched_getaffinity", "sched_setaffinity"),
    *("sched_yield", "sendfile", "setpgid", "setsid", "splice", "statvfs", "sync", "sysconf", "uname", "wait", "wait3"),
    *("wait4", "waitid", "writev", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "WNOHANG"),
)
SIGNALS_OF_WINDOWS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
PACKAGE = "woof_lightning"
MISSING = object()
frame = sys._getframe


class Imitated(types.ModuleType):
    """A module that shows other things to the package than to others."""

    _shown: Mapping[str, Any]

    def __getattribute__(self, name: str) -> Any:
        shown = super().__getattribute__("__dict__").get("_shown", {})
        if name not in shown or not str(frame(1).f_globals.get("__name__")).startswith(PACKAGE):
            return super().__getattribute__(name)
        if shown[name] is MISSING:
            raise AttributeError(f"{name} is not there on Windows")
        return shown[name]


def imitate(module: types.ModuleType, shown: Mapping[str, Any]) -> None:
    """Shows other things in a module to the package; MISSING hides one."""
    module.__dict__["_shown"] = shown
    module.__class__ = Imitated


signals = [name for name in dir(signal) if name.startswith(("SIG", "sig", "pthread_")) and name != "signal"]
imitate(signal, dict.fromkeys({*signals, "alarm", "pause", "setitimer"} - SIGNALS_OF_WINDOWS, MISSING))
imitate(os, {**dict.fromkeys(FUNCTIONS, MISSING), "name": "nt"})
imitate(select, dict.fromkeys(("epoll", "poll"), MISSING))
imitate(sys, {"platform": "win32"})
multiprocessing.set_start_method("spawn")
for missing in MODULES:
    sys.modules[missing] = None  # type: ignore[assignment]
warnings.filterwarnings("error", category=EncodingWarning, module=PACKAGE)
