"""Which cases are measured, and under which conditions."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest

from woof_lightning.cost import measurement
from woof_lightning.cost.measurement import planned
from woof_lightning.cost.plan import (
    GROUPS,
    LOG_EVERY,
    NEVER,
    OFF,
    ON,
    STARTED,
    Case,
    fixed_cases,
    indirection_cases,
    on_cuda,
    quick_cases,
    real_cases,
    start_cases,
    waterfall_cases,
)
from woof_lightning.loops.ways import WAYS


@pytest.mark.parametrize("cases", [fixed_cases(), quick_cases()])
def test_off_has_neither_logs_nor_a_terminal_and_on_has_both(cases: list[Case]) -> None:
    for case in cases:
        assert case.condition in (OFF, ON)
        assert case.way == case.job.way
        assert case.terminal == (case.condition == ON)
        assert case.job.log_every_n_steps == (LOG_EVERY if case.condition == ON else NEVER)
        assert (case.job.measure, case.job.arch, case.job.accelerator) == ("step", "tiny", "cpu")


def keys(cases: list[Case]) -> set[tuple[str, str]]:
    return {(case.way, case.condition) for case in cases}


def test_every_way_is_measured_as_its_users_have_it() -> None:
    assert {(way, ON) for way in WAYS} <= keys(fixed_cases())
    assert {(way, ON) for way in WAYS if way != "bare"} <= keys(quick_cases())
    assert {("bare", OFF), ("bare_again", OFF), ("lightning_off", OFF), ("lightning_barebones", OFF)} <= keys(
        fixed_cases()
    )
    assert ("lightning_barebones_no_search", OFF) in keys(fixed_cases())


def test_the_waterfall_runs_as_users_do() -> None:
    assert {(case.condition, case.terminal, case.job.log_every_n_steps) for case in waterfall_cases()} == {
        ("waterfall", True, LOG_EVERY)
    }


def test_real_work_is_resnet18_at_two_sizes() -> None:
    for case in real_cases():
        size_px = int(case.condition.split()[1])
        plain = case.way.startswith("bare")
        assert (case.job.arch, case.job.image_size, case.job.batch_size) == ("resnet18", size_px, 16)
        assert case.terminal != plain
        assert case.job.log_every_n_steps == (NEVER if plain else LOG_EVERY)
    assert {case.job.image_size for case in real_cases()} == {64, 128}


def test_start_and_indirection_are_of_every_way() -> None:
    for cases, measure, condition in ((start_cases(), "start", "start"), (indirection_cases(), "indirection", "step")):
        assert [case.way for case in cases] == list(STARTED) == list(WAYS)
        assert {(case.job.measure, case.condition, case.terminal) for case in cases} == {(measure, condition, True)}
    assert all(case.job.entry == WAYS[case.way].entry for case in start_cases())
    assert {(case.job.slices, case.job.lead) for case in indirection_cases()} == {(1, 0)}
    # As many steps as between ten reports.
    assert all(case.job.steps % LOG_EVERY == 0 for case in indirection_cases())


def test_on_a_gpu_each_case_comes_without_and_with_waiting() -> None:
    cases = real_cases()
    moved = on_cuda(cases)
    assert {case.job.accelerator for case in moved} == {"cuda"}
    assert keys(moved) == keys(cases) | {(case.way, f"{case.condition}, sync") for case in cases}
    assert all(case.job.sync == case.condition.endswith(", sync") for case in moved)
    assert len(moved) == 2 * len(cases)


def options(**given: Any) -> Namespace:
    return Namespace(**({"quick": False, "groups": None, "accelerator": "cpu", "threads": 1, "repeats": None} | given))


def test_a_call_plans_what_it_asks_for() -> None:
    whole = planned(options())
    assert whole.groups.keys() == GROUPS.keys()
    assert whole.repeats == 10
    assert [case.way for case in whole.counted] == list(STARTED)
    some = planned(options(groups=["real"], repeats=4))
    assert (list(some.groups), some.repeats) == (["real"], 4)
    assert keys(some.groups["real"]) == keys(real_cases())
    quick = planned(options(quick=True))
    assert (list(quick.groups), quick.repeats) == (["fixed"], 3)
    assert keys(quick.groups["fixed"]) == keys(quick_cases())
    assert planned(options(quick=True, repeats=2)).repeats == 2


def test_on_a_gpu_the_start_is_measured_without_it() -> None:
    moved = planned(options(accelerator="cuda", groups=["real", "start"]))
    assert {case.job.accelerator for case in moved.groups["start"]} == {"cpu"}
    assert {case.job.accelerator for case in moved.groups["real"]} == {"cuda"}
    assert {case.job.accelerator for case in moved.counted} == {"cpu"}


def test_threads_are_those_of_the_timed_cases_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, int]] = []

    def pinned(cases: list[Case], threads: int) -> list[Case]:
        given.append((cases[0].condition, threads))
        return cases

    monkeypatch.setattr(measurement, "pinned", pinned)
    planned(options(threads=2, groups=["real"]))
    assert given == [("resnet18 64 px", 2), ("step", 1)]
