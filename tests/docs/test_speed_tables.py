"""The tables of docs/speed.md: values of the right way, ratios within a repeat."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from docs.generate.speed_tables import SPEED_LABELS, SPEED_TABLES, bars
from docs.results.speed.measure import COLUMNS, STEPS, WAYS_OF_BEFORE, jobs_of, key_of
from docs.results.speed.one import CACHES, TRAINED, Stopwatch
from woof_lightning.measure.conditions import add_call

TRAINED_VALUES = {
    # Speeds in two repeats: the machine was twice as fast in the second.
    "limit": (100.0, 200.0),
    "woof_fit": (90.0, 184.0),
    "timm": (50.0, 80.0),
}


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    rows = [
        ("training", "32-true", 64, way, repeat, "images_per_s", value)
        for way, values in TRAINED_VALUES.items()
        for repeat, value in enumerate(values)
    ]
    rows += [("training", "32-true", 64, way, 0, "memory_mb", 1000 + len(way)) for way in TRAINED_VALUES]
    rows += [("training", "bf16-mixed", 64, "woof_fit", 0, "images_per_s", 300)]
    rows += [("loading", "", size, "timm", 0, "loaded_per_s", 10 * size) for size in (64, 224)]
    rows += [("loading", "", 64, "woof_fit", 0, "loaded_per_s", 2000)]
    times = {"first_s": 6.0, "kept_s": 4.2, "forward_s": 4.0}
    rows += [("validation", "32-true", 64, "woof_fit", 0, name, value) for name, value in times.items()]
    rows += [("start", "32-true", 64, way, 0, "start_s", value) for way, value in (("imports", 8), ("woof_fit", 6))]
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    call = {
        "command": "c",
        "machine": {"processor": "P", "cores": 2},
        "machine_id": "p-1",
        "date": "2026-01-02",
        "versions": {"woof_lightning": "1", "torch": "9"},
    }
    later = {
        "command": "d",
        "machine_id": "p-2",
        "date": "2026-01-03",
        "versions": {"woof_lightning": "2", "torch": "9"},
    }
    (tmp_path / "conditions.json").write_text(json.dumps([call, call | later]), encoding="utf-8")
    return tmp_path


def table(name: str, folder: Path) -> list[list[str]]:
    """The cells of a table's rows, without the header's line."""
    header, _, *rows = SPEED_TABLES[name](folder).split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in (header, *rows)]


def test_shares_of_the_limit_are_taken_within_a_repeat(measured: Path) -> None:
    assert SPEED_TABLES["speed"](measured).endswith("\n\nRepeats: 1 to 2.\n")
    header, *rows = table("speed", measured)
    assert header[1::2] == ["64 px, 32-true: images/s", "64 px, bf16-mixed: images/s"]
    found = {row[0]: row[1:] for row in rows}
    assert set(found) == {SPEED_LABELS[way] for way in TRAINED_VALUES}
    assert found[SPEED_LABELS["woof_fit"]] == [
        "137 (90 to 184)",
        "0.91 (0.9 to 0.92)",
        "300 (300 to 300)",
        "not measured",
    ]
    assert found[SPEED_LABELS["timm"]][1] == "0.45 (0.4 to 0.5)"
    assert found[SPEED_LABELS["limit"]][1] == "1 (1 to 1)"


def test_loading_memory_validation_and_start(measured: Path) -> None:
    header, *rows = table("speed-loading", measured)
    assert header[-1] == "times 16, 224 px"
    assert rows[0][1:] == ["640 (640 to 640)", "2,240 (2,240 to 2,240)", "35,800"]
    assert rows[1][1:] == ["2,000 (2,000 to 2,000)", "not measured", "not measured"]
    assert ["1,010", "not measured"] in [row[1:] for row in table("speed-memory", measured)]
    assert table("speed-validation", measured)[1][2:] == ["1.5 (1.5 to 1.5)", "1.05 (1.05 to 1.05)"]
    assert table("speed-start", measured)[1] == ["8 (8 to 8)", "6 (6 to 6)", "0.75 (0.75 to 0.75)"]
    calls = ["- 2026-01-02, p-1, woof_lightning 1: `c`", "- 2026-01-03, p-2, woof_lightning 2: `d`"]
    lines = ["P, 2 cores. torch 9.", "", *calls]
    assert SPEED_TABLES["speed-machine"](measured).splitlines() == lines


def test_bars_are_the_medians_and_the_line_is_the_limit(measured: Path) -> None:
    first, second = bars(measured).axes
    drawn: list[Any] = [axes.containers[-1] for axes in (first, second)]
    assert [list(one.datavalues) for one in drawn] == [[65, 137], [300]]
    line: Any = first.lines[-1]
    assert list(line.get_xdata()) == [150, 150]


def test_a_million_images(tmp_path: Path) -> None:
    rows = [
        (start, name, 10 * start + place)
        for start in range(4)
        for place, name in enumerate(("prepared_s", "asked_s", "added_mb"), 1)
    ]
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("start", "name", "value"), *rows])
    _, first, later = table("many-images", tmp_path)
    assert first == ["the first", "1", "2", "3"]
    assert later[1:] == ["21 (11 to 31)", "22 (12 to 32)", "23 (13 to 33)"]


def test_the_clock_starts_after_the_warm_up() -> None:
    watch = Stopwatch(5)
    watch.done_s = [0.0, 9.0, 10.0, 12.0, 13.0]
    assert watch.images_per_s(warm_up=3) == 128 * 2 / 3
    watch.step_done()
    assert watch.memory_mb == 0
    fresh = Stopwatch(1)
    fresh.step_done()
    assert fresh.memory_mb > 10


def test_a_repeat_has_each_way_once_in_an_order_of_its_own() -> None:
    first, second, last = (jobs_of(repeat, "f", [64], ["32-true", "bf16-mixed"], None) for repeat in (0, 1, 4))
    keys = [key_of(job, 0) for job in first]
    assert len(keys) == len(set(keys))
    assert sorted(map(str, first)) == sorted(map(str, second))
    assert first != second
    assert {job.way for job in first if job.measured == "training"} == set(TRAINED)
    assert {job.way for job in last if job.measured == "training"} == {"limit", "woof_fit", "woof_fit_before"}
    assert not [job for job in first if job.precision == "bf16-mixed" and job.way in ("fastai", "post")]
    assert {(job.warm_up, job.batches) for job in first if job.measured == "training"} == {STEPS[64]}


def test_a_call_is_noted_once_beside_those_before(tmp_path: Path) -> None:
    file = tmp_path / "conditions.json"
    for command in ("a", "b", "a"):
        add_call(file, {"command": command})
    assert json.loads(file.read_text(encoding="utf-8")) == [{"command": "a"}, {"command": "b"}]


def test_each_way_has_a_label_and_the_versions_are_told_apart() -> None:
    assert set(TRAINED) == set(SPEED_LABELS)
    assert {way for way, cache in CACHES.items() if cache is None} <= set(WAYS_OF_BEFORE)
