"""A process that has imported torch and Lightning, and forks itself into each command that a test starts.

A command starts at once instead of after the ten seconds that importing takes. What it does then is what a new
interpreter would do: it has a session, a folder, an environment and outputs of its own, imports the package anew, and
ends as Python ends. `tests.processes` talks to it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import types
from pathlib import Path
from typing import Any

# What a training imports of other people's.
IMPORTED = ("torch", "lightning.pytorch.cli", "torchvision.transforms.v2", "torch.utils.tensorboard")


def serve(path: Path, owner: int) -> dict[str, Any]:
    """Answers requests until its owner ends; returns in each forked child, with the request."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # The minders leave no zombies.
    listener.settimeout(1)
    while _is_alive(owner):
        try:
            line, _ = listener.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            line.settimeout(None)
            return mind(line)
        line.close()
    shutil.rmtree(path.parent, ignore_errors=True)
    sys.exit()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def mind(line: socket.socket) -> dict[str, Any]:
    """Forks once more, to wait for the child and tell its exit status; returns in the child, with the request."""
    received, files, _, _ = socket.recv_fds(line, 1 << 20, 2)
    while not received.endswith(b"\n"):
        more = line.recv(1 << 20)
        if not more:  # Nobody asks any more.
            os._exit(1)
        received += more
    if pid := os.fork():
        end_with(line, pid)
        _, status = os.waitpid(pid, 0)
        line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    os.setsid()
    line.sendall(f"{os.getpid()}\n".encode())
    line.close()
    for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files]):
        os.dup2(file, number)
        os.close(file)
    request: dict[str, Any] = json.loads(received)
    return request


def end_with(line: socket.socket, pid: int) -> None:
    """Waits for a child; kills it when the one who asked for it is no more."""
    if not hasattr(os, "pidfd_open"):  # Linux has it.
        return
    ended = os.pidfd_open(pid)
    if ended not in select.select([line.fileno(), ended], [], [])[0]:
        os.killpg(pid, signal.SIGKILL)


def become(words: list[str], cwd: str, environment: dict[str, str]) -> None:
    """Does what `python WORDS` does."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    here = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[0:1] = [cwd, *(path for path in here if path)]
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    before = dict(os.environ)
    for module in IMPORTED:
        importlib.import_module(module)

    # What importing adds to the environment, a command of its own would add too.
    added = {name: value for name, value in os.environ.items() if before.get(name) != value}
    gc.freeze()
    asked = serve(Path(sys.argv[1]), int(sys.argv[2]))
    threads = asked["environment"].get("OMP_NUM_THREADS")
    sys.modules["torch"].set_num_threads(int(threads) if threads else os.cpu_count() or 1)
    become(asked["words"], asked["cwd"], asked["environment"] | added)
