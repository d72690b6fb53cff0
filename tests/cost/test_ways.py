"""Every way of the cost comparison does the same work, and the clock sees each of its steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from tests.ways import each
from woof_lightning.cost.features import FEATURE_WAYS, way_named
from woof_lightning.cost.job import Job
from woof_lightning.cost.plan import Case
from woof_lightning.cost.ready import Work
from woof_lightning.cost.turns import worker_of
from woof_lightning.cost.ways import MEASURED
from woof_lightning.errors import UserError
from woof_lightning.lit.trainer import NVML_CHECK
from woof_lightning.measure.clock import StepClock, ticking
from woof_lightning.runs.folder import RunFolder

STEPS = 12


@pytest.mark.parametrize("name", each([*MEASURED, *FEATURE_WAYS]))
def test_every_way_takes_each_step(name: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    work = Work(arch="tiny", image_size=8, batch_size=2, steps=STEPS, log_every_n_steps=10)
    clock = StepClock(warmup=2, steps=5)
    with ticking(clock):
        way_named(name).train(work.experiment(), run)
    assert clock.count == STEPS
    assert clock.step_us > 0


@pytest.mark.parametrize(
    ("name", "a_step"),
    [
        ("fabric", 1),
        ("lightning_lean", 1),
        ("lightning_one_log", 1),
        ("lightning_barebones", 1),
        ("lightning", 1),
        ("woof_fit", 0),
        ("lightning_barebones_no_search", 0),
    ],
)
def test_each_step_searches_for_a_driver_where_the_cost_page_says_so(
    name: str, a_step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[int] = []
    after_each_step: list[int] = []

    def search() -> int:
        searches.append(1)
        return 0

    # As after the import of Lightning or Fabric, with torch's build for CUDA and without a GPU.
    monkeypatch.setenv(NVML_CHECK, "1")
    monkeypatch.setattr("torch.cuda._is_compiled", lambda: True)
    monkeypatch.setattr("torch.cuda._parse_visible_devices", lambda: [0])
    monkeypatch.setattr("torch.cuda._raw_device_count_nvml", search)
    run = RunFolder(tmp_path / "run")
    run.create()
    work = Work(arch="tiny", image_size=8, batch_size=2, steps=STEPS, log_every_n_steps=10)
    handle = register_optimizer_step_post_hook(lambda *_: after_each_step.append(len(searches)))
    try:
        way_named(name).train(work.experiment(), run)
    finally:
        handle.remove()
    assert np.diff(after_each_step).tolist() == [a_step] * (STEPS - 1)


@pytest.mark.process
@pytest.mark.parametrize(("name", "changes"), [("bare", False), ("fabric", True)])
def test_what_a_way_s_imports_change_is_in_its_row_and_nowhere_else(
    name: str, changes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NVML_CHECK, "1")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    values, _ = worker_of(Case(name, "off", Job(way=name, warmup=2, steps=5, slices=1))).finish()
    assert values.get(f"changes {NVML_CHECK}", 0) == changes
    # A machine without a driver searches, where torch is built for CUDA.
    searches = 1 if changes and torch.version.cuda is not None and torch.cuda.device_count() == 0 else 0
    assert values["driver_searches"] == searches


@pytest.mark.process
def test_a_worker_measures_in_a_process_of_its_own() -> None:
    values, used_s = worker_of(Case("bare", "off", Job(way="bare", warmup=2, steps=5), terminal=True)).finish()
    assert values["step_us"] > 0
    assert values["peak_rss_mb"] > 50
    assert used_s > 0


@pytest.mark.process
def test_a_worker_that_fails_tells_why() -> None:
    with pytest.raises(RuntimeError, match="no_such_way is no way"):
        worker_of(Case("no_such_way", "off", Job(way="no_such_way"))).finish()


def test_unknown_arms_are_refused() -> None:
    with pytest.raises(UserError, match="bare_again"):
        way_named("bear")
