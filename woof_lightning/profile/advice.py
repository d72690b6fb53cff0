"""What the profiler has seen of a training, and a piece of advice with the way to follow it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, stdev
from typing import Any

from woof_lightning.profile.buckets import DATA, LOG, PRINT
from woof_lightning.profile.record import Advice
from woof_lightning.profile.seams import Seams
from woof_lightning.profile.sites import Site
from woof_lightning.profile.spans import Part

# So many turns tell what comes and goes by itself.
TURNS = 10


@dataclass(frozen=True)
class Piece:
    """Advice, and how to follow it while the training goes on.

    Args:
        advice: The advice.
        followed: Opens a block in which it is followed; None if that cannot be done for some steps only.
        with_data: Whether it is about waiting for data, which the time of a step leaves out otherwise.
    """

    advice: Advice
    followed: Callable[[], AbstractContextManager[Any]] | None = nullcontext
    with_data: bool = False


class Seen:
    """What the profiler has seen of a training.

    Args:
        trainer: The Trainer, within `fit`.
        parts: The steps, without the first ones.
        every: All steps, the first ones too: what is counted by line was counted in these.
        seams: The seams, with the lines that log, print and measure.
        calls: How often Lightning named each action to the profiler.
    """

    def __init__(self, trainer: Any, parts: Sequence[Part], every: int, seams: Seams, calls: Mapping[str, int]) -> None:
        self.trainer, self.parts, self.seams = trainer, parts, seams
        self.steps, self.calls = every, calls
        self.log_every = trainer.log_every_n_steps
        self.step_us = median(part.wall_ns - part.own_ns - part.times_ns.get(DATA, 0) for part in parts) / 1000

    def part_us(self, name: str) -> float:
        """Returns what a part takes: its median over the steps, its mean if most steps are without it."""
        times_us = [part.times_ns.get(name, 0) / 1000 for part in self.parts]
        return median(times_us) or sum(times_us) / len(times_us)

    def site_us(self, site: Site) -> float:
        """Returns what a line that logs or prints takes in a step, of what all of them take."""
        name, sites = (LOG, self.seams.logs) if site in self.seams.logs.all() else (PRINT, self.seams.prints)
        return self.part_us(name) * site.time_ns / max(1, sum(one.time_ns for one in sites.all()))

    @property
    def noise_us(self) -> float:
        """Twice the standard error of the median step, from ten turns; 0 if there are too few steps.

        Neighbouring turns are compared, so that a machine that grows slower or faster over minutes does not count.
        """
        steps = [part.wall_ns - part.own_ns - part.times_ns.get(DATA, 0) for part in self.parts]
        length = len(steps) // TURNS
        if not length:
            return 0.0
        turns = [median(steps[turn * length : (turn + 1) * length]) / 1000 for turn in range(TURNS)]
        differences = [after - before for before, after in pairwise(turns)]
        return float(2 * stdev(differences) / 2**0.5 / TURNS**0.5)
