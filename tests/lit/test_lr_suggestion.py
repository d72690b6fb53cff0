"""Suggestions on curves whose answer is known."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from woof_lightning.compare.figures import smoothed
from woof_lightning.lit.lr_suggestion import (
    CLEAR,
    FEWEST_POINTS,
    SKIP_FIRST,
    SKIP_LAST,
    SMOOTHING,
    steepest,
    suggest,
    valley,
)
from woof_lightning.runs.lr_curve import LRCurve, read_lr_curve

RATES = np.geomspace(1e-8, 10, 100)


def curve(losses: np.ndarray) -> LRCurve:
    values = tuple(map(float, losses))
    return LRCurve(tuple(map(float, RATES[: len(values)])), values, values)


def falling_at(lr: float) -> np.ndarray:
    """Falls by a logistic step in log lr whose steepest place is `lr`, then explodes after 100 times that."""
    place = np.log10(RATES / lr)
    return np.asarray(2.3 - 1 / (1 + np.exp(-4 * place)) + 10.0 ** (place - 2.5))


@pytest.mark.parametrize("lr", [1e-5, 1e-3, 0.02])
def test_steepest_is_where_the_loss_falls_fastest_per_factor(lr: float) -> None:
    found = steepest(curve(falling_at(lr)))
    assert found is not None
    assert abs(math.log(found / lr)) <= math.log(RATES[1] / RATES[0])


def test_steepest_looks_only_before_the_minimum() -> None:
    losses = falling_at(1e-4)
    losses[90:95] = np.linspace(losses[89], losses[89] - 0.5, 5)  # A steep fall from a high place, after the minimum.
    assert steepest(curve(losses)) == pytest.approx(1e-4, rel=0.3)


def test_steepest_ignores_the_noise_of_the_first_points() -> None:
    losses = falling_at(1e-3)
    losses[:SKIP_FIRST] += np.linspace(5, 0, SKIP_FIRST)
    assert steepest(curve(losses)) == pytest.approx(1e-3, rel=0.3)


def test_steepest_does_not_depend_on_the_spacing_of_the_rates() -> None:
    keep = np.r_[0 : SKIP_FIRST + 1, SKIP_FIRST + 1 : 40 : 3, 40:100]
    whole = curve(falling_at(1e-3))
    thinned = LRCurve(*(tuple(np.asarray(values)[keep]) for values in (whole.lr, whole.loss, whole.raw_loss)))
    assert steepest(thinned) == pytest.approx(1e-3, rel=0.3)


def test_valley_is_on_the_way_down_and_more_careful() -> None:
    losses = falling_at(1e-3)
    found = valley(curve(losses))
    assert found is not None
    assert found < steepest(curve(losses)) < RATES[np.argmin(losses)]  # type: ignore[operator]


def swept(raw: np.ndarray) -> LRCurve:
    """A curve as a sweep records it."""
    losses = tuple(map(float, raw))
    means = smoothed(losses, range(len(losses)), over=-1 / math.log(SMOOTHING))
    return LRCurve(tuple(map(float, RATES[: len(losses)])), tuple(means), losses)


@pytest.mark.parametrize("steps", [20, 50, 100])
def test_noise_alone_is_hardly_ever_clear(steps: int) -> None:
    rng = np.random.default_rng(0)
    found = np.array([suggest(swept(2.3 + 0.05 * rng.standard_normal(steps))).clearness for _ in range(1000)])
    assert 0.005 < np.mean(found >= 4) < 0.02
    assert np.mean(found >= CLEAR) < 1 / 200


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
def test_a_descent_beyond_the_noise_is_clear(noise: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        fall = swept(falling_at(1e-3) + noise * rng.standard_normal(len(RATES)))
        assert suggest(fall).lr == steepest(fall)


def test_clearness_is_in_standard_errors() -> None:
    """Where the noise is known: the spread of slopes over noise alone is 1 standard error."""
    rng = np.random.default_rng(0)
    place, slopes = 60, []
    for _ in range(1000):
        loss = swept(rng.standard_normal(100)).loss
        slopes.append((loss[place + 1] - loss[place - 1]) / 2)
    error = np.std(slopes)
    ratios = []
    for _ in range(100):
        raw = rng.standard_normal(100)
        raw[place - 1 : place + 2] -= 50  # The steepest place, which the median does not see.
        one = swept(raw)
        at = one.lr.index(steepest(one) or 0)
        assert abs(at - place) <= 1
        ratios.append(suggest(one).clearness / (one.loss[at - 1] - one.loss[at + 1]) * 2 * error)
    assert np.median(ratios) == pytest.approx(1, rel=0.1)


def test_where_the_descent_is_not_clear_the_careful_rule_decides() -> None:
    """Real sweeps of 100 steps: with 10 outputs SGD's loss hardly falls."""
    curves = Path(__file__).parents[2] / "docs" / "results" / "lr_find" / "curves"
    rule = {
        name: suggest(read_lr_curve(curves / f"woof-{name}.csv").finite()).suggested_by
        for name in ("adamw-10-seed0", "adamw-10-seed1", "sgd-10-seed0", "sgd-10-seed2", "sgd-1000-seed0")
    }
    assert rule == {
        "adamw-10-seed0": "steepest",
        "adamw-10-seed1": "steepest",
        "sgd-10-seed0": "valley",
        "sgd-10-seed2": "valley",
        "sgd-1000-seed0": "steepest",
    }


def test_without_a_valley_the_steepest_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("woof_lightning.lit.lr_suggestion.valley", lambda _: None)
    noisy = swept(2.3 + 0.05 * np.random.default_rng(0).standard_normal(50))
    found = suggest(noisy)
    assert found.clearness < CLEAR
    assert found.lr == found.steepest is not None


@pytest.mark.parametrize("rule", [steepest, valley, lambda curve: suggest(curve).lr])
@pytest.mark.parametrize(
    "losses",
    [np.linspace(1, 2, 100), np.full(100, 2.3), np.linspace(2, 1, SKIP_FIRST + SKIP_LAST + 2), np.array([])],
    ids=["rising", "constant", "too few", "none"],
)
def test_no_suggestion_without_a_descent(rule: Callable[[LRCurve], float | None], losses: np.ndarray) -> None:
    assert rule(curve(losses)) is None


@pytest.mark.peer("fastai")
@settings(deadline=None)  # The first example imports fastai.
@given(st.lists(st.floats(0, 10, allow_nan=False), min_size=14, max_size=60))
def test_valley_is_fastai_s(losses: list[float]) -> None:
    import torch
    from fastai.callback import schedule as fastai_schedule

    inner = slice(SKIP_FIRST, len(losses) - SKIP_LAST)
    rates, values = torch.tensor(RATES[: len(losses)])[inner], torch.tensor(losses, dtype=torch.float64)[inner]
    theirs, _ = fastai_schedule.valley(rates, values, len(losses))
    ours = valley(curve(np.asarray(losses)))
    # fastai takes the curve's end where no three losses fall.
    assert ours == (theirs if longest_descent(losses[inner]) >= FEWEST_POINTS else None)


def longest_descent(losses: list[float]) -> int:
    """The length of the longest falling subsequence, by patience sorting."""
    piles: list[float] = []
    for loss in losses:
        place = bisect_left(piles, -loss)
        piles[place : place + 1] = [-loss]
    return len(piles)


def test_the_part_before_a_bad_loss(tmp_path: Path) -> None:
    losses = falling_at(1e-5)
    losses[70] = math.nan
    whole = curve(losses)
    assert len(whole.finite()) == 70
    assert steepest(whole.finite()) == pytest.approx(1e-5, rel=0.3)
    whole.write(tmp_path / "curve.csv")
    again = read_lr_curve(tmp_path / "curve.csv")
    assert again.lr == whole.lr
    np.testing.assert_array_equal(again.loss, whole.loss)


def test_an_empty_curve_can_be_written(tmp_path: Path) -> None:
    LRCurve((), (), ()).write(tmp_path / "curve.csv")
    assert read_lr_curve(tmp_path / "curve.csv") == LRCurve((), (), ())


@pytest.mark.parametrize("kind", ["loss", "raw_loss"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_curve_is_finite_before_the_first_bad_loss_of_either_kind(kind: str, bad: float) -> None:
    curve = LRCurve((0.1, 0.2, 0.3, 0.4), (4.0, 3.0, 2.0, 1.0), (4.5, 3.5, 2.5, 1.5))
    spoilt = replace(curve, **{kind: (4.0, 3.0, bad, 1.0)})
    assert spoilt.finite().lr == (0.1, 0.2)
    assert len(spoilt.finite().loss) == len(spoilt.finite().raw_loss) == 2
    assert curve.finite() == curve
