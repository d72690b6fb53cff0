"""The worker's side of a measurement: its cores, its turns, its memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

# Nothing heavy is imported here: a worker also measures how long imports take.


def turn_of(turns: tuple[int, int] | None, cores: tuple[int, ...]) -> Callable[[], None] | None:
    """Returns a function that waits for this worker's turn; None if the worker runs alone.

    Args:
        turns: Two file descriptors. A byte written to the first reports the end of a slice. A byte read from the second
            starts the next slice. None if the worker runs alone.
        cores: The cores to run on from the first turn on.
    """
    if turns is None:
        return None
    done, go = turns

    def turn() -> None:
        # Not before the first turn: the start is not timed and may use every core.
        pin(cores)
        os.write(done, b".")
        if not os.read(go, 1):
            raise RuntimeError("the measuring process has ended")

    return turn


def pin(cores: tuple[int, ...]) -> None:
    """Binds all threads of this process to some cores; does nothing on systems that cannot do that."""
    if cores and hasattr(os, "sched_setaffinity"):  # macOS and Windows do not have it.
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def peak_rss_mb() -> float:
    """Returns the peak memory (resident set) of this process, in MB."""
    try:
        # Not getrusage: its value starts at the peak of the process that forked this one.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        import resource  # Windows does not have it.

        unit_bytes = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6
