"""The steps of a measurement: what is measured when, what is left alone, and what is written down."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from woof_lightning.cost import measurement
from woof_lightning.cost.environments import Environment
from woof_lightning.cost.job import Job
from woof_lightning.cost.measurement import (
    MOST_TRIES,
    Measurement,
    check_free,
    check_installed,
    check_same_blocks,
    conditions_of,
    measure,
    prepare,
    publish,
    undisturbed,
)
from woof_lightning.cost.plan import STARTED, Case
from woof_lightning.cost.rows import HEADER, RowsFile, rows_of
from woof_lightning.errors import UserError
from woof_lightning.measure.busy import CPUTimes
from woof_lightning.measure.machine import machine_id


def case(way: str, condition: str = "off") -> Case:
    return Case(way, condition, Job(way=way))


PLAN = Measurement({"fixed": [case("bare"), case("fabric")]}, [case("bare", "step")], repeats=2)
START = Measurement({"start": [case("bare", "start")]}, [case("bare", "step")], repeats=1)


@pytest.fixture
def rows_file(tmp_path: Path) -> RowsFile:
    return RowsFile(tmp_path / "rows.csv")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is measured, in order; each case takes as many µs as blocks came before."""
    found: list[str] = []

    def in_turns(cases: Any, group: str, repeat: int, _: Any) -> Any:
        found.append(f"{group} {repeat}")
        rows = [row for c in cases for row in rows_of(c.way, c.condition, repeat, {"step_us": float(len(found))})]
        return [*rows, *rows_of("all", group, repeat, {"others_share": 0.0})]

    def alone(cases: Any, repeat: int, _: Any, pythons: Any = None) -> Any:
        found.append(f"alone {cases[0].condition} {repeat} {sorted(pythons or {})}")
        return rows_of(cases[0].way, cases[0].condition, repeat, {"calls": 1.0})

    def together(cases: Any, _: Any) -> Any:
        found.append(f"together {cases[0].condition}")
        return rows_of(cases[0].way, cases[0].condition, 0, {"calls": 1.0})

    def environments(folder: Path, ways: Any, _: Any) -> Any:
        found.append(f"environments {folder.name if folder.name == 'kept' else 'temporary'}")
        return {way: Environment(Path(way), 2, 3.5) for way in ways}

    monkeypatch.setattr(measurement, "measure_in_turns", in_turns)
    monkeypatch.setattr(measurement, "measure_alone", alone)
    monkeypatch.setattr(measurement, "count_together", together)
    monkeypatch.setattr(measurement, "make_environments", environments)
    return found


def options(**given: Any) -> Namespace:
    defaults = {"quick": False, "groups": None, "repeats": None, "threads": 1, "accelerator": "cpu"}
    more = {"resume": False, "overwrite": False, "allow_busy": True, "environments": None, "dry_run": False}
    return Namespace(**(defaults | more | given))


def test_blocks_are_measured_in_order_and_written_one_by_one(rows_file: RowsFile, asked: list[str]) -> None:
    measure(PLAN, rows_file, options())
    assert asked == ["together step", "fixed 0", "fixed 1"]
    rows = rows_file.read()
    steps = [(row.way, row.repeat, row.value) for row in rows if row.measure == "step_us"]
    assert steps == [("bare", 0, 2), ("fabric", 0, 2), ("bare", 1, 3), ("fabric", 1, 3)]


def test_what_is_there_is_not_measured_again(rows_file: RowsFile, asked: list[str]) -> None:
    measure(PLAN, rows_file, options())
    asked.clear()
    measure(PLAN, rows_file, options())
    assert asked == []
    rows_file.path.write_text(
        "".join(rows_file.path.read_text(encoding="utf-8").splitlines(keepends=True)[:-3]), encoding="utf-8"
    )
    before = rows_file.path.read_text(encoding="utf-8")
    measure(PLAN, rows_file, options())
    assert asked == ["fixed 1"]
    assert rows_file.path.read_text(encoding="utf-8").startswith(before)


def test_starts_are_measured_in_their_environments_after_one_that_does_not_count(
    rows_file: RowsFile, asked: list[str]
) -> None:
    measure(START, rows_file, options(environments=Path("kept")))
    every = sorted(STARTED)
    assert asked == ["together step", "environments kept", f"alone start 0 {every}", f"alone start 0 {every}"]
    rows = rows_file.read()
    assert [row.condition for row in rows].count("start") == 1
    installed = {(row.way, row.measure): row.value for row in rows if row.condition == "installed"}
    assert installed["bare", "packages"] == 2
    assert installed["bare", "installed_mb"] == 3.5
    asked.clear()
    measure(START, rows_file, options())
    assert asked[0] == "environments temporary"
    assert [row.condition for row in rows_file.read()].count("installed") == 2 * len(STARTED)


def test_whole_trainings_run_in_this_environment_even_beside_starts(rows_file: RowsFile, asked: list[str]) -> None:
    both = Measurement({**START.groups, "whole": [case("bare", "whole")]}, [], repeats=1)
    measure(both, rows_file, options(environments=Path("kept")))
    assert asked[-1] == "alone whole 0 []"


def test_a_disturbed_block_is_measured_again_unless_busy_is_allowed(
    rows_file: RowsFile, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def disturbed(block: Any, _: Any) -> Any:
        tries.append(1)
        return block()

    monkeypatch.setattr(measurement, "undisturbed", disturbed)
    measure(PLAN, rows_file, options(allow_busy=False))
    assert len(tries) == 2
    rows_file.path.unlink()
    measure(PLAN, rows_file, options(allow_busy=True))
    assert len(tries) == 2
    assert len(asked) == 6


@pytest.mark.parametrize(("share", "blocks"), [(0.05, 1), (0.051, MOST_TRIES)])
def test_a_block_may_be_disturbed_by_a_twentieth_of_a_core(share: float, blocks: int) -> None:
    measured: list[int] = []

    def block() -> Any:
        measured.append(1)
        rows = rows_of("all", "fixed", 0, {"block_s": 9.0, "others_share": share})
        return [*rows_of("bare", "off", 0, {"step_us": 9.0, "others_share": 0.0}), *rows]

    undisturbed(block, lambda _: None)
    assert len(measured) == blocks


def test_without_proc_a_block_is_measured_once() -> None:
    assert undisturbed(lambda: rows_of("bare", "off", 0, {"step_us": 9.0}), pytest.fail)[0].value == 9


@pytest.mark.parametrize(("others_s", "busy"), [(0.04, False), (0.06, True)])
def test_the_watch_leaves_out_one_s_own_time(others_s: float, busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1.0]
    readings = iter([CPUTimes(0.0, 0.0, 0.0), CPUTimes(2.0, 0.5 + 2 * others_s, 0.0)])
    slept: list[float] = []

    def sleep(elapsed_s: float) -> None:
        slept.append(elapsed_s)
        now_s[0] += 0.5

    monkeypatch.setattr("woof_lightning.cost.measurement.time.sleep", sleep)
    monkeypatch.setattr("woof_lightning.cost.measurement.time.process_time", lambda: now_s[0])
    if busy:
        with pytest.raises(UserError, match="in the last 3 s others used 6% of a core"):
            check_free(lambda: next(readings))
    else:
        check_free(lambda: next(readings))
    assert slept == [3.0]


@pytest.mark.usefixtures("asked")
def test_a_framework_that_is_not_installed_is_named_but_for_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def lacking(ways: list[str]) -> list[str]:
        asked.append(ways)
        return ["x", "y"]

    monkeypatch.setattr(measurement, "packages_lacking", lacking)
    with pytest.raises(UserError, match=r"woof cost needs x, y, which are not installed: install the extra `peers`"):
        check_installed(replace(PLAN, groups=PLAN.groups | {"start": [case("fastai", "start")]}))
    assert asked == [["bare", "fabric"]]
    monkeypatch.setattr(measurement, "packages_lacking", lambda _: [])
    check_installed(PLAN)


def test_a_block_without_a_case_is_refused(rows_file: RowsFile) -> None:
    measure(PLAN, rows_file, options())
    check_same_blocks(PLAN, rows_file)
    more = Measurement({"fixed": [*PLAN.groups["fixed"], case("ignite", "on")]}, PLAN.counted, 2)
    with pytest.raises(UserError, match=r"repeat 1 of the group fixed without ignite \(on\)"):
        check_same_blocks(more, rows_file)
    # Repeats that are not there yet lack nothing.
    check_same_blocks(Measurement(PLAN.groups, PLAN.counted, 5), rows_file)
    check_same_blocks(Measurement({"real": [case("bare", "real")]}, [], 2), rows_file)


def test_conditions_name_the_call_and_add_up(rows_file: RowsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    given = options(out=rows_file.path.parent, quick=True, threads=2, repeats=4)
    assert conditions_of(given)["calls"][0]["command"] == (
        "woof cost --quick --repeats=4 --threads=2 --accelerator=cpu"
    )
    prepare(given, rows_file)
    (first,) = json.loads((given.out / "conditions.json").read_text(encoding="utf-8"))["machines"].values()
    assert (first["threads"], first["accelerator"], first["dry_run"]) == (2, "cpu", False)
    assert {"torch", "lightning", "accelerate"} <= first["versions"].keys()
    assert first["machine"]["processor"]

    rows_file.append(rows_of("bare", "off", 0, {"step_us": 1.0}))
    again = options(out=given.out, groups=["fixed", "real"], threads=2, resume=True)
    prepare(again, rows_file)
    calls = json.loads((given.out / "conditions.json").read_text(encoding="utf-8"))["machines"][machine_id()]["calls"]
    assert [call["command"] for call in calls] == [
        "woof cost --quick --repeats=4 --threads=2 --accelerator=cpu",
        "woof cost --groups fixed real --threads=2 --accelerator=cpu --resume",
    ]
    assert rows_file.read()

    with pytest.raises(UserError, match="was measured with other threads: choose another --out"):
        prepare(options(out=given.out, threads=1, resume=True), rows_file)
    monkeypatch.setattr(measurement, "versions", lambda _: first["versions"] | {"torch": "0.1"})
    with pytest.raises(UserError, match="was measured with other torch"):
        prepare(again, rows_file)
    with pytest.raises(UserError, match=r"rows.csv exists: continue it, or add this machine's repeats to it"):
        prepare(given, rows_file)
    prepare(options(out=given.out, overwrite=True), rows_file)
    assert not rows_file.path.exists()
    (only,) = json.loads((given.out / "conditions.json").read_text(encoding="utf-8"))["machines"].values()
    assert len(only["calls"]) == 1


def test_another_machine_adds_its_repeats(
    rows_file: RowsFile, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = options(out=rows_file.path.parent, resume=True)
    prepare(given, rows_file)
    measure(PLAN, rows_file, given)
    first = rows_file.read()
    for module in ("measurement", "rows"):
        monkeypatch.setattr(f"woof_lightning.cost.{module}.machine_id", lambda: "another")
    # Another commit of this project may add repeats; another torch may not.
    here = json.loads((given.out / "conditions.json").read_text(encoding="utf-8"))["machines"][machine_id()]["versions"]
    monkeypatch.setattr(measurement, "versions", lambda _: here | {"woof_lightning": "9"})
    check_same_blocks(Measurement({"fixed": [case("ignite", "on")]}, [], 1), rows_file)
    prepare(given, rows_file)
    asked.clear()
    measure(PLAN, rows_file, given)
    assert asked == ["together step", "fixed 0", "fixed 1"]
    added = rows_file.read()[len(first) :]
    assert {row.machine for row in first} == {machine_id()}
    assert {row.machine for row in added} == {"another"}
    assert [replace(row, machine="", value=0) for row in added] == [replace(row, machine="", value=0) for row in first]
    machines = json.loads((given.out / "conditions.json").read_text(encoding="utf-8"))["machines"]
    assert list(machines) == [machine_id(), "another"]
    assert machines["another"]["versions"]["woof_lightning"] == "9"


@pytest.mark.process
def test_counting_leaves_the_measuring_process_alone(rows_file: RowsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    before = dict(os.environ)
    measure(Measurement({}, [Case("fabric", "counted", Job(way="fabric", measure="code"))], 1), rows_file, options())
    values = {row.measure: row.value for row in rows_file.read()}
    assert values["logical_lines"] > 20
    assert values["changes PYTORCH_NVML_BASED_CUDA_CHECK"] == 1
    assert dict(os.environ) == before


def test_the_machine_is_watched_unless_busy_is_allowed(rows_file: RowsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[int] = []
    monkeypatch.setattr(measurement, "check_free", lambda: watched.append(1))
    prepare(options(out=rows_file.path.parent / "a", allow_busy=True), rows_file)
    assert not watched
    prepare(options(out=rows_file.path.parent / "b", allow_busy=False), rows_file)
    assert watched


def test_reasons_against_publishing_are_all_told(tmp_path: Path) -> None:
    found: dict[str, Any] = {"refusals": ["it rained", "it snowed"], "estimates": []}
    with pytest.raises(UserError, match="nothing is published: it rained; it snowed. The rows are in"):
        publish(found, tmp_path, allow_busy=False)
    assert not list(tmp_path.iterdir())
    assert publish(found, tmp_path, allow_busy=True) == []
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8")) == found


def test_rows_come_back_as_they_were_written(rows_file: RowsFile) -> None:
    assert rows_file.read() == []
    first = rows_of("bare", "off", 0, {"step_us": 123.456, "peak_rss_mb": 50.0})
    second = rows_of("fabric", "on", 3, {"calls": 7.0})
    rows_file.append(first)
    rows_file.append(second)
    assert rows_file.read() == [*first, *second]
    lines = rows_file.path.read_text(encoding="utf-8").splitlines()
    assert lines[0].split(",") == list(HEADER)
    assert lines[1] == f"bare,step_us,off,{machine_id()},0,123.456,us"
    assert [row.unit for row in rows_file.read()] == ["us", "MB", "calls"]
