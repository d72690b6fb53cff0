"""Suggestions on curves whose answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from woof_lightning.runs.lr_curve import SKIP_FIRST, SKIP_LAST, LRCurve, read_lr_curve, steepest, valley

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


@pytest.mark.parametrize("suggest", [steepest, valley])
@pytest.mark.parametrize(
    "losses",
    [np.linspace(1, 2, 100), np.full(100, 2.3), np.linspace(2, 1, SKIP_FIRST + SKIP_LAST + 2), np.array([])],
    ids=["rising", "constant", "too few", "none"],
)
def test_no_suggestion_without_a_descent(suggest: object, losses: np.ndarray) -> None:
    assert callable(suggest)
    assert suggest(curve(losses)) is None


@settings(deadline=None)  # The first example imports fastai.
@given(st.lists(st.floats(0, 10, allow_nan=False), min_size=14, max_size=60))
def test_valley_is_fastai_s(losses: list[float]) -> None:
    import torch
    from fastai.callback import schedule as fastai_schedule

    inner = slice(SKIP_FIRST, len(losses) - SKIP_LAST)
    rates, values = torch.tensor(RATES[: len(losses)])[inner], torch.tensor(losses, dtype=torch.float64)[inner]
    theirs, _ = fastai_schedule.valley(rates, values, len(losses))
    ours = valley(curve(np.asarray(losses)))
    if ours is not None:
        assert ours == theirs


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
