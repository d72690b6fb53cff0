"""Starts the real command in a process of its own, and does to it what machines do to runs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

# Processes compute with one thread, so that sums come out alike.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
POLL_S = 0.01
PATIENCE_S = 120


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
    """A command that runs in the background.

    Args:
        command: Its words.
        cwd: Where it runs.
        environment: What is added to this process's environment.
    """

    def __init__(self, command: Sequence[object], cwd: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env=os.environ | ENVIRONMENT | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Waits for a condition; tells whether it came true before the process ended."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            if self._process.poll() is not None:
                return condition()
            assert time.monotonic() < deadline_s, "the process does not get there"
            time.sleep(POLL_S)
        return True

    def send(self, signum: int) -> None:
        """Sends it a signal."""
        self._process.send_signal(signum)

    def send_to_all(self, signum: int) -> None:
        """Sends a signal to it and its children, as a terminal does."""
        os.killpg(self._process.pid, signum)

    def wait(self) -> Ended:
        """Waits for its end."""
        try:
            out, err = self._process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.send_to_all(signal.SIGKILL)
            raise
        return Ended(self._process.returncode, out, err)


def woof(verb: str, options: Sequence[object], cwd: Path, **environment: str) -> Process:
    """Starts `woof`."""
    return Process([sys.executable, "-m", "woof_lightning", verb, *options], cwd, **environment)


def kill_at(start: Callable[[], Process], run: RunFolder, step: int, later_s: float) -> Ended:
    """Starts a run and kills it a moment after its metrics.csv has reached a step; it may have ended before."""
    begun_s = time.time()
    process = start()
    # The rows of the sitting before count only when this one has taken the folder.
    process.wait_until(lambda: last_write_s(run) > begun_s and last_step(run) >= step)
    time.sleep(later_s)
    process.send(signal.SIGKILL)
    return process.wait()


def last_write_s(run: RunFolder) -> float:
    """When something was last written into a run's folder."""
    try:
        return max((file.stat().st_mtime for file in run.path.rglob("*")), default=0.0)
    except OSError:  # A file that has just been replaced.
        return 0.0


def last_step(run: RunFolder) -> int:
    """The last step in a run's metrics.csv; 0 before the first."""
    try:
        rows = read_metrics(run.metrics)
    except (OSError, ValueError, KeyError):  # It is being replaced.
        return 0
    return int(rows[-1]["step"]) if rows else 0


def killed_until_done(
    start: Callable[[], Process], run: RunFolder, steps: int, kills: int, drawn: random.Random
) -> tuple[int, Ended]:
    """Starts a run again and again and kills it at random moments, then lets it end.

    Args:
        start: Starts it, or goes on with it.
        run: Its folder.
        steps: Optimizer steps of the whole run.
        kills: How often to kill it.
        drawn: The source of the moments.

    Returns:
        How often it was killed in the midst, and how the last sitting ended.
    """
    for done in range(kills):
        step = drawn.randint(min(last_step(run), steps - 1), steps - 1)
        ended = kill_at(start, run, step, drawn.uniform(0, 0.3))
        if ended.code != -signal.SIGKILL:
            return done, ended
    return kills, start().wait()
