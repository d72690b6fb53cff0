"""Medians with bootstrap intervals, and verdicts about differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
LEVEL = 0.95
NOT_TOLD_APART = "not told apart"


@dataclass(frozen=True)
class Estimate:
    """A median with its 95 % bootstrap interval.

    Args:
        median: The median.
        low: The lower end of the interval.
        high: The upper end of the interval.
        repeats: The number of values.
    """

    median: float
    low: float
    high: float
    repeats: int

    @property
    def verdict(self) -> str:
        """Of a difference: slower if the interval is above 0, faster if it is below 0, otherwise not told apart."""
        if self.low > 0:
            return "slower"
        return "faster" if self.high < 0 else NOT_TOLD_APART


def median_of(values: Sequence[float]) -> Estimate:
    """Returns the median of values with its interval."""
    return bootstrapped(lambda chosen: np.median(chosen[0], axis=-1), values)


def bootstrapped(
    statistic: Callable[[list[NDArray[np.float64]]], NDArray[np.float64]], *samples: Sequence[float]
) -> Estimate:
    """Returns a statistic of paired samples with its percentile bootstrap interval.

    Args:
        statistic: Takes one array [..., repeats] per sample and reduces the last axis.
        samples: The samples, of equal length. Their n-th values belong together and are drawn together.

    Raises:
        ValueError: If the samples are empty or differ in length.
    """
    values = [np.asarray(sample, dtype=np.float64) for sample in samples]
    repeats = len(values[0])
    if repeats == 0 or any(len(sample) != repeats for sample in values):
        raise ValueError(f"expected samples of one length above 0, got {[len(sample) for sample in values]}")
    drawn = np.random.default_rng(0).integers(0, repeats, size=(DRAWS, repeats))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(statistic([sample[drawn] for sample in values]), (tail, 1 - tail))
    return Estimate(float(statistic(values)), float(low), float(high), repeats)
