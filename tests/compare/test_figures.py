"""Tests of what the figures of `woof compare` show: which curves and runs are equal, and how losses are smoothed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.compare.runs import read_all, write_events, write_run
from woof_lightning.compare.figures import Points, curves_of, equal_runs, shown_figures, singles, smoothed


def curves(*points: Points | None) -> list[tuple[int, ...]]:
    return [curve.runs for curve in curves_of(points)]


def test_equal_points_are_one_curve() -> None:
    one = Points([1, 2], [0.1, 0.2])
    assert curves(one, Points([1.0, 2.0], [0.1, 0.2]), None, one) == [(0, 1, 3)]
    # TensorBoard stores single precision.
    assert curves(one, Points([1, 2], [float(np.float32(0.1)), float(np.float32(0.2))])) == [(0, 1)]
    assert curves(Points([1], [-0.0]), Points([1], [0.0])) == [(0, 1)]
    assert curves(Points([1, 2], [math.nan, 1]), Points([1, 2], [-math.nan, 1])) == [(0, 1)]


@pytest.mark.parametrize(
    "other",
    [
        Points([1, 2], [0.1, 0.200001]),
        Points([1, 2.5], [0.1, 0.2]),
        Points([1, 2, 3], [0.1, 0.2, 0.3]),
        Points([1], [0.1]),
        Points([1, 2], [0.1, 0.2], raw=[0.1, 0.2]),
        Points([1, 2], [0.1, math.nan]),
    ],
)
def test_points_that_differ_stay_apart(other: Points) -> None:
    assert curves(Points([1, 2], [0.1, 0.2]), other) == [(0,), (1,)]


def test_reports_that_differ_stay_apart_although_they_are_smoothed_alike() -> None:
    assert curves(Points([1, 2], [0.1, 0.2], raw=[0.1, 0.3]), Points([1, 2], [0.1, 0.2], raw=[0.1, 0.4])) == [
        (0,),
        (1,),
    ]


def test_a_curve_that_begins_like_a_longer_one_says_so() -> None:
    one, long = Points([1, 2], [0.1, 0.2]), Points([1, 2, 3], [0.1, 0.2, 0.3])
    assert [curve.begins_like for curve in curves_of([one, Points([1, 2, 3], [0.1, 0.25, 0.3]), long])] == [
        2,
        None,
        None,
    ]
    other_reports = [Points([1], [0.1], raw=[0.1]), Points([1, 2], [0.1, 0.2], raw=[0.15, 0.2])]
    assert [curve.begins_like for curve in curves_of(other_reports)] == [None, None]


def test_values_beyond_single_precision_stay_apart() -> None:
    assert curves(Points([1], [1e300]), Points([1], [2e300])) == [(0,), (1,)]
    assert singles([1.0]).dtype == np.float32
    assert singles([math.inf]).dtype == np.float32


def test_runs_are_equal_by_their_results(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.2, 0.3], momentum=0.8)
    write_run(tmp_path / "b", [0.2, 0.3])
    write_run(tmp_path / "other-top1", [0.2, 0.4])
    write_run(tmp_path / "other-reports", [0.2, 0.3], reports=4)
    write_run(tmp_path / "shorter", [0.2], finished=False)
    # It writes neither a learning rate nor a momentum, and its accuracies in single precision.
    losses = [(step - 1, 2.0 / step) for step in range(2, 9, 2)]
    top1, top5 = ([(3, value), (7, value + 0.1)] for value in (0.2, 0.5))
    events = {"train_loss_step": losses, "val_acc1": top1, "val_acc5": top5, "epoch": [(3, 0.0), (7, 1.0)]}
    write_events(tmp_path / "events", events)
    names = ("a", "b", "other-top1", "other-reports", "shorter", "events")
    runs = read_all(*(tmp_path / name for name in names))
    assert equal_runs(shown_figures(runs), len(runs)) == [0, 0, 1, 2, 3, 0]


def test_runs_without_results_are_not_equal(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name / "lr_find").mkdir(parents=True)
        (tmp_path / name / "lr_find" / "curve.csv").write_text(
            "lr,loss,raw_loss\n1e-3,2.3,2.4\n1e-2,2.0,2.1\n", encoding="utf-8"
        )
    runs = read_all(tmp_path / "a", tmp_path / "b")
    (sweep,) = shown_figures(runs)
    assert [curve.runs for curve in sweep.curves] == [(0, 1)]
    assert equal_runs([sweep], 2) == [0, 1]


def test_smoothing_does_not_change_a_constant() -> None:
    assert smoothed([3.0] * 5, range(5), 10) == pytest.approx([3.0] * 5)
    assert smoothed([3.0], [1], 10) == [3.0]
    assert smoothed([], [], 10) == []


def test_smoothing_does_not_depend_on_the_rate_of_reports() -> None:
    def end(reports: int) -> float:
        across = [report / reports for report in range(1, 20 * reports + 1)]
        return smoothed([2.3 * 2 ** (-epoch / 4) for epoch in across], across, 1.0)[-1]

    assert end(1) == pytest.approx(end(71), rel=0.15)
    assert end(7) == pytest.approx(end(71), rel=0.03)


def test_smoothing_skips_values_that_are_not_finite() -> None:
    found = smoothed([2.0, math.nan, 1.0, 1.0], range(4), 1.0)
    assert math.isnan(found[1])
    assert 1 < found[3] < found[2] < 2
