"""Tests of the figures of `woof compare`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from tests.compare.runs import axes_of, read_all, write_events, write_run
from woof_lightning.compare.comparison import compare
from woof_lightning.compare.curves import MOST_IN_LEGEND, draw_curves, legend_label, style_of
from woof_lightning.compare.figures import shown_figures
from woof_lightning.compare.read import TOP1


def test_a_run_has_one_colour_in_all_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"run{number}" for number in range(9)]
    runs = read_all(*(write_run(tmp_path / name, [0.2, 0.3 + 0.01 * place]) for place, name in enumerate(names)))
    axes = axes_of(runs, tmp_path, monkeypatch)
    assert len(axes) == 6
    expected = {name: tuple(style_of(place).values()) for place, name in enumerate(names)}
    for name in ("top1", "top5"):
        found = {str(line.get_label()): (line.get_color(), line.get_linestyle()) for line in axes[name].get_lines()}
        assert found == expected
    (shared,) = axes["lr"].get_lines()
    assert (shared.get_color(), shared.get_linestyle()) == expected["run0"]


def test_neighbours_differ_in_colour_and_in_line_style() -> None:
    styles = [tuple(style_of(place).values()) for place in range(MOST_IN_LEGEND)]
    assert len(set(styles)) == MOST_IN_LEGEND == 28
    assert all(one[0] != other[0] and one[1] != other[1] for one, other in pairwise(styles))


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
    axes = axes_of(
        read_all(*(write_run(tmp_path / name, [0.2 + 0.1 * place]) for place, name in enumerate(names))),
        tmp_path,
        monkeypatch,
    )["top1"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [" _one", r"a\$b\$c", "plain"]


def test_a_sweep_alone_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "swept"
    (folder / "lr_find").mkdir(parents=True)
    (folder / "lr_find" / "curve.csv").write_text(
        "lr,loss,raw_loss\n1e-3,2.3,2.4\n1e-2,2.0,2.1\n1.0,9.0,9.9\n", encoding="utf-8"
    )
    found = compare([folder], tmp_path / "out")
    assert found.tables[0].rows[0][1] == "sweep only"
    assert (tmp_path / "out" / "lr_find.png").exists()


def test_a_figure_carries_the_fingerprint_of_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(name: str, top1: list[float]) -> str:
        runs = read_all(write_run(tmp_path / name / "run", top1))
        with Image.open(draw_curves(runs, shown_figures(runs), tmp_path / name)[0]) as figure:
            return str(figure.info["Description"])

    first = drawn("one", [0.2, 0.3])
    assert first == drawn("two", [0.2, 0.3]) != drawn("three", [0.2, 0.30001])
    monkeypatch.setattr("woof_lightning.compare.curves.COLOURS", ("#ffff00",) * 7)
    assert first != drawn("four", [0.2, 0.3])


def test_a_single_report_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = read_all(write_run(tmp_path / "run", [0.2], reports=1))
    axes = axes_of(runs, tmp_path, monkeypatch)
    assert {name: shown.lines[-1].get_marker() for name, shown in axes.items()} == dict.fromkeys(axes, ".")


def test_equal_runs_share_a_line_with_all_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top1 = {"a": [0.2, 0.3], "b": [0.2, 0.31], "c$": [0.2, 0.3]}
    axes = axes_of(read_all(*(write_run(tmp_path / name, v) for name, v in top1.items())), tmp_path, monkeypatch)
    named = {name: [text.get_text() for text in one.get_legend().get_texts()] for name, one in axes.items()}
    assert named["top1"] == [r"a = c\$ (equal)", "b"]
    assert len(axes["top1"].lines) == 2
    for name in ("loss", "lr", "momentum"):
        assert named[name] == [r"a = b = c\$ (equal)"]


def test_a_legend_says_what_is_equal() -> None:
    assert legend_label(["a"]) == "a"
    assert legend_label(["a", "b"], "_c") == "a = b (equal; equal to  _c so far)"


def test_a_legend_of_many_equal_runs_is_wrapped_and_bounded() -> None:
    names = [f"a-run-of-{number}" for number in range(8)]
    text = legend_label(names)
    assert max(map(len, text.splitlines())) <= 72
    assert text.replace("\n", " ") == f"{' = '.join(names)} (equal)"
    assert legend_label([str(number) for number in range(200)]).replace("\n", " ").endswith("27 = 172 more (equal)")


def test_epochs_and_steps_have_whole_ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = axes_of(read_all(write_run(tmp_path / "a", [0.2, 0.3, 0.4, 0.5])), tmp_path, monkeypatch)
    by_step = read_all(write_events(tmp_path / "b", {"train_loss": [(1, 2.0), (2, 1.5), (3, 1.0)]}))
    axes = [epochs["top1"], epochs["loss"], axes_of(by_step, tmp_path, monkeypatch)["loss"]]
    for one in axes:
        ticks = list(one.get_xticks())
        assert len(ticks) >= 2
        assert all(tick == round(tick) for tick in ticks)


def test_a_run_that_was_cut_lies_on_top_of_its_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = read_all(write_run(tmp_path / "a", [0.2, 0.3]), write_run(tmp_path / "b", [0.2, 0.3, 0.4]))
    short, long = axes_of(runs, tmp_path, monkeypatch)["top1"].lines
    assert (short.get_label(), long.get_label()) == ("a (equal to b so far)", "b")
    assert short.get_zorder() > long.get_zorder()


def test_a_metric_by_epoch_is_not_drawn_over_unknown_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_epoch = write_events(tmp_path / "post", {"lr_0": [(0, 0.1), (1, 0.2)], "avg.val.acc1": [(0, 50.0), (1, 60.0)]})
    by_step = write_events(tmp_path / "fastai", {"lr_0": [(1, 0.1), (80, 0.2)], "train_loss": [(1, 2.0), (80, 1.0)]})
    (line,) = axes_of(read_all(by_epoch, by_step), tmp_path, monkeypatch)["lr"].lines
    assert line.get_label() == "fastai"
