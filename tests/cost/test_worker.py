"""What a worker does with its job, in this process and with a time that the test sets."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from woof_lightning.cost import worker
from woof_lightning.cost.job import Job
from woof_lightning.cost.ways import MEASURED, MeasuredWay
from woof_lightning.loops.ways import WAYS
from woof_lightning.measure.environment import environment_id
from woof_lightning.measure.searches import DriverSearches


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [50.0]
    for place in ("cost.worker", "measure.clock"):
        monkeypatch.setattr(f"woof_lightning.{place}.time.perf_counter", lambda: now[0])
    return now


@pytest.fixture
def seen(now_s: list[float], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A way `fake` whose every step takes 3 s; the experiments that it was given."""
    found: list[Any] = []

    def train(experiment: Any, run: Any) -> None:
        found.append((experiment, run.path, torch.get_num_threads()))
        now_s[0] += 100
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        for _ in range(experiment.train_batches):
            now_s[0] += 3
            optimizer.step()
        now_s[0] += 1000

    monkeypatch.setitem(MEASURED, "fake", MeasuredWay(train, WAYS["bare"]))
    return found


def test_a_step_s_time_is_that_of_the_timed_ones(seen: list[Any], tmp_path: Path) -> None:
    job = Job(way="fake", warmup=2, steps=5, slices=3, lead=1, log_every_n_steps=7, image_size=9, batch_size=3)
    values = worker.measured(job, tmp_path)
    assert values["step_us"] == pytest.approx(3e6)
    assert values["peak_rss_mb"] > 50
    assert values.keys() == {"step_us", "peak_rss_mb", "driver_searches"}
    assert values["driver_searches"] == 0
    ((experiment, folder, threads),) = seen
    # No loop ends its epoch within a slice.
    assert experiment.train_batches == 2 + 3 * 6 + 4
    assert (experiment.trainer.max_epochs, experiment.val_batches) == (1, 1)
    assert (experiment.data.image_size, experiment.data.batch_size) == (9, 3)
    assert experiment.trainer.log_every_n_steps == 7
    assert (experiment.arch, experiment.trainer.accelerator, experiment.trainer.precision) == ("tiny", "cpu", "32-true")
    assert folder == tmp_path / "run"
    assert threads == 1


def test_searches_are_counted_after_the_last_timed_step(
    seen: list[Any], now_s: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_s: list[float] = []
    real = DriverSearches.start

    def start(self: DriverSearches) -> None:
        started_s.append(now_s[0])
        real(self)

    monkeypatch.setattr(DriverSearches, "start", start)
    worker.measured(Job(way="fake", warmup=2, steps=5, slices=3, lead=1), tmp_path)
    assert len(seen) == 1
    # The training begins at 150 s; 2 steps to warm up and three slices of 6 take 3 s each.
    assert started_s == [150 + 3 * (2 + 3 * 6)]


def test_a_job_s_settings_reach_the_training(seen: list[Any], tmp_path: Path) -> None:
    worker.measured(Job(way="fake", warmup=1, steps=1, slices=1, precision="bf16-mixed", threads=2), tmp_path)
    ((experiment, _, threads),) = seen
    assert experiment.trainer.precision == "bf16-mixed"
    assert threads == 2
    torch.set_num_threads(1)


def test_a_gpu_has_its_own_clock_and_memory(
    seen: list[Any], now_s: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at_ms = now_s[0] * 500  # A clock that is half as fast.

        def synchronize(self) -> None: ...

        def elapsed_time(self, end: Event) -> float:
            return end.at_ms - self.at_ms

    waits: list[float] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.Event", Event)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 7_500_000)
    monkeypatch.setattr("torch.cuda.synchronize", lambda: waits.append(now_s[0]))
    job = Job(way="fake", warmup=1, steps=2, slices=1, lead=0, accelerator="cuda")
    values = worker.measured(job, tmp_path / "a")
    assert values["step_us"] == pytest.approx(1.5e6)
    assert values["host_us"] == pytest.approx(3e6)
    assert values["peak_gpu_mb"] == 7.5
    # The device is idle when another process has its turn, and not waited for within a slice.
    assert len(waits) == 2
    waits.clear()
    before = len(optimizer_hooks())
    worker.measured(replace(job, sync=True), tmp_path / "b")
    assert len(set(waits)) == seen[1][0].train_batches, "At each step."
    assert len(optimizer_hooks()) == before
    assert seen[0][0].trainer.accelerator == "cuda"


def optimizer_hooks() -> Any:
    from torch.optim import optimizer

    return optimizer._global_optimizer_post_hooks


def test_a_start_is_timed_from_the_parent_s_clock(seen: list[Any], tmp_path: Path) -> None:
    """This process has imported everything already, so the start is 50 - 20 s, and 103 s up to the first step."""
    values = worker.measured(Job(way="fake", measure="start", started_s=20.0), tmp_path)
    assert values == {
        "first_step_s": 30 + 103,
        "trained_s": 30 + 103 + 1000,
        "import_s": 0,
        "imported_modules": 0,
    }
    ((experiment, _, _),) = seen
    assert experiment.train_batches == 1


def test_a_whole_training_is_split_at_its_first_step(
    seen: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def parts(job: Job, _: Any, run: Any) -> dict[str, float]:
        asked.append((job, run.path))
        return {"epoch_us": 7.0}

    monkeypatch.setattr(worker, "parts", parts)
    job = Job(way="fake", measure="whole", steps=5, epochs=3, val_batches=4, started_s=20.0)
    values = worker.measured(job, tmp_path)
    assert values == {"first_step_s": 30 + 103, "rest_s": 4 * 3 + 1000, "epoch_us": 7}
    # The parts are those of another training, in a folder of its own.
    assert asked == [(replace(job, epochs=worker.CHECK_EPOCHS), tmp_path / "parts")]
    assert worker.CHECK_EPOCHS != 3
    ((experiment, _, _),) = seen
    assert (experiment.train_batches, experiment.trainer.max_epochs, experiment.val_batches) == (5, 3, 4)
    assert experiment.total_steps == 15


@pytest.mark.parametrize("way", ["bare", "woof_fit"])
def test_the_parts_of_a_training_are_those_of_its_way(way: str, tmp_path: Path) -> None:
    job = Job(way=way, measure="whole", steps=6, epochs=3, val_batches=4)
    values = worker.measured(job, tmp_path)
    assert values.keys() - {"first_step_s", "rest_s"} == {
        "train_step_us",
        "val_batch_us",
        "epoch_us",
        "checkpoint_us",
        "files_per_epoch",
    }
    assert all(value > 0 for value in values.values())
    # last.ckpt after each epoch, and best.ckpt where the score has improved.
    assert 1 <= values["files_per_epoch"] <= 2


def test_an_import_is_timed_and_its_modules_counted(
    tmp_path: Path, now_s: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_one.py").write_text("import slow_two\n", encoding="utf-8")
    (tmp_path / "slow_two.py").write_text("import builtins\nbuiltins.pass_time()\n", encoding="utf-8")
    (tmp_path / "slow_three.py").write_text("import slow_two\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("builtins.pass_time", lambda: now_s.__setitem__(0, now_s[0] + 4), raising=False)
    try:
        assert worker.imports(("slow_one", "slow_three")) == {"import_s": 4, "imported_modules": 3}
        assert worker.imports(("slow_one",)) == {"import_s": 0, "imported_modules": 0}
    finally:
        for name in ("slow_one", "slow_two", "slow_three"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("turns", [None, (1, 2)])
def test_a_job_comes_and_goes_as_json(
    turns: tuple[int, int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    bound: list[Any] = []

    def measured(job: Job, folder: Path) -> dict[str, float]:
        assert folder.is_dir()
        given.append((job, folder))
        monkeypatch.setenv("PLANTED", "by an import")
        return {"step_us": 1.5}

    monkeypatch.setattr(worker, "measured", measured)
    monkeypatch.setattr(worker, "pin", bound.append)
    job = Job(way="fake", cores=(3,), entry=("a", "b"), turns=turns)
    (tmp_path / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
    before = dict(os.environ)
    worker.main(tmp_path / "job.json", tmp_path / "result.json")
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result == {"step_us": 1.5, "environment_id": environment_id(before), "changes PLANTED": 1}
    ((got, folder),) = given
    assert {name: tuple(v) if isinstance(v, list) else v for name, v in asdict(got).items()} == asdict(job)
    assert not folder.exists()
    # With turns, it is bound at its first turn: the start may use every core.
    assert bound == ([[3]] if turns is None else [])
