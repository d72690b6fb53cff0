"""Tests of the figures of `woof compare`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.compare.runs import axes_of, read_all, write_events, write_run
from woof_lightning.compare.comparison import compare
from woof_lightning.compare.curves import draw_curves, smoothed, style_of
from woof_lightning.compare.read import TOP1


def test_a_run_has_one_colour_in_all_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    seen: list[dict[str, Any]] = []

    def look(self: Figure, *_: Any, **__: Any) -> None:
        (axes,) = self.axes
        lines = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
        seen.append({str(line.get_label()): (line.get_color(), line.get_linestyle()) for line in lines})

    monkeypatch.setattr(Figure, "savefig", look)
    names = [f"run{number}" for number in range(9)]
    runs = read_all(*(write_run(tmp_path / name, [0.2, 0.3]) for name in names))
    drawn = draw_curves(runs, tmp_path)
    assert len(drawn) == len(seen) == 6
    expected = {name: tuple(style_of(place).values()) for place, name in enumerate(names)}
    assert all(found == expected for found in seen)
    assert len(set(expected.values())) == len(names)


def test_runs_without_known_epochs_are_drawn_over_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write_run(tmp_path / "own", [0.2, 0.3])
    other = write_events(tmp_path / "other", {"train_loss": [(1, 2.0), (8, 1.0)]})
    runs = read_all(own, other)
    assert (runs[0].steps_per_epoch, runs[1].steps_per_epoch) == (4, None)
    assert (runs[0].steps(TOP1), runs[1].state) == ([4, 8], "8 steps")
    # Figures without the second run still show epochs.
    across = {name: axes.get_xlabel() for name, axes in axes_of(runs, tmp_path, monkeypatch).items()}
    assert (across["top1"], across["loss"]) == ("epochs", "optimizer steps")


def test_a_spike_does_not_flatten_the_other_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def top(spike: float) -> float:
        points = [(step, spike if step == 1 else 2.0) for step in range(1, 300)]
        run = read_all(write_events(tmp_path / f"{spike}", {"train_loss": points, "accuracy": [(100, 0.5)]}))
        return float(axes_of(run, tmp_path, monkeypatch)["loss"].get_ylim()[1])

    assert top(50.0) < 25
    assert top(3.0) > 3


def test_every_run_is_named_in_the_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["_one", "a$b$c", "plain"]
    axes = axes_of(read_all(*(write_run(tmp_path / name, [0.2]) for name in names)), tmp_path, monkeypatch)["top1"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [" _one", r"a\$b\$c", "plain"]


def test_a_sweep_alone_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "swept"
    (folder / "lr_find").mkdir(parents=True)
    (folder / "lr_find" / "curve.csv").write_text("lr,loss,raw_loss\n1e-3,2.3,2.4\n1e-2,2.0,2.1\n1.0,9.0,9.9\n")
    found = compare([folder], tmp_path / "out")
    assert found.tables[0].rows[0][1] == "sweep only"
    assert (tmp_path / "out" / "lr_find.png").exists()


def test_a_figure_carries_the_fingerprint_of_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(name: str, top1: list[float]) -> str:
        runs = read_all(write_run(tmp_path / name / "run", top1))
        with Image.open(draw_curves(runs, tmp_path / name)[0].file) as figure:
            return str(figure.info["Description"])

    first = drawn("one", [0.2, 0.3])
    assert first == drawn("two", [0.2, 0.3]) != drawn("three", [0.2, 0.30001])
    monkeypatch.setattr("woof_lightning.compare.curves.COLOURS", ("#ffff00",) * 7)
    assert first != drawn("four", [0.2, 0.3])


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


def test_a_single_report_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = read_all(write_run(tmp_path / "run", [0.2], reports=1))
    axes = axes_of(runs, tmp_path, monkeypatch)
    assert {name: shown.lines[-1].get_marker() for name, shown in axes.items()} == dict.fromkeys(axes, ".")


def test_equal_lines_are_all_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = axes_of(read_all(*(write_run(tmp_path / name, [0.2, 0.3]) for name in "abc")), tmp_path, monkeypatch)
    for name in ("lr", "momentum"):
        widths = [line.get_linewidth() for line in axes[name].lines]
        assert widths == sorted(set(widths), reverse=True)


def test_a_metric_by_epoch_is_not_drawn_over_unknown_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_epoch = write_events(tmp_path / "post", {"lr_0": [(0, 0.1), (1, 0.2)], "avg.val.acc1": [(0, 50.0), (1, 60.0)]})
    by_step = write_events(tmp_path / "fastai", {"lr_0": [(1, 0.1), (80, 0.2)], "train_loss": [(1, 2.0), (80, 1.0)]})
    (line,) = axes_of(read_all(by_epoch, by_step), tmp_path, monkeypatch)["lr"].lines
    assert line.get_label() == "fastai"
