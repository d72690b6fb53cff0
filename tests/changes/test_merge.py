"""Two changes in one program."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import pytest

from woof_lightning.changes.find import BASE, BY_HAND, GALLERY, PACKAGES, ROADS, Cell, Pair, changes, gallery, pairs
from woof_lightning.changes.measured import JUDGED, PAIRS
from woof_lightning.changes.merge import (
    BY_GIT,
    BY_PEOPLE,
    CONFLICT,
    FAILS,
    MERGED,
    RIGHT,
    RUNS,
    UNTOLD,
    WRONG,
    Judged,
    Merged,
    judge,
    merged_text,
    reference_of,
    try_merged,
)
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
    with ROWS.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["outcome"] == FAILS and row["way"] == "by_hand"]
    return [(gallery()[row["first"]].cells["by_hand"], gallery()[row["second"]].cells["by_hand"]) for row in rows]


def test_without_git_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    cell = gallery()["sam"].cells["by_hand"]
    with pytest.raises(UserError, match="needs git"):
        merged_text(cell, cell)


def test_the_rows_are_all_pairs_of_each_way() -> None:
    expected = {
        (way, *pair)
        for way in PACKAGES
        for pair in combinations([change.name for change in changes() if change.road(way)], 2)
    }
    with ROWS.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(row["way"], row["first"], row["second"]) for row in rows} == expected
    assert len(rows) == len(expected)
    assert {row["outcome"] for row in rows} <= set(MERGED)
    conflicts = {(row["way"], row["first"], row["second"]) for row in rows if row["outcome"] == CONFLICT}
    for way, first, second in expected:
        cells = [gallery()[name].road(way) for name in (first, second)]
        text = merged_text(*(cell for cell in cells if cell is not None))
        assert (text is None) == ((way, first, second) in conflicts)


def pair_of(first: str, second: str) -> Pair:
    (found,) = [pair for pair in pairs() if (pair.first.name, pair.second.name) == (first, second)]
    return found


def test_each_reported_pair_has_a_program_by_hand_and_a_thread() -> None:
    assert len(pairs()) == 10
    for pair in pairs():
        assert pair.file(BY_HAND).exists()
        assert pair.link.startswith("https://github.com/")
    folders = {file.parent.name for file in (GALLERY / "pairs").glob("*/by_hand_way.py")}
    assert folders == {pair.name for pair in pairs()}


def test_the_rows_are_all_reported_pairs_of_each_way() -> None:
    with (ROWS.parent / JUDGED).open(newline="", encoding="utf-8") as file:
        rows = [(row["first"], row["second"], row["way"]) for row in csv.DictReader(file)]
    assert rows == [
        (pair.first.name, pair.second.name, way)
        for pair in pairs()
        for way in (*PACKAGES, *ROADS)
        if pair.first.road(way) and pair.second.road(way)
    ]


# What is known of reported pairs. Each also fails on the day a library does it right.
KNOWN = [
    ("accumulation", "sam", BY_HAND, CONFLICT, ""),
    ("accumulation", "sam", "lightning", BY_GIT, FAILS),
    ("accumulation", "sam", "lightning_expert", BY_GIT, WRONG),
    ("schedule_per_batch", "freezing", "lightning", BY_PEOPLE, FAILS),
    ("schedule_per_batch", "freezing", "lightning_expert", BY_PEOPLE, RIGHT),
    ("two_processes", "freezing", "lightning", BY_GIT, UNTOLD),
    ("two_processes", "freezing", "lightning_expert", BY_GIT, WRONG),
]


@pytest.mark.process
@pytest.mark.parametrize(("first", "second", "way", "put_together", "outcome"), KNOWN)
def test_two_changes_end_as_known(
    first: str, second: str, way: str, put_together: str, outcome: str, tmp_path: Path
) -> None:
    pair = pair_of(first, second)
    reference = reference_of(pair, tmp_path / "reference")
    found = judge(pair, way, reference, tmp_path / "pair")
    assert found is not None
    assert (found.put_together, found.outcome) == (put_together, outcome)
    with (ROWS.parent / JUDGED).open(newline="", encoding="utf-8") as file:
        rows = {(row["first"], row["second"], row["way"]): row for row in csv.DictReader(file)}
    row = rows[first, second, way]
    assert (row["put_together"], row["outcome"], row["detail"]) == (put_together, outcome, found.detail)


@pytest.mark.process
def test_a_pair_is_compared_with_what_both_should_do(tmp_path: Path) -> None:
    pair = pair_of("schedule_per_batch", "accumulation")
    reference = reference_of(pair, tmp_path / "reference")
    assert judge(pair, "lightning", reference, tmp_path / "right") == Judged(BY_GIT, RIGHT)
    only_one = reference_of(pair_of("accumulation", "ema"), tmp_path / "other")
    wrong = judge(pair, "lightning", only_one, tmp_path / "wrong")
    assert wrong is not None
    assert wrong.outcome == WRONG
    assert "net: weights" in wrong.detail
    assert judge(pair_of("accumulation", "sam"), "fastai", reference, tmp_path / "none") is None
