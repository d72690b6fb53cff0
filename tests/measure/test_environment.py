"""What of a process's environment reaches a worker, and what a worker changes in its own."""

from __future__ import annotations

import pytest

from tests.measure.test_process import worker
from woof_lightning.measure.environment import ALLOWED, changed, clean_environment, environment_id


def test_only_what_is_listed_is_passed_on() -> None:
    given = {"PATH": "/bin", "HOME": "/root", "PYTORCH_NVML_BASED_CUDA_CHECK": "1", "OMP_NUM_THREADS": "7"}
    assert clean_environment(given) == {"PATH": "/bin", "HOME": "/root"}
    assert not {"LD_PRELOAD", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX", "PYTHONHASHSEED"} & set(ALLOWED)


@pytest.mark.process
def test_a_variable_planted_in_the_parent_does_not_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = worker().finish()[0]["environment_id"]
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert worker().finish()[0]["environment_id"] == clean
    # Unless it is asked for.
    assert worker(variables={"OMP_NUM_THREADS": "7"}).finish()[0]["environment_id"] != clean
    # What may pass arrives, and the number tells it.
    monkeypatch.setenv("TZ", "Antarctica/Troll")
    assert worker().finish()[0]["environment_id"] != clean


def test_the_number_tells_values_from_names_and_has_six_digits() -> None:
    numbers = {environment_id(given) for given in ({}, {"A": "1"}, {"A": "2"}, {"B": "1"}, {"A": "1", "B": "1"})}
    assert len(numbers) == 5
    assert all(0 <= number < 1e6 for number in numbers)
    assert environment_id({"A": "1", "B": "2"}) == environment_id({"B": "2", "A": "1"})


def test_changes_are_what_was_set_altered_or_removed() -> None:
    before, after = {"kept": "1", "altered": "1", "gone": "1"}, {"kept": "1", "altered": "2", "new": ""}
    assert changed(before, after) == ["altered", "gone", "new"]
