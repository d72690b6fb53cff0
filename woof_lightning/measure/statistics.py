"""Medians with bootstrap intervals, and verdicts about differences. Values come in repeats on one or more machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
LEVEL = 0.95
# With five repeats or fewer the interval is their range. Equal loops then often differ the same way in every repeat.
FEWEST_TO_TELL = 6
NOT_TOLD_APART = "not told apart"
# The repeats of one quantity, machine by machine.
Sample = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Estimate:
    """A median with its bootstrap interval.

    Args:
        median: The median; of several machines, the mean of their medians.
        low: The lower end of the interval.
        high: The upper end of the interval.
        repeats: The number of values, on all machines together.
        machines: The number of machines.
    """

    median: float
    low: float
    high: float
    repeats: int
    machines: int = 1

    @property
    def verdict(self) -> str:
        """Of a difference: slower if the interval is above 0, faster if it is below 0, otherwise not told apart."""
        if self.low > 0:
            return "slower"
        return "faster" if self.high < 0 else NOT_TOLD_APART


def median_of(sample: Sample, level: float = LEVEL) -> Estimate:
    """Returns the median of values with its interval."""
    return bootstrapped(lambda chosen: np.median(chosen[0], axis=-1), sample, level=level)


def bootstrapped(
    statistic: Callable[[list[NDArray[np.float64]]], NDArray[np.float64]], *samples: Sample, level: float = LEVEL
) -> Estimate:
    """Returns a statistic of paired samples with its percentile bootstrap interval.

    The statistic is computed for each machine, and the mean of the machines is taken. A draw of the bootstrap first
    draws as many machines as there are, then for each of them as many of its repeats as it has.

    Args:
        statistic: Takes one array [..., repeats] per sample and reduces the last axis.
        samples: The samples. The n-th values of a machine belong together and are drawn together.
        level: The share of the draws within the interval.

    Raises:
        ValueError: If there are no values, or samples differ in machines or in the length of a machine.
    """
    machines = [
        [np.asarray(repeats, dtype=np.float64) for repeats in machine] for machine in zip(*samples, strict=True)
    ]
    lengths = [[len(values) for values in machine] for machine in machines]
    if not machines or any(len(set(length)) != 1 or length[0] == 0 for length in lengths):
        raise ValueError(f"expected samples of one length above 0 on each machine, got {lengths}")
    random = np.random.default_rng(0)
    drawn = np.zeros(DRAWS)
    for _ in machines:
        choice = random.integers(0, len(machines), size=DRAWS)
        for number, values in enumerate(machines):
            repeats = len(values[0])
            places = random.integers(0, repeats, size=(np.count_nonzero(choice == number), repeats))
            drawn[choice == number] += statistic([value[places] for value in values])
    tail = (1 - level) / 2
    low, high = np.quantile(drawn / len(machines), (tail, 1 - tail))
    middle = float(np.mean([statistic(values) for values in machines]))
    return Estimate(middle, float(low), float(high), sum(length[0] for length in lengths), len(machines))
