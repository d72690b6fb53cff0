"""Tables of the cost page: of the right way, with the right sign, in the right unit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docs.generate.cost_tables import COST_TABLES, agreement
from docs.generate.training_tables import overlaps
from tests.cost.test_summary import in_order, rows
from tests.cost.test_training import BARE, FABRIC, parts
from woof_lightning.cost.rows import Row, RowsFile
from woof_lightning.cost.summary import summary

MACHINE = {
    "calls": [{"date": "2026-01-02", "command": "woof cost", "woof_lightning": "0.1.0+abc"}],
    "machine": {"processor": "A Processor", "cores": 4},
    "threads": 1,
    "versions": {"woof_lightning": "0.1.0+abc", "torch": "2.0"},
}
# µs over the bare loop's 400 without reports and 500 with them.
OVER_US = {"fabric": 20.0, "woof_fit": 300.0, "lightning_lean": 400.0, "lightning_one_log": 1000.0, "lightning": 4000.0}


def measured() -> list[Row]:
    on = {"bare": 500.0} | {way: 500.0 + over for way, over in OVER_US.items()}
    steps = [*rows("bare", "off", in_order(400, 400)), *rows("fabric", "off", in_order(410, 410))]
    steps += [row for way, us in on.items() for row in rows(way, "on", in_order(us, us))]
    searches = [row for way in on for row in rows(way, "on", in_order(way != "bare"), "driver_searches")]
    searches += [row for way in ("bare", "fabric") for row in rows(way, "off", in_order(0), "driver_searches")]
    real = [
        row
        for way, us in {"bare": 1000, "fabric": 1020, "woof_fit": 1900, "lightning": 2000}.items()
        for row in rows(way, "conv4 8 px", in_order(us, us))
    ]
    whole = [*parts("bare", BARE), *parts("fabric", FABRIC), *parts("fabric", FABRIC, condition="whole")]
    whole += rows("fabric", "whole", in_order(0.1, 0.1), "rest_s")
    start = [
        *rows("bare", "start", in_order(2, 2), "first_step_s"),
        *rows("fabric", "start", in_order(2.5, 2.5), "first_step_s"),
    ]
    counted = {
        "bare": {"lines_loop": 40, "lines_logs": 5, "logical_lines": 45, "framework_names": 0},
        "fabric": {"lines_loop": 42, "lines_bar": 0, "lines_logs": 3, "logical_lines": 45, "framework_names": 9},
    }
    code = [
        row
        for way, values in counted.items()
        for measure, value in values.items()
        for row in rows(way, "counted", in_order(value), measure)
    ]
    changes = [row for way in on for row in rows(way, "on", in_order(1), "changes EVERYBODY")]
    changes += rows("fabric", "on", in_order(1), "changes SOMEBODY")
    calls = [row for way in on for row in rows(way, "step", in_order(7), "calls")]
    return [*steps, *searches, *real, *whole, *start, *code, *changes, *calls]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = summary(measured(), {"machines": {"here": MACHINE}})
    (tmp_path / "summary.json").write_text(json.dumps(found), encoding="utf-8")
    return tmp_path


def table(folder: Path, name: str) -> list[list[str]]:
    lines = COST_TABLES[name](folder).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_the_choice_is_the_way_that_does_most_below_a_twentieth(folder: Path) -> None:
    header, _, *found = table(folder, "cost-choice")
    assert [row[1] for row in found] == ["**Fabric**", "**woof fit**", "**Lightning, as documented**"]
    assert header[2:] == [
        "Fabric", "woof fit", "Lightning, lean", "Lightning, one self.log", "Lightning, as documented",
    ]  # fmt: skip
    assert [row[0].split(" (")[0] for row in found] == ["0.5 ms", "20 ms", "600 ms"]
    # 300 µs of 0.5, 20 and 600 ms.
    assert [row[3] for row in found] == ["+60 %", "+1.5 %", "+0.05 %"]


def test_ways_with_reports_are_beside_bare_with_reports(folder: Path) -> None:
    found = {(row[0], row[1]): row for row in table(folder, "cost-fixed")[2:]}
    assert found["the bare loop", "off"][2:6] == ["400", "", "", "the reference"]
    assert found["the bare loop", "on"][2:6] == ["500", "", "", "the reference"]
    assert found["woof fit", "on"][2:] == ["800", "+300", "300 to 300", "slower", "1", "2"]
    assert found["Fabric", "off"][3] == "+10"
    order = [row[0] for row in table(folder, "cost-fixed")[2:] if row[1] == "on"]
    assert order[0] == "the bare loop"
    assert order[-1] == "Lightning, as documented"


def test_a_net_agrees_if_its_cost_is_that_of_the_smallest(folder: Path) -> None:
    found = {row[1]: row for row in table(folder, "cost-real")[2:]}
    assert found["Fabric"][2:] == ["1.02", "+20 (20 to 20)", "+20", "agrees", "+2 (2 to 2)"]
    assert found["woof fit"][3:6] == ["+900 (900 to 900)", "+300", "more"]
    assert found["Lightning, as documented"][5] == "less"
    assert agreement({"low": -1, "high": 9}, {"low": 4, "high": 5}) == "within noise"
    assert found["the bare loop"][2:] == ["1", "", "", "", ""]


def test_whole_trainings_are_in_seconds(folder: Path) -> None:
    (row,) = table(folder, "cost-trainings")[2:]
    # 2,840 steps of 50 µs, 9,840 batches of 20 µs, 40 ends of 3 ms, 40 times 3 ms of files.
    assert row[:5] == ["Fabric", "+0.14", "+0.2", "+0.12", "+0.12"]
    assert row[5].startswith("+0.58 (")
    assert row[6] == "+0.5"
    (check,) = table(folder, "cost-predictions")[2:]
    assert check[0] == "Fabric"
    assert check[2] == "0.1 (0.1 to 0.1)"
    found = {row[0]: row[1:] for row in table(folder, "cost-parts")[2:]}
    assert found == {"the bare loop": ["100", "10", "1", "2", "1"], "Fabric": ["150", "30", "4", "2.5", "2"]}


def test_a_behaviour_that_a_way_lacks_is_told_from_one_that_is_built_in(folder: Path) -> None:
    header, _, *found = table(folder, "cost-code")
    assert header[1:4] == ["loop", "bar", "logs"]
    assert found[0][:4] == ["the bare loop", "40", "does not have it", "5"]
    assert found[1][:4] == ["Fabric", "42", "0", "3"]
    assert found[1][-2:] == ["45", "9"]


def test_variables_name_the_ways_that_change_them(folder: Path) -> None:
    assert table(folder, "cost-variables")[2:] == [["`EVERYBODY`", "every way"], ["`SOMEBODY`", "Fabric"]]


def test_conditions_name_machine_call_and_commit(folder: Path) -> None:
    text = COST_TABLES["cost-conditions"](folder)
    assert "1 machine start:" in text
    assert "`here` (A Processor, 1 of 4 cores): `woof cost` (2026-01-02, abc)" in text
    assert "torch 2.0" in text
    assert "woof_lightning" not in text


def test_machines_have_a_column_each(tmp_path: Path) -> None:
    made = [
        row
        for machine, over in (("one", 20), ("two", 70))
        for way, us in (("bare", 500), ("fabric", 500 + over))
        for row in rows(way, "on", in_order(us, us), machine=machine)
    ]
    made += [row for machine in ("one", "two") for row in rows("bare", "off", in_order(400, 400), machine=machine)]
    (tmp_path / "summary.json").write_text(json.dumps(summary(made, {})), encoding="utf-8")
    header, _, *found = table(tmp_path, "cost-machines")
    assert header[2:] == ["one", "two"]
    assert ["Fabric", "on", "+20 (20 to 20)", "+70 (70 to 70)"] in found


def test_machines_agree_where_their_intervals_overlap() -> None:
    def costs(**ways: tuple[float, float, float]) -> dict[tuple[str, str], Any]:
        return {(way, "on"): dict(zip(("low", "median", "high"), values, strict=True)) for way, values in ways.items()}

    one = costs(fabric=(1, 2, 3), ignite=(1, 2, 3), woof_fit=(4, 5, 6), lightning=(9, 10, 11))
    two = costs(fabric=(3, 4, 5), ignite=(4, 5, 6), woof_fit=(1, 2, 9), lightning=(7, 8, 10), fastai=(1, 1, 1))
    first, _, second = overlaps([one, two]).partition(". ")
    assert first.endswith(" 3 of 4 rows overlap")
    assert second.endswith(": 0.5 and 0.25.")
    assert overlaps([costs(fabric=(1, 2, 3)), two]) == "The intervals of 1 of 1 rows overlap."


def test_steps_in_turns_are_shown_beside_steps_without_a_break(tmp_path: Path) -> None:
    made = [
        row
        for condition, us in (("turns", 900), ("alone", 600))
        for row in rows("bare", condition, in_order(us, us), "train_step_us")
    ]
    RowsFile(tmp_path / "rows.csv").append(made)
    assert table(tmp_path, "cost-turns")[2] == ["the bare loop", "900", "600", "1.5"]


def test_the_inherited_variable_is_shown_beside_its_absence(tmp_path: Path) -> None:
    made = [
        row
        for condition, bare_us, searches in (("clean", 500, 0), ("inherited", 600, 1))
        for way, us in (("bare", bare_us), ("woof_fit", 900))
        for measure, value in (("step_us", us), ("driver_searches", searches if way == "bare" else 0))
        for row in rows(way, condition, in_order(value, value), measure)
    ]
    RowsFile(tmp_path / "rows.csv").append(made)
    _, _, bare, fit = table(tmp_path, "cost-inherited")
    assert bare == ["the bare loop", "the reference", "0", "the reference", "1"]
    assert fit == ["woof fit", "+400 (400 to 400)", "0", "+300 (300 to 300)", "0"]


def test_a_step_before_and_after_is_shown(tmp_path: Path) -> None:
    made = [
        row
        for condition, us in (("before", 900), ("after", 907), ("after, again", 898))
        for row in rows("woof_fit", condition, in_order(us, us), "step_us")
    ]
    RowsFile(tmp_path / "rows.csv").append(made)
    _, _, *shown = table(tmp_path, "cost-before-and-after")
    assert shown[:3] == [
        ["before", "900", ""],
        ["after", "907", "+7 (7 to 7)"],
        ["after, again", "898", "-2 (-2 to -2)"],
    ]
