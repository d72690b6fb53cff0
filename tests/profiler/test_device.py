"""A device that computes beside Python. Here the processor stands in for it, and the warnings are made."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity
from torch.utils.data import DataLoader, TensorDataset

from woof_lightning.profile import device as device_module
from woof_lightning.profile.device import WAITS, WINDOW_STEPS, DeviceUse, Window, covered_us, waits_noted
from woof_lightning.profile.overhead import OverheadProfiler
from woof_lightning.profile.record import Profile
from woof_lightning.profile.report import on_device
from woof_lightning.profile.seams import before
from woof_lightning.profile.sites import Sites
from woof_lightning.profile.turns import AS_IS, Arm, Group, Turns


@pytest.fixture
def stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the processor stand in for the device."""
    monkeypatch.setitem(device_module.WATCHED, "cpu", (DeviceType.CPU, ProfilerActivity.CPU))


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [([], 0), ([(1, 3)], 2), ([(5, 6), (1, 3)], 3), ([(1, 5), (2, 3)], 4), ([(1, 4), (3, 7), (7, 8)], 7)],
)
def test_time_that_several_kernels_share_counts_once(ranges: list[tuple[float, float]], expected: float) -> None:
    assert covered_us(ranges) == expected


@pytest.mark.usefixtures("stands_in")
def test_a_window_sees_how_long_the_device_is_busy() -> None:
    window = Window(torch.device("cpu"))
    matrix = torch.ones(600, 600)
    window.open()
    began_ns = time.perf_counter_ns()
    for _ in range(5):
        matrix @ matrix
    computed_us = (time.perf_counter_ns() - began_ns) / 1000
    time.sleep(3 * computed_us / 1e6)
    busy_us = window.close()
    assert 0.3 * computed_us < busy_us < 1.2 * computed_us


class Slow(LightningModule):
    """Multiplies, and sleeps twice as long: the device idles."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        matrix = torch.ones(500, 500)
        began = time.perf_counter()
        matrix @ matrix
        time.sleep(2 * (time.perf_counter() - began))
        self.log("loss", 1.0, prog_bar=True)
        return self.layer(batch[0]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer_for(profiler: OverheadProfiler, steps: int) -> Trainer:
    """Returns a Trainer that only trains and profiles."""
    return Trainer(
        accelerator="cpu", max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, profiler=profiler,
    )  # fmt: skip


@pytest.mark.usefixtures("stands_in")
def test_the_profile_of_a_fit_says_how_long_the_device_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = []
    for name in ("open", "close"):
        method = getattr(Window, name)
        noted = before(method, lambda: watched.append(trainer.global_step))
        monkeypatch.setattr(Window, name, noted)
    profiler = OverheadProfiler(tmp_path, first_steps=10)
    trainer = trainer_for(profiler, 60)
    trainer.fit(Slow(), DataLoader(TensorDataset(torch.ones(100, 1))))
    found = profiler.profile_of_fit
    assert found is not None
    assert found.device is not None
    assert (found.first_steps, found.steps) == (10 + WINDOW_STEPS, 60 - 10 - WINDOW_STEPS), "watched steps do not count"
    # PyTorch records a whole optimizer step, closure included, so here the processor is busy for all of it.
    assert found.device.busy_us > 0
    assert found.device.steps == WINDOW_STEPS
    assert watched == [10, 10 + WINDOW_STEPS]
    idle_us = found.device.idle_us(found.step_us["median"])
    assert all(one.predicted_us <= idle_us for one in found.advice)
    assert Profile.read(tmp_path / "profile.json") == found
    assert "The device computes" in (tmp_path / "profile.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("stands_in")
def test_nothing_can_be_had_back_while_the_device_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = Window.close

    def slow(window: Window) -> float:
        close(window)
        time.sleep(2)
        return WINDOW_STEPS * 1e9

    monkeypatch.setattr(Window, "close", slow)
    profiler = OverheadProfiler(tmp_path)
    trainer = trainer_for(profiler, 40)
    trainer.fit(Slow(), DataLoader(TensorDataset(torch.ones(100, 1))))
    assert profiler.profile_of_fit is not None
    assert {one.predicted_us for one in profiler.profile_of_fit.advice} == {0.0}
    assert profiler.profile_of_fit.device is not None
    assert profiler.profile_of_fit.device.busy_us == 1e9
    assert max(profiler.profile_of_fit.steps_us) < 2e6, "closing the window is no part of a step"


@pytest.mark.usefixtures("stands_in")
def test_a_fit_that_fails_within_the_window_closes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(Window, "close", before(Window.close, lambda: closed.append(True)))

    class Failing(Slow):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 12:
                raise KeyError("within the window")
            return super().training_step(batch, batch_idx)

    profiler = OverheadProfiler(tmp_path)
    trainer = trainer_for(profiler, 40)
    with pytest.raises(KeyError):
        trainer.fit(Failing(), DataLoader(TensorDataset(torch.ones(100, 1))))
    assert closed == [True]
    assert profiler.profile_of_fit is not None
    assert profiler.profile_of_fit.device is None, "there was no whole window"


def test_without_a_device_no_step_is_watched(tmp_path: Path) -> None:
    profiler = OverheadProfiler(tmp_path)
    trainer = trainer_for(profiler, 15)
    trainer.fit(Slow(), DataLoader(TensorDataset(torch.ones(100, 1))))
    assert profiler.profile_of_fit is not None
    assert profiler.profile_of_fit.device is None
    assert profiler.profile_of_fit.first_steps == 10
    assert on_device(profiler.profile_of_fit) == ""


@pytest.fixture
def synchronising(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """PyTorch's mode that warns of waiting, without a GPU."""
    mode: dict[str, Any] = {"now": 0}
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: mode["now"])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda value: mode.update(now=value))
    return mode


def test_lines_that_wait_for_the_device_are_named(synchronising: dict[str, Any]) -> None:
    sites = Sites()
    with waits_noted(sites):
        assert synchronising["now"] == "warn"
        for _ in range(3):
            warnings.warn(WAITS, UserWarning, stacklevel=1)  # This line.
    line = next(
        n
        for n, text in enumerate(Path(__file__).read_text(encoding="utf-8").splitlines(), 1)
        if text.endswith("# This line.")
    )
    (site,) = sites.all()
    assert site.calls == 3
    assert site.place.endswith(f"test_device.py:{line}")
    assert synchronising["now"] == 0


@pytest.mark.usefixtures("synchronising")
def test_other_warnings_are_shown_as_they_were() -> None:
    sites = Sites()
    with pytest.warns(UserWarning, match="something else"), waits_noted(sites):
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert sites.all() == []


def test_the_mode_is_put_back_after_an_error(synchronising: dict[str, Any]) -> None:
    with pytest.raises(KeyError), waits_noted(Sites()):
        raise KeyError
    assert synchronising["now"] == 0


def test_waits_stand_in_the_report() -> None:
    share = {"median": 1000.0, "p95": 1000.0, "sum": 1000.0}
    profile = Profile({}, 1, 0, share, 1000.0, 0.0, (), device=DeviceUse(8, 900.0, (("train.py:3", 2.0),)))
    text = on_device(profile)
    assert "0.9 ms of a step" in text
    assert "100 us" in text
    assert "train.py:3  2 a step" in text


def test_a_turn_on_a_device_is_timed_as_a_whole() -> None:
    steps = [(1.0, 2.0), (1.0, 2.0), (1.0, 2.0), (9.0, 10.0)]  # The last one waits for the work of all.
    queued, usual = (Group((Arm(AS_IS),), 4, 1, 1, queued=one) for one in (True, False))
    for group in (queued, usual):
        group.note(Arm(AS_IS), steps)
    assert queued.times_us[AS_IS] == [(3.0, 4.0)]
    assert usual.times_us[AS_IS] == [(1.0, 2.0)]


def test_turns_begin_and_end_when_the_device_has_done_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drained: dict[str, list[bool]] = {"turns": [], "bare": []}
    for name, times in drained.items():
        monkeypatch.setattr(
            f"woof_lightning.profile.{name}.drain_of", lambda _, times=times: lambda: times.append(True)
        )
    profiler, turns = OverheadProfiler(tmp_path), Turns(bare=True, prove=False, rounds=2)
    profiler.continue_with(turns, 12)
    trainer = trainer_for(profiler, 200)
    trainer.fit(Slow(), DataLoader(TensorDataset(torch.ones(300, 1))))
    assert turns.comparison() is not None
    assert len(drained["turns"]) == 1 + 2, "before the first turn, and at the end of each of the Trainer's"
    # The advice computes a step of a bare loop again and again, which has no turns.
    assert len(drained["bare"]) == 2 * 2, "at both ends of each turn of the bare loop"
