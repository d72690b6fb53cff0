"""What the profiler has seen of a training, and a piece of advice with the way to follow it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import median, stdev
from time import perf_counter_ns
from typing import Any

import torch

from woof_lightning.errors import UserError
from woof_lightning.profile.bare import BareLoop
from woof_lightning.profile.buckets import DATA, LOG
from woof_lightning.profile.record import Advice
from woof_lightning.profile.seams import Seams
from woof_lightning.profile.sites import Site
from woof_lightning.profile.spans import Part

# So many turns tell what comes and goes by itself.
TURNS = 10
FEWEST_AGAIN, MOST_AGAIN, AGAIN_US = 3, 15, 2e6


def within(value: float, least: int, most: int) -> int:
    """Returns a whole number close to a value, within bounds."""
    return min(most, max(least, round(value)))


def computing(step_us: float) -> Callable[[], None]:
    """Returns a function that multiplies matrices for so long, if nothing else runs."""
    matrix = torch.ones(64, 64)
    began_ns = perf_counter_ns()
    for _ in range(1000):
        matrix @ matrix
    number = max(1, round(step_us / ((perf_counter_ns() - began_ns) / 1e6)))

    def compute() -> None:
        for _ in range(number):
            matrix @ matrix

    return compute


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

    def at_most(self, saved_us: float) -> Piece:
        """Returns the piece with a prediction that is at most so large."""
        return replace(self, advice=replace(self.advice, predicted_us=min(self.advice.predicted_us, saved_us)))


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
        batches = trainer.num_training_batches
        self.epoch_steps = int(batches) if math.isfinite(batches) else len(parts)
        self._steps_us = [(part.taken_ns - part.times_ns.get(DATA, 0)) / 1000 for part in parts]
        self.step_us = median(self._steps_us)

    @cached_property
    def again(self) -> Callable[[], None]:
        """Computes for a step again, to see what lies beside it: a step of a bare loop, or else some multiplications.

        The training is over, or a copy of the module is trained. Either way the random numbers are put back.
        """
        if not self.trainer.lightning_module.automatic_optimization:  # Its own step may step a schedule that is over.
            return computing(self.step_us)
        try:
            loop = BareLoop(self.trainer, scheduled=False)
        except UserError:
            return computing(self.step_us)
        batch, instead = loop.batch(), computing(self.step_us)

        def step() -> None:
            try:
                with torch.random.fork_rng(devices=[]):
                    loop.take(batch)
            except Exception:  # Whatever has ended the training may come again.
                instead()

        return step

    @property
    def times_again(self) -> int:
        """How often a step is computed again: for two seconds, but not more often and not less."""
        return within(AGAIN_US / self.step_us, FEWEST_AGAIN, MOST_AGAIN)

    def after_steps_us(self, calls: Sequence[Callable[[], Any]]) -> float:
        """Returns what some calls take together where they are made once a step, with the caches full of other things.

        Args:
            calls: The calls.
        """
        times = []
        for _ in range(self.times_again):
            self.again()
            began_ns = perf_counter_ns()
            for call in calls:
                call()
            times.append((perf_counter_ns() - began_ns) / 1000)
        return median(times)

    def part_us(self, name: str) -> float:
        """Returns what a part takes: its median over the steps, its mean if most steps are without it."""
        times_us = [part.times_ns.get(name, 0) / 1000 for part in self.parts]
        return median(times_us) or sum(times_us) / len(times_us)

    def site_us(self, site: Site) -> float:
        """Returns what a line that logs takes in a step, of what all of them take."""
        return self.part_us(LOG) * site.time_ns / max(1, sum(one.time_ns for one in self.seams.logs.all()))

    @property
    def noise_us(self) -> float:
        """Twice the standard error of the median step, from ten turns; 0 if there are too few steps.

        Neighbouring turns are compared, so that a machine that grows slower or faster over minutes does not count.
        """
        length = len(self._steps_us) // TURNS
        if not length:
            return 0.0
        turns = [median(self._steps_us[turn * length : (turn + 1) * length]) for turn in range(TURNS)]
        differences = [after - before for before, after in pairwise(turns)]
        return float(2 * stdev(differences) / 2**0.5 / TURNS**0.5)
