"""Programs with one thing forgotten, and what happens with them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes import run
from woof_lightning.changes import find
from woof_lightning.changes.broken import (
    ARGUMENT,
    AS_BEFORE,
    IMPORT,
    LEFT_OUT,
    NO_EFFECT,
    NOT_REPORTED,
    RAISED,
    REFUSED,
    SILENT,
    WARNED,
    Break,
    Right,
    breaks_of,
    sorted_out,
)
from woof_lightning.changes.count import count
from woof_lightning.changes.find import BASE, BY_HAND, PACKAGES, Cell, changes, gallery
from woof_lightning.changes.measured import BROKEN, COUNTS, cells_of, key_of, read_broken
from woof_lightning.cli import main

ROWS = Path(__file__).parents[2] / "docs" / "results" / "changes"
PEERS = sorted({package for packages in PACKAGES.values() for package in packages} - {"lightning"})

BEFORE = """from a import b


def train(folder):
    step = 0
    call(1, old=2)
    for batch in folder:
        loss = net(batch)
        optimizer.step()
        loss.backward()
    return step
"""
AFTER = """from a import b, c


def train(folder):
    step = 0
    call(1, old=2, new=3)
    for batch in folder:
        with c():
            loss = net(batch)
        (loss / 4).backward()
        if step:
            continue
        optimizer.step()
        report({"x": 1}, name="y")
    return step, 1
"""


def breaks_between(base: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Break]:
    for name, program in ((BASE, base), ("change", text)):
        (folder / name).mkdir()
        (folder / name / "by_hand_way.py").write_text(program, encoding="utf-8")
    monkeypatch.setattr(find, "GALLERY", folder)
    return list(breaks_of(Cell("change", BY_HAND)))


def test_each_thing_that_a_change_adds_is_forgotten_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = breaks_between(BEFORE, AFTER, tmp_path, monkeypatch)
    assert [(one.kind, one.line, one.what) for one in found] == [
        (IMPORT, 1, "from a import b, c"),
        (AS_BEFORE, 6, "call(1, old=2, new=3)"),
        (LEFT_OUT, 8, "with c():"),
        (AS_BEFORE, 10, "(loss / 4).backward()"),
        (LEFT_OUT, 11, "if step:"),
        (LEFT_OUT, 12, "continue"),
        (LEFT_OUT, 14, 'report({"x": 1}, name="y")'),
        (ARGUMENT, 14, "name in report({'x': 1}, name='y')"),
        (ARGUMENT, 14, "'x' in report({'x': 1}, name='y')"),
    ]
    texts = {one.what: one.text for one in found}
    assert texts["from a import b, c"].startswith("from a import b\n")
    assert "    call(1, old=2)\n" in texts["call(1, old=2, new=3)"]
    assert "        loss = net(batch)\n        (loss / 4)" in texts["with c():"]
    assert "        loss.backward()\n        if step:" in texts["(loss / 4).backward()"]
    assert "        (loss / 4).backward()\n        pass\n        optimizer.step()" in texts["if step:"]
    assert "        if step:\n            pass\n" in texts["continue"]
    assert "        report({'x': 1})\n" in texts["name in report({'x': 1}, name='y')"]
    assert "        report({}, name='y')\n" in texts["'x' in report({'x': 1}, name='y')"]
    assert all(one.text.count("\n") >= 12 for one in found), "all else stays"


def test_a_function_is_left_out_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = "def helped():\n    a = 1\n\n    return a\n\n\n" + BEFORE
    found = breaks_between(BEFORE, after, tmp_path, monkeypatch)
    assert [one.what for one in found] == ["def helped():", "a = 1", "return a"]
    assert found[0].text == "pass\n\n\n" + BEFORE


# What is done to the program of the base, and how it ends.
ENDS = [
    ("    first_epoch = step = 0\n", "", REFUSED, "UnboundLocalError"),
    ("            step += 1\n", "            step += [1, 'no'][step > 20]\n", RAISED, "TypeError"),
    ('checkpoint["epoch"], checkpoint["step"]', 'checkpoint["no"], 0', RAISED, "resumed: KeyError"),
    ("    writer.close()\n", "    writer.close()\n    __import__('warnings').warn('look')\n", WARNED, "look"),
    (
        "    writer.close()\n",
        "    writer.close()\n    __import__('warnings').warn(f'in {folder}')\n",
        WARNED,
        "in FOLDER",
    ),
    ("    if resume:\n", "    if resume:\n        __import__('warnings').warn('again')\n", WARNED, "again"),
    ("momentum=0.9", "momentum=0.8", SILENT, "net: weights"),
    ('        scheduler.load_state_dict(checkpoint["scheduler"])\n', "", SILENT, "resumed scheduler: last_epoch"),
    ('"epoch": epoch + 1, "step": step', '"epoch": epoch + 1', RAISED, "resumed: KeyError: 'step'"),
    ('"epoch": epoch + 1', '"more": torch.ones(999), "epoch": epoch + 1', SILENT, "the checkpoint is larger"),
    (
        '                writer.add_scalar("train/loss", loss, step)\n',
        "                pass\n",
        NOT_REPORTED,
        "train/loss",
    ),
    ('"train/loss", loss,', '"train/loss", 2 * loss,', SILENT, "metric train/loss"),
    ("gamma=0.5", "gamma=1 / 2", NO_EFFECT, ""),
]


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Right:
    return Right.of(gallery()[BASE].cells[BY_HAND], tmp_path_factory.mktemp("right"))


@pytest.mark.process
@pytest.mark.parametrize(("text", "broken", "outcome", "detail"), ENDS, ids=lambda text: text.strip()[:24])
def test_what_happens_is_sorted(
    text: str, broken: str, outcome: str, detail: str, right: Right, tmp_path: Path
) -> None:
    program = gallery()[BASE].cells[BY_HAND].file.read_text(encoding="utf-8")
    assert program.count(text) == 1
    found = sorted_out(program.replace(text, broken), right, tmp_path / "b")
    assert (found.outcome, detail in found.detail) == (outcome, True), found.detail


@pytest.mark.process
def test_a_warning_of_the_right_program_is_not_new(right: Right, tmp_path: Path) -> None:
    program = gallery()[BASE].cells[BY_HAND].file.read_text(encoding="utf-8")
    warns = program.replace("    writer.close()\n", "    writer.close()\n    __import__('warnings').warn('look')\n")
    warned = replace(
        right, whole=replace(right.whole, warnings=["look"]), resumed=replace(right.resumed, warnings=["look"])
    )
    assert sorted_out(warns, warned, tmp_path / "a").outcome == NO_EFFECT
    assert sorted_out(warns.replace("momentum=0.9", "momentum=0.8"), warned, tmp_path / "b").outcome == SILENT


@pytest.mark.process
def test_a_missing_report_does_not_hide_what_else_is_wrong(right: Right, tmp_path: Path) -> None:
    program = gallery()[BASE].cells[BY_HAND].file.read_text(encoding="utf-8")
    unreported = program.replace('writer.add_scalar("train/loss", loss, step)', "pass")
    found = sorted_out(unreported.replace("momentum=0.9", "momentum=0.8"), right, tmp_path / "a")
    assert found.outcome == SILENT
    assert "net: weights" in found.detail
    assert "report train/loss is missing" in found.detail


def test_the_rows_are_those_of_the_programs() -> None:
    rows = read_broken(ROWS / BROKEN)
    cells = list(cells_of(changes()))
    assert [key_of(row.change, row.way, row) for row in rows] == [
        key_of(cell.change, cell.way, one) for cell in cells for one in breaks_of(cell)
    ], "run woof change --count --break --merge --overwrite --out docs/results/changes"
    with (ROWS / COUNTS).open(newline="", encoding="utf-8") as file:
        counts = {(row["change"], row["way"]): row for row in csv.DictReader(file)}
    assert list(counts) == [(cell.change, cell.way) for cell in cells]


@pytest.mark.peer(*PEERS)
def test_the_counts_are_those_of_the_programs() -> None:
    with (ROWS / COUNTS).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found = count(gallery()[row["change"]].cells[row["way"]])
            numbers = [int(row[name]) for name in ("added", "removed", "places", "functions")]
            assert numbers == [found.added, found.removed, found.places, found.functions], row
            assert (row["names"].split(), row["torch_names"].split()) == (list(found.names), list(found.torch_names))


@pytest.mark.peer(*PEERS)
@pytest.mark.process
def test_breaking_again_gives_the_same_rows_and_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    words = ["-m", "woof_lightning", "change", "schedule_per_batch", "--count", "--break"]
    assert run(words, tmp_path).code == 0
    rows = read_broken(tmp_path / "changes" / BROKEN)
    assert rows == [row for row in read_broken(ROWS / BROKEN) if row.change == "schedule_per_batch"]
    lines = (tmp_path / "changes" / BROKEN).read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "changes" / BROKEN).write_text("".join(lines[:-2]), encoding="utf-8")
    again = run([*words[:4], "--break", "--resume"], tmp_path)
    assert again.code == 0, again.err
    assert (tmp_path / "changes" / BROKEN).read_text(encoding="utf-8") == "".join(lines)


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--break", "--resume", "--overwrite"], "--resume"),
        (["--check", "--count"], "leave one of them out"),
        (["--count", "--ways", "fabric"], "leave --ways out"),
        (["--count"], "--overwrite"),
    ],
)
def test_a_wrong_call_is_refused(
    args: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / COUNTS).write_text("there already\n", encoding="utf-8")
    assert main(["change", *args, "--out", str(tmp_path)]) == 2
    assert problem in capsys.readouterr().err
    assert (tmp_path / COUNTS).read_text(encoding="utf-8") == "there already\n"
