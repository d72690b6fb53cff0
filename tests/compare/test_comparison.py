"""Tests of `woof compare`: its tables, the files that it writes, its errors and its speed."""

from __future__ import annotations

import csv
import math
import random
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.compare.runs import read_all, write_events, write_run
from tests.conftest import Woof
from woof_lightning.compare.comparison import compare, tables_of


def test_runs_are_compared(woof: Woof) -> None:
    write_run(Path("runs/a"), [0.3, 0.5, 0.5], optimizer="sgd")
    write_run(Path("runs/b"), [0.6, 0.4, 0.2], optimizer="adamw")
    done = woof("compare", "runs", "--out", "out")
    assert done.code == 0, done.err
    rows = list(csv.DictReader(Path("out/results.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["run"] for row in rows] == ["a", "b"]
    # The best epoch is the first of several equal ones.
    assert [(row["best top-1"], row["its epoch"], row["its top-5"]) for row in rows] == [
        ("0.500", "2", "0.800"),
        ("0.600", "1", "0.900"),
    ]
    assert [(row["final top-1"], row["final top-5"]) for row in rows] == [("0.500", "0.800"), ("0.200", "0.500")]
    assert {(row["state"], row["seconds with validation"], row["images/s in training"]) for row in rows} == {
        ("finished", "30", "123")
    }
    settings = list(csv.DictReader(Path("out/settings.csv").read_text(encoding="utf-8").splitlines()))
    assert [list(row.items()) for row in settings] == [
        [("run", "a"), ("model.optimizer", "sgd")],
        [("run", "b"), ("model.optimizer", "adamw")],
    ]
    assert "| a | finished | 0.500 | 2 |" in Path("out/results.md").read_text(encoding="utf-8")
    assert "0.600" in done.out
    drawn = sorted(file.name for file in Path("out").glob("*.png"))
    assert drawn == ["loss.png", "lr.png", "momentum.png", "top1.png", "top1_over_time.png", "top5.png"]


def test_without_out_nothing_is_written(woof: Woof) -> None:
    write_run(Path("a"), [0.3])
    before = sorted(Path().rglob("*"))
    done = woof("compare", "a")
    assert done.code == 0
    assert "0.300" in done.out
    assert "Settings" not in done.out
    assert sorted(Path().rglob("*")) == before


def test_a_folder_without_a_run_is_named(woof: Woof) -> None:
    Path("empty").mkdir()
    done = woof("compare", "empty", "nowhere")
    assert done.code == 2
    assert "empty contains no run: there is no metrics.csv of this project and no TensorBoard event file in" in done.err
    assert "nowhere is not a folder" in done.err


def test_an_output_folder_that_cannot_be_created_is_named(woof: Woof) -> None:
    write_run(Path("a"), [0.3])
    done = woof("compare", "a", "--out", "a/metrics.csv/out")
    assert done.code == 2
    assert "the folder a/metrics.csv/out cannot be made (Not a directory): choose another with --out" in done.err


def test_an_output_folder_that_cannot_be_written_to_is_named(woof: Woof) -> None:
    write_run(Path("a"), [0.3])
    assert woof("compare", "a", "--out", "out").code == 0
    Path("out/results.md").unlink()
    Path("out/results.md").mkdir()
    done = woof("compare", "a", "--out", "out")
    assert done.code == 2
    assert "nothing can be written into the folder out (Is a directory): choose another with --out" in done.err


@pytest.mark.parametrize("name", ["a$b_{$c", "_hidden", "<i>x", "two\nlines", "*bold*", "a\\|b", "x" * 200, "狗\udcff"])
def test_any_name_can_be_drawn(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / name, [0.2, 0.3])
    found = compare([tmp_path / name], tmp_path / "out")
    shown = name.replace("\n", r"\n").replace("\udcff", r"\udcff")
    assert found.tables[0].rows[0][0] == shown
    in_markdown = re.sub(r"([\\<*|])", r"\\\1", shown)
    assert f"| {in_markdown} | finished |" in (tmp_path / "out" / "results.md").read_text(encoding="utf-8")


def test_a_value_that_is_not_finite_is_not_the_best(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "run", {"accuracy": [(4, math.nan), (8, 0.3), (12, 0.2)]})
    (row,) = tables_of(read_all(folder))[0].rows
    assert row[2:4] == ["0.300", "2"]


def test_files_of_an_earlier_comparison_are_removed(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", [0.1], lr=0.1), write_run(tmp_path / "b", [0.1], lr=0.2)
    compare([a, b], tmp_path / "out")
    (tmp_path / "out" / "mine.png").touch()
    compare([write_events(tmp_path / "c", {"accuracy": [(4, 0.5)]})], tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *("index.html", "mine.png", "results.csv", "results.md", "top1.png", "top1_over_time.png"),
    }


def test_files_that_woof_compare_did_not_write_are_not_replaced(woof: Woof) -> None:
    write_run(Path("a"), [0.3])
    for name in ("lr.png", "results.csv"):
        mine = Path("mine", name)
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("run,score\n", encoding="utf-8")
        done = woof("compare", "a", "--out", "mine")
        assert done.code == 2
        assert f"--out is mine: {name} in it was not written by woof compare; choose another folder" in done.err
        assert [file.name for file in Path("mine").iterdir()] == [name]
        mine.unlink()


def test_any_setting_can_be_shown(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, [0.1]) for name in ("a", "b")]
    with (folders[0] / "config.yaml").open("a", encoding="utf-8") as file:
        file.write('day: 2024-05-01\nkinds: !!set {a, b}\n"two\\nlines": "c\\nd"\nodd: [{2024-05-01: 4}]\n')
    with (folders[1] / "config.yaml").open("a", encoding="utf-8") as file:
        file.write('day: 2024-05-02\nkinds: !!set {a}\n"two\\nlines": c\nodd: 1\n')
    table = compare(folders, tmp_path / "out").tables[1]
    assert table.header == ("run", "day", "kinds", "odd", r"two\nlines")
    assert table.rows[0][1] == '"2024-05-01"'
    assert table.rows[0][4] == r"c\nd"
    assert len(table.as_markdown().splitlines()) == 4


@pytest.mark.parametrize("option", [(), ("a", "--out")])
def test_a_name_that_is_too_long_is_reported(woof: Woof, option: tuple[str, ...]) -> None:
    write_run(Path("a"), [0.3])
    done = woof("compare", *option, "x" * 300)
    assert done.code == 2
    assert "is not a folder" in done.err or "(File name too long): choose another with --out" in done.err


@pytest.mark.long
def test_two_hundred_tensorboard_runs_take_less_than_twenty_seconds(tmp_path: Path) -> None:
    """Each run has 40 epochs of 71 steps and a report every ten steps."""
    points = [(step, 1.0 / step) for step in range(10, 2841, 10)]
    validations = [(epoch, 50.0 + epoch) for epoch in range(40)]
    first = write_events(
        tmp_path / "runs" / "run0",
        {"train.loss": points, "train.acc1": points, "train.lr_0": points, "avg.val.acc1": validations},
    )
    for number in range(1, 200):
        shutil.copytree(first, tmp_path / "runs" / f"run{number}")
    start_s = time.process_time()
    found = compare([tmp_path / "runs"], tmp_path / "out")
    assert time.process_time() - start_s < 20
    assert {row[2] for row in found.tables[0].rows} == {"0.890"}


@pytest.mark.long
def test_two_hundred_runs_take_less_than_twenty_seconds(tmp_path: Path) -> None:
    first = write_run(tmp_path / "runs" / "run0", [0.8 - 0.6 / (1 + epoch) for epoch in range(40)], reports=4)
    header, *rows = (first / "metrics.csv").read_text(encoding="utf-8").splitlines()
    draw = random.Random(0)
    for number in range(1, 200):
        place = shutil.copytree(first, tmp_path / "runs" / f"run{number}")
        noisy = [re.sub(r"\d+\.\d+", lambda cell: repr(float(cell[0]) * draw.uniform(0.8, 1.0)), row) for row in rows]
        (place / "metrics.csv").write_text("\n".join([header, *noisy, ""]), encoding="utf-8")
    start_s = time.process_time()  # CPU time, which other work on the machine does not change.
    found = compare([tmp_path / "runs"], tmp_path / "out")
    assert time.process_time() - start_s < 20
    assert len({tuple(row[2:7]) for row in found.tables[0].rows}) > 190
    assert (tmp_path / "out" / "index.html").stat().st_size < 4e6


def test_tables_have_the_same_cells_in_every_format(tmp_path: Path) -> None:
    runs = read_all(write_run(tmp_path / "a|b", [0.1]))
    (table,) = tables_of(runs)
    assert table.as_csv().splitlines()[1].startswith("a|b,finished,0.100,1,")
    assert table.as_markdown().splitlines()[2].startswith("| a\\|b | finished | 0.100 | 1 |")
    text = table.as_text().splitlines()
    assert text[0].split() == ["run", "state", "best", "its", "its", "final", "final", "seconds", "images/s"]
    assert text[-1].startswith("a|b  finished  0.100")
    assert max(map(len, text)) <= 80
