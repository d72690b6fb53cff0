"""Commands in processes of their own: started at once (forked from tests/zygote.py) or in a new interpreter."""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock

# Processes compute with one thread, so that sums come out alike.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
POLL_S = 0.01
PATIENCE_S = 120
ZYGOTE = Path(__file__).with_name("zygote.py")
# Names the socket of a zygote that is there already.
ZYGOTE_AT = "WOOF_TEST_ZYGOTE"


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Args:
        code: Its exit code; negative for the signal that killed it.
        out: What it printed.
        err: What it printed as errors.
    """

    code: int
    out: str
    err: str


class Process:
    """Python in the background.

    Args:
        words: What follows `python` in the command: `-m` and a module, `-c` and code, or a file, and arguments.
        cwd: Where it runs.
        fresh: Whether a new interpreter must be started: where it matters what is imported, and when.
        environment: What is added to this process's environment.
    """

    def __init__(self, words: Sequence[object], cwd: Path, *, fresh: bool = False, **environment: str) -> None:
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        start = _interpreter if fresh or not hasattr(os, "fork") else _Forked
        self._process = start(
            [str(word) for word in words], cwd, os.environ | ENVIRONMENT | environment, self._out, self._err
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.poll()

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Waits for a condition; tells whether it came true before the process ended."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            if self.poll() is not None:
                return condition()
            assert time.monotonic() < deadline_s, "the process does not get there"
            time.sleep(POLL_S)
        return True

    def send(self, signum: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def send_to_all(self, signum: int) -> None:
        """Sends a signal to it and its children, as a terminal does."""
        os.killpg(self.pid, signum)

    def wait(self, patience_s: float = PATIENCE_S) -> Ended:
        """Waits for its end; kills it and raises subprocess.TimeoutExpired when patience ends."""
        try:
            code = self._process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self.send_to_all(signal.SIGKILL)
            raise
        return Ended(code, _text(self._out), _text(self._err))


def run(words: Sequence[object], cwd: Path, *, fresh: bool = False, **environment: str) -> Ended:
    """Runs Python with these words to its end; the arguments are those of `Process`."""
    return Process(words, cwd, fresh=fresh, **environment).wait()


def woof(verb: str, options: Sequence[object], cwd: Path, **environment: str) -> Process:
    """Starts `woof`."""
    return Process(["-m", "woof_lightning", verb, *options], cwd, fresh=False, **environment)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _interpreter(
    words: list[str], cwd: Path, environment: dict[str, str], out: IO[bytes], err: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *words], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        start_new_session=True,
    )  # fmt: skip


class _Forked:
    """What of `subprocess.Popen` is used here, for a child of the zygote."""

    def __init__(
        self, words: list[str], cwd: Path, environment: dict[str, str], out: IO[bytes], err: IO[bytes]
    ) -> None:
        request = {"words": words, "cwd": str(cwd.resolve()), "environment": environment}
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(zygote())
        socket.send_fds(self._line, [b" "], [out.fileno(), err.fileno()])
        self._line.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._line.makefile(encoding="utf-8")
        self.pid = int(self._answers.readline())
        self._code: int | None = None

    def poll(self) -> int | None:
        return self._code if self._code is not None else self._ask(0)

    def wait(self, timeout: float) -> int:
        code = self._code if self._code is not None else self._ask(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("python", timeout)
        return code

    def _ask(self, timeout_s: float) -> int | None:
        if select.select([self._line], [], [], timeout_s)[0]:
            self._code = int(self._answers.readline())
        return self._code


@functools.cache
def zygote() -> str:
    """Returns the path of the zygote's socket; starts the zygote where there is none.

    The processes of pytest-xdist share one, which ends with the process that started them.
    """
    if ZYGOTE_AT in os.environ:
        return os.environ[ZYGOTE_AT]
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    folder = Path(tempfile.gettempdir(), f"woof-zygote-{owner}")
    folder.mkdir(exist_ok=True)
    path = folder / "socket"
    with FileLock(folder / "lock"):
        if not path.exists():
            command = [sys.executable, str(ZYGOTE), str(path), str(owner)]
            process = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, encoding="utf-8")
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "The zygote did not start."
    return str(path)
