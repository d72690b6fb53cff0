"""The tables of docs/cost-of-change.md: each number belongs to its way and change."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from docs.generate.change_tables import (
    LABELS,
    columns,
    conditions,
    heat_map,
    lines_added_text,
    lines_table,
    outcomes_table,
    pairs_table,
    pairs_text,
    sections,
    silent_count_text,
    silent_percent_text,
    silent_table,
)
from woof_lightning.changes.broken import IMPORT, LEFT_OUT, NO_EFFECT, SILENT
from woof_lightning.changes.find import BASE, changes, gallery
from woof_lightning.changes.measured import (
    BROKEN,
    BROKEN_COLUMNS,
    COUNT_COLUMNS,
    COUNTS,
    PAIR_COLUMNS,
    PAIRS,
    cells_of,
    note_conditions,
)
from woof_lightning.changes.merge import CONFLICT, FAILS, RUNS

CELLS = list(cells_of(changes()))
# A cell's place in the list is the number of lines that it adds.
ADDED = {(cell.change, cell.way): place for place, cell in enumerate(CELLS)}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    with (tmp_path / COUNTS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COUNT_COLUMNS)
        writer.writerows((*cell, added, 1, 2, 3, 1, "one two", "") for cell, added in ADDED.items())
    with (tmp_path / BROKEN).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(BROKEN_COLUMNS)
        for cell in ADDED:
            outcomes = [SILENT, NO_EFFECT, NO_EFFECT] if cell[1] == "lightning_manual" else [SILENT, NO_EFFECT]
            writer.writerows((*cell, LEFT_OUT, 1, "x", outcome, "") for outcome in outcomes)
            writer.writerow((*cell, IMPORT, 1, "import x", SILENT, ""))
    return tmp_path


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_a_cell_has_the_lines_of_its_change_and_way(rows: Path) -> None:
    header, _, *lines = cells(lines_table(rows))
    assert header[1:] == [LABELS[way] for way in columns()]
    found = dict(zip(list(gallery())[1:], lines, strict=True))
    assert found["ema"][1] == f"+{ADDED['ema', 'by_hand']} -1"
    assert found["gan"][columns().index("lightning") + 1] == f"+{ADDED['gan', 'lightning_manual']} -1 (manual)"
    assert found["clipping"][columns().index("ignite") + 1] == "not offered"
    assert lines_added_text(rows, "lightning", "gan") == str(ADDED["gan", "lightning_manual"])
    with pytest.raises(LookupError):
        lines_added_text(rows, "ignite", "clipping")


def test_a_way_has_its_documented_roads_and_no_imports(rows: Path) -> None:
    lightning = sum(way == "lightning" for _, way in ADDED)
    manual = sum(way == "lightning_manual" for _, way in ADDED)
    silent, total = lightning + manual, 2 * lightning + 3 * manual
    table = {line[0]: line[1:] for line in cells(outcomes_table(rows))}
    share = f"{silent} of {total} ({100 * silent / total:.0f} %)"
    assert table["Lightning"][:2] == [str(lightning + manual), share]
    assert table["by hand"][1] == f"{len(gallery()) - 1} of {2 * len(gallery()) - 2} (50 %)"
    assert silent_count_text(rows, "lightning") == str(silent)
    assert silent_percent_text(rows, "by_hand") == "50"
    by_change = dict(zip(list(gallery())[1:], cells(silent_table(rows))[2:], strict=True))
    assert by_change["gan"][columns().index("lightning") + 1] == "1 of 3"
    assert by_change["ema"][1] == "1 of 2"


def test_pairs_are_counted_by_their_end(tmp_path: Path) -> None:
    rows = [("fabric", "a", "b", CONFLICT, ""), ("fabric", "a", "c", RUNS, ""), ("fabric", "b", "c", FAILS, "x")]
    with (tmp_path / PAIRS).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([PAIR_COLUMNS, *rows, ("ignite", "a", "b", CONFLICT, "")])
    assert cells(pairs_table(tmp_path))[2:] == [["Fabric", "3", "1", "1", "1"], ["Ignite", "1", "1", "0", "0"]]
    assert [pairs_text(tmp_path, "fabric", end) for end in ("", "conflict", "runs")] == ["3", "1", "1"]


def test_each_change_has_its_diffs_differences_and_reports(rows: Path) -> None:
    text = sections(rows)
    for change in gallery().values():
        if change.name != BASE:
            section = text.split(f"### {change.name.replace('_', '-')}\n")[1].split("\n### ")[0]
            assert section.count("```diff") == len(change.cells)
            assert all(trap.link in section for trap in change.traps)
            assert all(told["link"] in section for told in change.not_offered.values())
    assert "num_sanity_val_steps" not in text, "that is the base's"
    assert "`one`, `two`" in text


def test_the_map_has_both_numbers(rows: Path) -> None:
    left, right = heat_map(rows).axes
    shown = [{text.get_position(): text.get_text() for text in axes.texts} for axes in (left, right)]
    ema = list(gallery()).index("ema") - 1
    assert shown[0][0, ema] == str(ADDED["ema", "by_hand"] + 1)
    assert shown[1][0, ema] == "1"
    assert (columns().index("ignite"), list(gallery()).index("clipping") - 1) not in shown[0]


def test_a_command_s_conditions_are_those_of_its_last_call(tmp_path: Path) -> None:
    machine: dict[str, object] = {"processor": "P"}
    for command, files, version in (("a", ["x"], "1"), ("b", ["x", "y"], "1"), ("c", ["x"], "2")):
        note_conditions(tmp_path, command, files, {"torch": version}, machine)
    assert [line.split(":")[0] for line in conditions(tmp_path).splitlines()] == ["- `b`", "- `c`"]
    assert "torch 2" in conditions(tmp_path)
