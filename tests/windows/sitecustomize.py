"""Imitates Windows, as far as Linux can, in every Python process that has this folder on its PYTHONPATH.

Python imports this file when it starts, in spawned processes too.

- The modules of Unix are missing, and multiprocessing spawns.
- The functions, flags and signals of Unix are hidden from woof_lightning alone: the standard library, PyTorch and
  Lightning rely on them wherever `sys.platform` is linux. That stays, since Python makes its modules by `type(sys)`.
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
from collections.abc import Iterable
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


class Imitated(types.ModuleType):
    """A module that hides names from the package."""

    _hidden: frozenset[str]

    def __getattribute__(self, name: str) -> Any:
        hidden = super().__getattribute__("__dict__")["_hidden"]
        if name in hidden and str(sys._getframe(1).f_globals.get("__name__")).startswith(PACKAGE):
            raise AttributeError(f"{name} is not there on Windows")
        return super().__getattribute__(name)


def hide(names: Iterable[str], module: types.ModuleType) -> None:
    """Hides names of a module from the package."""
    module.__dict__["_hidden"] = frozenset(names)
    module.__class__ = Imitated


signals = [name for name in dir(signal) if name.startswith(("SIG", "sig", "pthread_")) and name != "signal"]
hide({*signals, "alarm", "pause", "setitimer"} - SIGNALS_OF_WINDOWS, signal)
hide(FUNCTIONS, os)
hide(("epoll", "poll"), select)
multiprocessing.set_start_method("spawn")
for missing in MODULES:
    sys.modules[missing] = None  # type: ignore[assignment]
warnings.filterwarnings("error", category=EncodingWarning, module=PACKAGE)
