"""The worker's side of a measurement: the cores that it runs on, its turns, its memory."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

# Nothing heavy is imported here: a worker also measures how long imports take.


def turn_of(turns: tuple[int, int] | None, cores: tuple[int, ...]) -> Callable[[], None] | None:
    """What waits for this worker's turn; None if it works alone.

    Args:
        turns: File descriptors on which to say that a slice is done, and to hear that the next one may begin.
        cores: The cores to run on from the first turn on.
    """
    if turns is None:
        return None
    done, go = turns

    def turn() -> None:
        # Only now: the start, which is not timed, may use every core.
        pin(cores)
        os.write(done, b".")
        if not os.read(go, 1):
            raise RuntimeError("the measuring process is gone")

    return turn


def pin(cores: tuple[int, ...]) -> None:
    """Keeps all threads of this process on some cores, where the system can do that."""
    if cores and hasattr(os, "sched_setaffinity"):  # not on macOS and Windows
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def peak_rss_mb() -> float:
    """The most memory that this process held at once."""
    try:
        # Not getrusage: there a process starts with the peak of the one that it was forked from.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        unit_bytes = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6
