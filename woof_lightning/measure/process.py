"""A worker's process, as the measuring process sees it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

WAIT_AT_MOST_S = 600


class WorkerProcess:
    """A fresh process that does one job: `python -m MODULE JOB.json RESULT.json`.

    Args:
        module: The module that does it.
        job: Its arguments as plain values; `started_s` (time.perf_counter() just before the start) and `turns` (the
            file descriptors of its turns) are added.
        name: What is measured, for messages.
        terminal: Whether the process is given a terminal, whose output is thrown away.
        python: The interpreter; by default this one.
        in_turns: Whether it waits before each slice until it is told to go on.
    """

    def __init__(
        self,
        module: str,
        job: Mapping[str, Any],
        *,
        name: str,
        terminal: bool = False,
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
        job_file.write_text(json.dumps({**job, "turns": passed or None, "started_s": time.perf_counter()}))
        reading, writing = pty.openpty() if terminal else os.pipe()
        self._process = subprocess.Popen(
            [str(python or sys.executable), "-m", module, str(job_file), str(self._result)],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *_python_path()])},
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
        """Waits until the worker waits.

        Raises:
            RuntimeError: When it ended instead; its output is in the message.
        """
        assert self._turns is not None
        if not os.read(self._turns[0], 1):
            self.finish()
            raise RuntimeError(f"the measurement of {self.name} ended early")

    def go_on(self) -> None:
        """Lets the worker go on."""
        assert self._turns is not None
        os.write(self._turns[1], b".")

    def finish(self) -> tuple[dict[str, float], float]:
        """Waits for the worker's end.

        Returns:
            Its values, and the processor time that it and its children used, in seconds.

        Raises:
            RuntimeError: When it failed; its output is in the message.
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
            values: dict[str, float] = json.loads(self._result.read_text())
        return values, usage.ru_utime + usage.ru_stime

    def used_s(self) -> float:
        """The processor time that the living worker has used so far; 0 where the system does not tell."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Ends the worker if it still lives, and removes what it used."""
        if self._process.returncode is None:
            # Not Popen.kill, which would take the status of a worker that has just ended away from finish.
            os.kill(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(RuntimeError):
                self.finish()


@contextlib.contextmanager
def ended_on_failure(workers: list[WorkerProcess]) -> Iterator[None]:
    """Inside, a failure ends all workers."""
    try:
        yield
    except BaseException:
        for worker in workers:
            worker.kill()
        raise


def _python_path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _drain(stream: IO[bytes], output: bytearray) -> None:
    # A terminal whose other end was closed reads as an error, not as an end.
    with stream, contextlib.suppress(OSError):
        while chunk := stream.read(65536):
            output += chunk
