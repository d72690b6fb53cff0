"""Two changes in one program."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import pytest

from woof_lightning.changes.find import BASE, Cell, gallery
from woof_lightning.changes.measured import PAIRS, cells_of
from woof_lightning.changes.merge import CONFLICT, FAILS, MERGED, RUNS, Merged, merged_text, try_merged
from woof_lightning.errors import UserError

ROWS = Path(__file__).parents[2] / "docs" / "results" / "changes" / PAIRS


def test_changes_of_different_lines_are_both_there() -> None:
    first, second = (gallery()[name].cells["by_hand"] for name in ("freezing", "mixup"))
    text = merged_text(first, second)
    assert text is not None
    assert "draw_mix(len(images), step)" in text
    assert "net.backbone.requires_grad_(epoch >= 2)" in text


def test_changes_of_the_same_line_conflict(tmp_path: Path) -> None:
    first, second = (gallery()[name].cells["by_hand"] for name in ("distillation", "mixup"))
    assert merged_text(first, second) is None
    assert try_merged(first, second, tmp_path / "a") == Merged(CONFLICT)


@pytest.mark.process
def test_a_program_that_fails_is_told_with_its_error(tmp_path: Path) -> None:
    base = gallery()[BASE].cells["by_hand"]
    assert try_merged(base, base, tmp_path / "a") == Merged(RUNS)
    assert try_merged(base, gallery()["sam"].cells["by_hand"], tmp_path / "b") == Merged(RUNS)
    found = [try_merged(*pair, tmp_path / str(n)) for n, pair in enumerate(failing_pairs()[:1])]
    assert [one.outcome for one in found] == [FAILS]
    assert found[0].detail


def failing_pairs() -> list[tuple[Cell, Cell]]:
    with ROWS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["outcome"] == FAILS and row["way"] == "by_hand"]
    return [(gallery()[row["first"]].cells["by_hand"], gallery()[row["second"]].cells["by_hand"]) for row in rows]


def test_without_git_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    cell = gallery()["sam"].cells["by_hand"]
    with pytest.raises(UserError, match="needs git"):
        merged_text(cell, cell)


def test_the_rows_are_all_pairs_of_each_way() -> None:
    cells = list(cells_of(list(gallery().values())))
    ways = list(dict.fromkeys(cell.way for cell in cells))
    expected = {
        (way, *pair) for way in ways for pair in combinations([cell.change for cell in cells if cell.way == way], 2)
    }
    with ROWS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["way"], row["first"], row["second"]) for row in rows} == expected
    assert len(rows) == len(expected)
    assert {row["outcome"] for row in rows} <= set(MERGED)
    conflicts = {(row["way"], row["first"], row["second"]) for row in rows if row["outcome"] == CONFLICT}
    for way, first, second in expected:
        text = merged_text(gallery()[first].cells[way], gallery()[second].cells[way])
        assert (text is None) == ((way, first, second) in conflicts)
