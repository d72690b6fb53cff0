"""The measuring process's side of a worker: starts it, gives it turns, and reads its results."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from woof_lightning.errors import UserError
from woof_lightning.measure.environment import clean_environment

WAIT_AT_MOST_S = 600
# Terminals for the workers, and what they used.
NEEDED_MODULES, NEEDED_FUNCTION = ("pty", "resource"), "wait4"


def check_system() -> None:
    """Raises a UserError on systems that cannot start the workers and say what they used, such as Windows."""
    lacking = [] if hasattr(os, NEEDED_FUNCTION) else [f"os.{NEEDED_FUNCTION}"]
    for name in NEEDED_MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            lacking.append(name)
    if lacking:
        raise UserError(
            f"woof cost starts and measures processes by Python's {', '.join(sorted(lacking))}, which this system "
            "lacks: run it on Linux or macOS, or on Windows within WSL; woof cost --summarise runs here, too"
        )


def terminal_ends() -> tuple[int, int]:
    """Returns the file descriptors of both ends of a terminal."""
    import pty  # Windows does not have it.

    return pty.openpty()


class WorkerProcess:
    """A fresh process that does one job: `python -m MODULE JOB.json RESULT.json`.

    It gets the variables of `clean_environment` and PYTHONPATH, and nothing else of this process's environment.

    Args:
        module: The module to run.
        job: The arguments of the job as plain values. `started_s` (time.perf_counter() just before the start) and
            `turns` (file descriptors, see `turn_of`) are added.
        name: What is measured, for messages.
        terminal: Whether the process gets a terminal. Its output is discarded.
        variables: Environment variables to add.
        python: The interpreter; by default that of this process.
        in_turns: Whether the worker waits for its turn before each slice.
    """

    def __init__(
        self,
        module: str,
        job: Mapping[str, Any],
        *,
        name: str,
        terminal: bool = False,
        variables: Mapping[str, str] | None = None,
        python: Path | None = None,
        in_turns: bool = False,
    ) -> None:
        self.name = name
        self._folder = TemporaryDirectory(prefix="woof-job-")
        job_file, self._result = Path(self._folder.name, "job.json"), Path(self._folder.name, "result.json")
        self._turns: tuple[int, int] | None = None
        passed: tuple[int, ...] = ()
        if in_turns:
            (self_done, done), (go, self_go) = os.pipe(), os.pipe()
            self._turns, passed = (self_done, self_go), (done, go)
        told = {**job, "turns": passed or None, "started_s": time.perf_counter()}
        job_file.write_text(json.dumps(told), encoding="utf-8")
        reading, writing = terminal_ends() if terminal else os.pipe()
        self._process = subprocess.Popen(
            [str(python or sys.executable), "-m", module, str(job_file), str(self._result)],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env=clean_environment() | {"PYTHONPATH": _python_path(), **(variables or {})},
            pass_fds=passed,
        )
        for end in (writing, *passed):
            os.close(end)
        self._output = bytearray()
        self._reader = threading.Thread(target=_drain, args=(os.fdopen(reading, "rb", buffering=0), self._output))
        self._reader.start()
        self._timer = threading.Timer(WAIT_AT_MOST_S, self._process.kill)
        self._timer.start()

    def wait_for_turn(self) -> None:
        """Waits until the worker waits for its turn.

        Raises:
            RuntimeError: If the worker ended instead. The message contains its output if it failed.
        """
        assert self._turns is not None
        if not os.read(self._turns[0], 1):
            self.finish()
            raise RuntimeError(f"the measurement of {self.name} ended early")

    def give_turn(self) -> None:
        """Lets the worker continue."""
        assert self._turns is not None
        os.write(self._turns[1], b".")

    def finish(self) -> tuple[dict[str, float], float]:
        """Waits until the worker ends.

        Returns:
            Its values, and the processor time that it and its children used, in s.

        Raises:
            RuntimeError: If it failed. The message contains its output.
        """
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._timer.cancel()
        self._reader.join()
        for end in self._turns or ():
            os.close(end)
        with self._folder:
            if self._process.returncode != 0:
                output = self._output[-4000:].decode(errors="replace")
                raise RuntimeError(
                    f"the measurement of {self.name} ended with exit code {self._process.returncode}:\n{output}"
                )
            values: dict[str, float] = json.loads(self._result.read_text(encoding="utf-8"))
        return values, usage.ru_utime + usage.ru_stime

    def used_s(self) -> float:
        """Returns the processor time in s that the running worker has used; 0 on systems without /proc."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Kills the worker if it is still running, and removes its files."""
        if self._process.returncode is None:
            # Not Popen.kill: it polls first, which would take the exit status away from `finish`.
            os.kill(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(RuntimeError):
                self.finish()


@contextlib.contextmanager
def ended_on_failure(workers: list[WorkerProcess]) -> Iterator[None]:
    """Kills all workers if the block fails."""
    try:
        yield
    except BaseException:
        for worker in workers:
            worker.kill()
        raise


def _python_path() -> str:
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return os.pathsep.join([str(Path(__file__).parents[2]), *given])


def _drain(stream: IO[bytes], output: bytearray) -> None:
    # Reading a terminal whose other end is closed raises an OSError instead of returning nothing.
    with stream, contextlib.suppress(OSError):
        while chunk := stream.read(65536):
            output += chunk
