"""Does to runs what machines do to them."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

from tests.processes import Ended, Process
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics


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
