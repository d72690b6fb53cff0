"""Medians and their intervals, against the exact distribution of a resampled median."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest

from woof_lightning.measure.statistics import bootstrapped, median_of


def exact_bounds(repeats: int, level: float) -> tuple[float, float]:
    """The interval of the median of 0, 1, …, repeats - 1 for an odd number of repeats.

    A resampled median is at most k if more than half of the drawn values are: a binomial probability.
    """
    half = repeats // 2 + 1

    def at_most(k: int) -> float:
        p = (k + 1) / repeats
        return sum(comb(repeats, n) * p**n * (1 - p) ** (repeats - n) for n in range(half, repeats + 1))

    tail = (1 - level) / 2
    low, high = (next(k for k in range(repeats) if at_most(k) >= share) for share in (tail, 1 - tail))
    return low, high


@pytest.mark.parametrize("repeats", [25, 41, 51])
def test_an_interval_is_that_of_95_percent(repeats: int) -> None:
    found = median_of([[float(value) for value in range(repeats)]])
    assert (found.low, found.high) == exact_bounds(repeats, 0.95)
    assert (found.low, found.high) != exact_bounds(repeats, 0.9)
    assert (found.low, found.high) != exact_bounds(repeats, 0.99)
    assert found.median == (repeats - 1) / 2
    assert found.repeats == repeats


def test_the_median_is_not_the_mean() -> None:
    assert median_of([[1.0, 2.0, 90.0]]).median == 2
    assert median_of([[1.0, 2.0, 4.0, 90.0]]).median == 3


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([3.0] * 10, "slower"),
        ([-3.0] * 10, "faster"),
        ([0.0] * 10, "not told apart"),
        ([-1.0, 2.0, -2.0, 1.0, 0.5, -0.5], "not told apart"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(values: list[float], verdict: str) -> None:
    assert median_of([values]).verdict == verdict


def ratio(chosen: list[Any]) -> Any:
    return np.median(chosen[0], -1) / np.median(chosen[1], -1)


def test_the_values_of_a_repeat_are_drawn_together() -> None:
    """Each pair has the ratio 2, so every draw of pairs has; draws of each sample alone would spread."""
    twice = bootstrapped(ratio, [[2.0, 4.0, 8.0]], [[1.0, 2.0, 4.0]])
    assert (twice.median, twice.low, twice.high) == (2, 2, 2)


def test_a_level_is_kept() -> None:
    values = [[float(value) for value in range(51)]]
    assert (median_of(values, 0.5).low, median_of(values, 0.5).high) == exact_bounds(51, 0.5)


def test_of_several_machines_the_mean_counts_whatever_their_repeats() -> None:
    found = median_of([[1.0] * 3, [5.0] * 30])
    assert (found.median, found.repeats, found.machines) == (3, 33, 2)
    # Two of two machines are drawn: the first twice, both, or the second twice.
    assert (found.low, found.high) == (1, 5)


def test_an_interval_of_machines_is_that_of_drawn_machines() -> None:
    """Eight machines that repeat themselves exactly: the mean of eight drawn ones."""
    machines = [float(value) for value in range(8)]
    found = median_of([[value] * 10 for value in machines])
    exact = np.zeros(1)
    for _ in machines:
        exact = np.convolve(exact, np.ones(8) / 8) if exact.any() else np.ones(8) / 8
    shares = np.cumsum(exact)
    low, high = (int(np.searchsorted(shares, share)) / 8 for share in (0.025, 0.975))
    assert found.median == 3.5
    assert found.low == pytest.approx(low, abs=0.13)
    assert found.high == pytest.approx(high, abs=0.13)


def test_each_machine_s_values_pair_with_its_own() -> None:
    """On each machine every pair has the ratio 2 or 4; machines mixed up would give others."""
    found = bootstrapped(ratio, [[2.0, 6.0], [4.0, 40.0]], [[1.0, 3.0], [1.0, 10.0]])
    assert (found.median, found.low, found.high) == (3, 2, 4)


@pytest.mark.parametrize(
    "samples", [([[1.0]], [[1.0, 2.0]]), ([[]], [[]]), ([], []), ([[1.0]], [[1.0], [2.0]]), ([[1.0], []], [[1.0], []])]
)
def test_samples_that_do_not_pair_are_refused(samples: tuple[list[list[float]], list[list[float]]]) -> None:
    with pytest.raises(ValueError, match=r"one length|longer|shorter"):
        bootstrapped(ratio, *samples)
