"""Which cases are measured, and under which conditions."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest

from woof_lightning.cost import measurement
from woof_lightning.cost.measurement import planned
from woof_lightning.cost.plan import (
    COUNTED,
    CUDA_WAYS,
    GROUPS,
    IN_A_STEP,
    LOG_EVERY,
    NETS,
    OFF,
    ON,
    STARTED,
    WITH_VARIANTS,
    Case,
    code_cases,
    fixed_cases,
    indirection_cases,
    on_cuda,
    quick_cases,
    real_cases,
    start_cases,
    waterfall_cases,
    whole_cases,
)
from woof_lightning.cost.ready import NEVER
from woof_lightning.loops.ways import REFERENCE, WAYS


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
    assert {(way, ON) for way in WITH_VARIANTS} <= keys(fixed_cases()) & keys(quick_cases())
    peers = {(way, OFF) for way in ("hand_rolled", "fabric", "accelerate", "ignite", "fastai", "lightning_lean")}
    assert peers <= keys(fixed_cases())
    assert {("bare", OFF), ("bare_again", OFF), ("lightning_barebones_no_search", OFF)} <= keys(quick_cases())
    assert ("lightning_barebones", OFF) in keys(fixed_cases())


@pytest.mark.parametrize("cases", [group() for group in GROUPS.values()])
def test_a_block_compares_with_the_bare_loop_in_the_same_condition(cases: list[Case]) -> None:
    conditions = {case.condition for case in cases} - {"waterfall"}
    assert {(REFERENCE, condition) for condition in conditions} <= keys(cases)
    assert len(keys(cases)) == len(cases)


def test_the_waterfall_runs_as_users_do() -> None:
    assert {(case.condition, case.terminal, case.job.log_every_n_steps) for case in waterfall_cases()} == {
        ("waterfall", True, LOG_EVERY)
    }


def test_real_work_has_the_same_reports_in_every_way() -> None:
    for case in real_cases():
        arch, size_px, _ = case.condition.split()
        assert (case.job.arch, case.job.image_size) == (arch, int(size_px))
        assert case.terminal
        assert case.job.log_every_n_steps == LOG_EVERY
        # Whole reports, in slices of the same number: they are interleaved.
        assert case.job.steps * case.job.slices % LOG_EVERY == 0
        assert case.job.slices == 10
    assert {case.condition for case in real_cases()} == set(NETS)
    assert ("bare_again", "resnet18 128 px") in keys(real_cases())


def test_whole_trainings_validate_in_each_epoch() -> None:
    assert [case.way for case in whole_cases()] == list(WITH_VARIANTS)
    for case in whole_cases():
        assert (case.job.measure, case.condition, case.terminal) == ("whole", "whole", True)
        assert case.job.epochs > 2
        assert case.job.val_batches > 10


def test_start_and_indirection_are_of_every_way() -> None:
    for cases, ways, *rest in (
        (start_cases(), WAYS, "start", "start", True),
        (indirection_cases(), WITH_VARIANTS, "indirection", "step", True),
        (code_cases(), WAYS, "code", "counted", False),
    ):
        assert [case.way for case in cases] == list(ways)
        assert {(case.job.measure, case.condition, case.terminal) for case in cases} == {tuple(rest)}
    assert list(STARTED) == list(WAYS)
    assert all(case.job.entry == WAYS[case.way].entry for case in start_cases())
    assert {(case.job.slices, case.job.lead) for case in indirection_cases()} == {(1, 0)}
    # As many steps as between ten reports.
    assert all(case.job.steps % LOG_EVERY == 0 for case in indirection_cases())


def test_on_a_gpu_each_case_comes_without_and_with_waiting() -> None:
    cases = real_cases()
    moved = on_cuda(cases)
    assert {case.job.accelerator for case in moved} == {"cuda"}
    assert {case.job.accelerator for case in on_cuda(cases, "cpu")} == {"cpu"}
    assert keys(moved) == keys(cases) | {(case.way, f"{case.condition}, sync") for case in cases}
    assert all(case.job.sync == case.condition.endswith(", sync") for case in moved)
    assert len(moved) == 2 * len(cases)


def options(**given: Any) -> Namespace:
    defaults = {"quick": False, "groups": None, "accelerator": "cpu", "threads": 1, "repeats": None, "dry_run": False}
    return Namespace(**(defaults | given))


def test_a_call_plans_what_it_asks_for() -> None:
    whole = planned(options())
    assert whole.groups.keys() == GROUPS.keys()
    assert whole.repeats == 10
    assert keys(whole.counted) == keys(code_cases()) | keys(indirection_cases())
    some = planned(options(groups=["real"], repeats=4))
    assert (list(some.groups), some.repeats) == (["real"], 4)
    assert keys(some.groups["real"]) == keys(real_cases())
    quick = planned(options(quick=True))
    assert (list(quick.groups), quick.repeats) == (["fixed"], 2)
    assert quick.counted == []
    assert {case.condition for case in planned(options()).counted} == {IN_A_STEP, COUNTED}
    assert keys(quick.groups["fixed"]) == keys(quick_cases())
    assert planned(options(quick=True, repeats=4)).repeats == 4


def test_on_a_gpu_fixed_cost_and_resnet18_are_measured() -> None:
    moved = planned(options(accelerator="cuda"))
    assert list(moved.groups) == ["fixed", "real"]
    assert {case.job.accelerator for cases in moved.groups.values() for case in cases} == {"cuda"}
    # What is counted does not depend on the device.
    assert moved.counted == []
    assert {case.way for case in moved.groups["fixed"]} == set(CUDA_WAYS)
    assert len({case.job.slices for case in moved.groups["real"]}) == 1
    assert {(case.job.arch, case.job.batch_size) for case in moved.groups["real"]} == {
        ("resnet18", 16),
        ("resnet18", 128),
    }
    dry = planned(options(accelerator="cuda", dry_run=True, groups=["real"]))
    assert keys(dry.groups["real"]) == keys(moved.groups["real"])
    assert {case.job.accelerator for case in dry.groups["real"]} == {"cpu"}


def test_threads_are_those_of_the_timed_cases_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, int]] = []

    def pinned(cases: list[Case], threads: int) -> list[Case]:
        given.append((cases[0].condition, threads))
        return cases

    monkeypatch.setattr(measurement, "pinned", pinned)
    planned(options(threads=2, groups=["real"]))
    assert given == [(next(iter(NETS)), 2), ("counted", 1)]
