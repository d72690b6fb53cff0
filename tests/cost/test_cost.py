"""`woof cost`: what it measures in turns, what it makes of the rows, and when it refuses to publish them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CONFIGS, Woof
from tests.cost.test_summary import in_order, rows
from tests.cost.test_training import BARE, FABRIC, parts
from woof_lightning.cost import environments, measurement
from woof_lightning.cost.bounds import Bound
from woof_lightning.cost.draw import fingerprint
from woof_lightning.cost.features import FEATURES
from woof_lightning.cost.job import Job
from woof_lightning.cost.measurement import check_free, undisturbed
from woof_lightning.cost.plan import ON, STARTED, Case, fixed_cases, quick_cases, real_cases, waterfall_cases
from woof_lightning.cost.rows import CHANGES, STEP, UNITS, Row, RowsFile, rows_of
from woof_lightning.cost.summary import summary
from woof_lightning.cost.turns import measure_in_turns
from woof_lightning.errors import UserError
from woof_lightning.measure.busy import CPUTimes
from woof_lightning.measure.machine import machine_id

REPEATS = 12
# µs a step, by way and condition.
STEPS_US = {
    ("bare", "off"): 100.0,
    ("bare_again", "off"): 100.0,
    ("fabric", "off"): 150.0,
    ("lightning_barebones", "off"): 400.0,
    ("lightning_barebones_no_search", "off"): 350.0,
    ("bare", "on"): 125.0,
    ("woof_fit", "on"): 375.0,
    ("lightning", "on"): 2125.0,
    ("lightning_one_log", "on"): 625.0,
    ("bare", "resnet18 128 px"): 1e6,
    ("woof_fit", "resnet18 128 px"): 1.001e6,
}


RESULTS = CONFIGS.parent / "docs" / "results"


def made_rows(steps_us: Mapping[tuple[str, str], float] = STEPS_US, others_share: float = 0.01) -> list[Row]:
    """Rows in which every repeat of an way is a little slower than the one before, for all ways alike."""
    rows = []
    for repeat in range(REPEATS):
        noise = {"bare_again": 0.1 * (-1) ** repeat}
        for (way, condition), value in steps_us.items():
            rows += rows_of(way, condition, repeat, {STEP: value + repeat + noise.get(way, 0.0)})
        rows += rows_of("all", "fixed", repeat, {"others_share": others_share, "block_s": 1.0})
    return rows


def found_in(rows: list[Row]) -> dict[str, Any]:
    return summary(rows, {"calls": []})


def estimate(found: dict[str, Any], way: str, condition: str) -> dict[str, Any]:
    (one,) = [e for e in found["estimates"] if (e["way"], e["condition"], e["measure"]) == (way, condition, STEP)]
    return dict(one)


def test_differences_are_taken_repeat_by_repeat() -> None:
    found = found_in(made_rows())
    over = estimate(found, "fabric", "off")["over"]
    # The medians alone drift by a µs a repeat; the pairs do not.
    assert (over["median"], over["low"], over["high"], over["verdict"]) == (50, 50, 50, "slower")
    assert over["way"] == "bare"
    assert estimate(found, "bare", "off")["over"] is None
    assert estimate(found, "bare_again", "off")["over"]["verdict"] == "not told apart"
    assert found["refusals"] == []
    assert found["notes"] == [
        "one machine start: the intervals do not cover the difference between machines",
        "the whole training was not measured",
        "the waterfall was not measured",
        "start-up was not measured",
        "nothing was measured on a GPU",
    ]


def test_a_loop_with_reports_is_compared_with_bare_with_reports() -> None:
    over = estimate(found_in(made_rows()), "woof_fit", ON)["over"]
    assert (over["condition"], over["median"]) == (ON, 250)


def test_the_waterfall_compares_each_feature_with_the_one_before() -> None:
    features = {
        f"{side}:{feature}": 100.0 * place + (50 if side == "hand" else 0)
        for side in ("lightning", "hand")
        for place, feature in enumerate(FEATURES, start=1)
    }
    found = found_in(made_rows({(way, "waterfall"): value for way, value in features.items()}))
    over = estimate(found, "lightning:bar", "waterfall")["over"]
    assert (over["way"], over["median"]) == ("lightning:scheduler", 100)
    alone = estimate(found, "lightning:alone", "waterfall")["over"]
    assert (alone["way"], alone["median"]) == ("hand:alone", -50)


def test_bounds_say_met_missed_or_open() -> None:
    met = {bound["promise"]: bound for bound in found_in(made_rows())["bounds"]}
    assert [bound["verdict"] for bound in met.values()] == ["met", "met", "met", "no promise", "met"]
    # Over bare with reports 250, over bare without 275; over barebones without the search 250.
    assert [round(bound["value"]["median"], 3) for bound in met.values()] == [1.0, 1.1, 0.125, 0.5, 0.001]
    slower = found_in(made_rows({**STEPS_US, ("woof_fit", "on"): 700.0, ("woof_fit", "resnet18 128 px"): 1.1e6}))
    assert [bound["verdict"] for bound in slower["bounds"]] == ["missed"] * 3 + ["no promise", "missed"]
    assert Bound("x", replace_estimate(0.9, 1.1), 1.0).verdict == "open"
    # A difference that is not told apart from 0 may be above the limit: no promise is met by noise.
    assert Bound("x", replace_estimate(-0.1, 0.1), 0.01).verdict == "open"
    assert Bound("x", replace_estimate(-0.1, 0.005), 0.01).verdict == "met"
    assert Bound("x", replace_estimate(-0.1, 0.005, repeats=5), 0.01).verdict == "too few repeats"


def replace_estimate(low: float, high: float, repeats: int = 6) -> Any:
    from woof_lightning.measure.statistics import median_of

    return replace(median_of([[1.0]]), low=low, high=high, repeats=repeats)


def test_one_percent_is_a_hundred_times_the_cost() -> None:
    limits = {(limit["way"], limit["condition"]): limit["step_ms"] for limit in found_in(made_rows())["one_percent"]}
    assert limits["woof_fit", "on"] == pytest.approx(25)
    assert ("bare", "off") not in limits


def test_a_busy_machine_is_refused() -> None:
    (refusal,) = found_in(made_rows(others_share=0.2))["refusals"]
    assert "the machine was busy: in 100% of the measurements others used more than 5% of a core" in refusal


def test_an_unknown_machine_is_refused() -> None:
    rows = [row for row in made_rows() if row.measure != "others_share"]
    (refusal,) = found_in(rows)["refusals"]
    assert "is not known" in refusal


@pytest.mark.parametrize(("condition", "value"), [("off", 130.0), ("resnet18 128 px", 1.1e6)])
def test_two_bare_loops_that_differ_are_refused(condition: str, value: float) -> None:
    (refusal,) = found_in(made_rows({**STEPS_US, ("bare_again", condition): value}))["refusals"]
    assert f"the same loop measured twice ({condition}, {machine_id()}) came out as slower" in refusal


def test_few_repeats_are_not_refused_for_a_pair_that_differs_by_chance() -> None:
    few = [row for row in made_rows({**STEPS_US, ("bare_again", "off"): 130.0}) if row.repeat < 3]
    found = found_in(few)
    assert found["refusals"] == []
    assert "with fewer than 6 repeats an interval is their range" in found["notes"]


def test_what_is_known_of_a_block_as_a_whole_is_compared_with_nothing() -> None:
    """The group of the waterfall has the name of its condition."""
    rows = [*made_rows(), *rows_of("all", "waterfall", 0, {"others_share": 0.0, "block_s": 1.0})]
    told = [e for e in found_in(rows)["estimates"] if e["way"] == "all"]
    assert {e["over"] for e in told} == {None}
    assert "waterfall" in {e["condition"] for e in told}


def test_few_repeats_are_noted() -> None:
    few = [row for row in made_rows() if row.repeat < 3]
    noted = "fewer than 10 repeats on a machine: 3 of fixed cost, 3 of real work"
    assert noted in found_in(few)["notes"]


@pytest.mark.process
def test_workers_take_turns() -> None:
    job = Job(way="bare", warmup=2, steps=3, slices=4, lead=1)
    told: list[str] = []
    rows = measure_in_turns([Case("bare", "off", job), Case("bare_again", "off", job)], "fixed", 0, told.append)
    steps = {row.way: row.value for row in rows if row.measure == STEP}
    assert steps.keys() == {"bare", "bare_again"}
    assert all(value > 0 for value in steps.values())
    assert len(told) == 2
    assert "block_s" in {row.measure for row in rows if row.way == "all"}


@pytest.mark.process
def test_a_worker_that_fails_ends_the_others() -> None:
    job = Job(way="bare", warmup=2, steps=3, slices=2)
    cases = [Case("bare", "off", job), Case("bear", "off", replace(job, way="bear"))]
    with pytest.raises(RuntimeError, match="bear is no way"):
        measure_in_turns(cases, "fixed", 0, print)


def test_a_disturbed_block_is_measured_again() -> None:
    shares = iter([0.3, 0.2, 0.01, 0.5])
    told: list[str] = []

    def block() -> list[Row]:
        return rows_of("all", "fixed", 0, {"others_share": next(shares)})

    (row,) = undisturbed(block, told.append)
    assert row.value == 0.01
    assert [text[:9] for text in told] == ["disturbed"] * 2
    assert next(shares) == 0.5


def test_a_block_that_is_always_disturbed_is_kept_at_last() -> None:
    (row,) = undisturbed(lambda: rows_of("all", "fixed", 0, {"others_share": 0.3}), lambda _: None)
    assert row.value == 0.3


def test_the_measures_are_those_of_the_committed_rows() -> None:
    """A measure of another name could not be told from them, and one that a worker gives has to have a unit."""
    committed = [row for file in RESULTS.glob("cost*/rows.csv") for row in RowsFile(file).read()]
    on_cuda = {"peak_gpu_mb", "host_us"}
    named = {row.measure: row.unit for row in committed if not row.measure.startswith(CHANGES)}
    assert named == {name: unit for name, unit in UNITS.items() if name not in on_cuda}
    made = rows_of("bare", ON, 0, {"peak_gpu_mb": 3.0, f"{CHANGES}A_VARIABLE": 1.0}, machine="here")
    assert made == [
        Row("bare", "peak_gpu_mb", ON, "here", 0, 3.0, "MB"),
        Row("bare", "changes A_VARIABLE", ON, "here", 0, 1.0, "variables"),
    ]


def test_the_plan_holds_the_issue_s_arms() -> None:
    quick = {case.way for case in quick_cases()}
    assert quick == {
        *("bare", "bare_again", "hand_rolled", "fabric", "accelerate", "ignite", "fastai"),
        *("woof_fit", "lightning_barebones_no_search", "lightning", "lightning_one_log", "lightning_lean"),
    }
    assert quick <= {case.way for case in fixed_cases()}
    assert {"bare", "fabric", "woof_fit", "lightning"} <= {case.way for case in real_cases()}
    for cases in (fixed_cases(), waterfall_cases(), real_cases()):
        assert len({case.job.slices for case in cases}) == 1
        keys = [(case.way, case.condition) for case in cases]
        assert len(set(keys)) == len(keys)


def test_a_report_is_in_the_timed_steps_of_real_work() -> None:
    for case in real_cases():
        if case.job.log_every_n_steps < 100:
            timed = range(case.job.warmup + 1, case.job.warmup + case.job.slices + 1)
            assert sum(step % case.job.log_every_n_steps == 0 for step in timed) == 1


def write_measurement(folder: Path, rows: list[Row]) -> None:
    folder.mkdir()
    RowsFile(folder / "rows.csv").append(rows)
    (folder / "conditions.json").write_text(json.dumps({"machines": {}}), encoding="utf-8")


def test_rows_are_summarised_and_drawn(woof: Woof) -> None:
    write_measurement(Path("out"), made_rows())
    done = woof("cost", "--summarise", "--out", "out")
    assert done.code == 0, done.err
    assert "met: woof_fit costs at most a fifth of lightning: 0.125" in done.out
    found = json.loads(Path("out/summary.json").read_text(encoding="utf-8"))
    drawn = Path("out/fixed.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert fingerprint(found).encode() in drawn


def test_whole_trainings_are_on_the_terminal_too(woof: Woof) -> None:
    whole = [*rows("fabric", "whole", in_order(0.1, 0.1), "rest_s"), *parts("fabric", FABRIC, condition="whole")]
    write_measurement(Path("out"), [*made_rows(), *parts("bare", BARE), *parts("fabric", FABRIC), *whole])
    done = woof("cost", "--summarise", "--out", "out")
    assert done.code == 0, done.err
    lines = {line.split("  ")[0]: line for line in done.out.splitlines() if "training" in line}
    assert "the post's training over bare, without its start: 0.579" in done.out
    assert "a small training: 0.1 s, predicted over measured" in lines["fabric"]


def test_nothing_is_published_from_a_busy_machine(woof: Woof) -> None:
    write_measurement(Path("out"), made_rows(others_share=0.2))
    refused = woof("cost", "--summarise", "--out", "out")
    assert refused.code == 2
    assert "nothing is published: the machine was busy" in refused.err
    assert not Path("out/summary.json").exists()
    assert woof("cost", "--summarise", "--allow_busy", "--out", "out").code == 0
    assert Path("out/summary.json").exists()


def test_rows_that_are_there_are_left_alone(woof: Woof) -> None:
    write_measurement(Path("out"), made_rows())
    before = Path("out/rows.csv").read_text(encoding="utf-8")
    refused = woof("cost", "--quick", "--allow_busy", "--out", "out")
    assert refused.code == 2
    assert "--resume" in refused.err
    assert "--overwrite" in refused.err
    assert Path("out/rows.csv").read_text(encoding="utf-8") == before


def test_a_quick_measurement_does_not_go_on_as_a_full_one(woof: Woof) -> None:
    write_measurement(Path("out"), made_rows())
    before = Path("out/rows.csv").read_text(encoding="utf-8")
    refused = woof("cost", "--groups", "fixed", "--resume", "--allow_busy", "--out", "out")
    assert refused.code == 2
    assert "holds repeat 1 of the group fixed without hand_rolled (off)" in refused.err
    assert Path("out/rows.csv").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--repeats", "0"), "--repeats is 0: expected at least 1"),
        (("--quick", "--groups", "fixed"), "--quick and --groups were both given"),
        (("--resume", "--overwrite"), "--resume and --overwrite were both given"),
        (("--accelerator", "cuda"), "--accelerator is cuda, but this machine has none"),
        (("--dry_run",), "--dry_run is for --accelerator cuda"),
        (
            ("--accelerator", "cuda", "--dry_run", "--groups", "whole"),
            "--groups is whole: on cuda expected fixed or real",
        ),
        (("--groups", "speed"), "invalid choice: 'speed'"),
        (("--threads", "0"), "--threads is 0: expected at least 1"),
        (("--threads", "4096"), "--threads is 4096: expected at most"),
        (("--summarise", "--out", "nowhere"), "nowhere has no rows.csv"),
        (("--repeat", "3"), "unrecognized arguments: --repeat"),
    ],
)
def test_bad_options_leave_nothing(
    options: tuple[str, ...], complaint: str, woof: Woof, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused = woof("cost", *options)
    assert refused.code == 2
    assert complaint in refused.err
    assert not list(Path().iterdir())


def test_rows_outlast_a_refusal(woof: Woof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "check_free", refuse)
    Path("out").mkdir()
    Path("out/rows.csv").write_text("rows of hours\n", encoding="utf-8")
    assert woof("cost", "--quick", "--overwrite", "--out", "out").code == 2
    assert Path("out/rows.csv").read_text(encoding="utf-8") == "rows of hours\n"


def refuse() -> None:
    raise UserError("the machine is busy")


def test_a_machine_that_is_busy_now_is_told_beforehand() -> None:
    readings = iter([CPUTimes(0.0, 0.0, 0.0), CPUTimes(1.0, 0.5, 0.0)])
    with pytest.raises(UserError, match="others used 50% of a core"):
        check_free(lambda: next(readings), watch_s=0)
    check_free(lambda: None, watch_s=0)


def test_an_environment_s_size_leaves_out_its_tools(tmp_path: Path) -> None:
    for name in ("pip", "fastprogress"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n", encoding="utf-8")
        (tmp_path / f"{name}.py").write_text("x" * 1000, encoding="utf-8")
        (info / "RECORD").write_text(f"{name}.py,,\n", encoding="utf-8")
    packages, installed_mb = environments.size_of(tmp_path)
    assert packages == 1
    assert installed_mb == pytest.approx(0.001)


@pytest.mark.process
def test_an_environment_with_other_versions_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    monkeypatch.setattr("venv.create", lambda place, **_: made.append(place))
    monkeypatch.setattr(environments, "python_of", lambda place: "true")
    pins = tmp_path / "constraints.txt"
    (tmp_path / "place").mkdir()
    for version in ("1.0", "1.0", "2.0"):
        pins.write_text(f"fastprogress=={version}\n", encoding="utf-8")
        environments.installed(tmp_path / "place", ("fastprogress",), pins, None, print)
    assert len(made) == 2


@pytest.mark.slow
@pytest.mark.process
def test_environments_hold_one_framework_each(tmp_path: Path) -> None:
    """Installs from the package index, torch included."""
    made = environments.make_environments(tmp_path, ("bare", "ignite"), print)
    assert made["bare"].packages == 0
    assert made["ignite"].packages == 1
    asked = "import torch, importlib.util as u; print(u.find_spec('ignite') is None)"
    assert os.popen(f'{made["bare"].python} -c "{asked}"').read().strip() == "True"
    assert set(STARTED) >= {"bare", "ignite"}
