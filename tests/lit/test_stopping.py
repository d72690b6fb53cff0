"""What ends a training early, and going on exactly where it was: also in Lightning projects that are not this one."""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from tests.conftest import Woof
from tests.cuts import cut
from tests.faults.harness import last_step
from tests.processes import woof as start_woof
from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.loading import train_loader
from woof_lightning.data.sampling import EpochSampler
from woof_lightning.errors import NonFiniteLossError, StoppedBySignal, UserError
from woof_lightning.lit.callbacks.checkpoints import DurableCheckpointIO
from woof_lightning.lit.callbacks.stopping import (
    STOP_SIGNALS,
    NonFiniteLossGuard,
    SaveEvery,
    StopOnSignal,
    signals_to_handle,
)
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.parity import first_difference
from woof_lightning.recipe.checkpoint import read_checkpoint
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

RUN = RunFolder(Path("runs/adamw_onecycle"))


class Plain(LightningModule):
    """Somebody else's module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.seen: list[tuple[float, ...]] = []

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        (numbers,) = batch
        self.seen.append(tuple(numbers[:, 0].tolist()))
        loss: torch.Tensor = self.layer(numbers).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def batches(values: list[float]) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.tensor([[value, 1.0] for value in values])), batch_size=1)


def plain_trainer(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    unseen = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    settings: dict[str, Any] = {"max_epochs": 1, "accelerator": "cpu", **unseen, **options}
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **settings)


class Send(Callback):
    """Sends this process a signal in the midst of a step."""

    def __init__(self, signum: int, batch_idx: int) -> None:
        self.signum, self.batch_idx = signum, batch_idx

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx == self.batch_idx:
            signal.raise_signal(self.signum)


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_ends_any_project_s_training_after_its_step(signum: int, tmp_path: Path) -> None:
    before = signal.getsignal(signum)
    file = tmp_path / "last.ckpt"
    trainer = plain_trainer(tmp_path, Send(signum, 2), StopOnSignal(file))
    with pytest.raises(StoppedBySignal) as stopped:
        trainer.fit(Plain(), batches([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert stopped.value.exit_code == 128 + signum
    assert torch.load(file, weights_only=True)["global_step"] == 3
    assert signal.getsignal(signum) == before


class Fail(Callback):
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        raise ArithmeticError


@pytest.mark.parametrize("fails", [False, True])
def test_the_signal_handlers_after_a_training_are_those_before_it(fails: bool, tmp_path: Path) -> None:
    before = [signal.getsignal(signum) for signum in STOP_SIGNALS]
    stop = StopOnSignal(tmp_path / "last.ckpt")
    trainer = plain_trainer(tmp_path, stop, *([Fail()] if fails else []))
    with pytest.raises(ArithmeticError) if fails else nullcontext():
        trainer.fit(Plain(), batches([1.0, 2.0]))
    assert [signal.getsignal(signum) for signum in STOP_SIGNALS] == before


def test_after_an_epoch_s_last_step_the_epoch_is_ended_first(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    trainer = plain_trainer(tmp_path, Send(signal.SIGTERM, 1), StopOnSignal(file), max_epochs=2)
    with pytest.raises(StoppedBySignal):
        trainer.fit(Plain(), batches([1.0, 2.0]))
    assert not file.exists()  # The epoch's own checkpoint is the one to go on from.
    assert trainer.current_epoch == 1


def test_a_step_over_several_batches_is_not_cut(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    trainer = plain_trainer(tmp_path, Send(signal.SIGTERM, 0), StopOnSignal(file), accumulate_grad_batches=2)
    with pytest.raises(StoppedBySignal):
        trainer.fit(Plain(), batches([1.0, 2.0, 3.0, 4.0]))
    assert torch.load(file, weights_only=True)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"] == 2


def test_no_save_takes_the_place_of_a_validation_within_an_epoch(tmp_path: Path) -> None:
    class Validated(Plain):
        def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
            validated_at.append(self.global_step)

    validated_at: list[int] = []
    file = tmp_path / "last.ckpt"
    trainer = plain_trainer(tmp_path, Send(signal.SIGTERM, 1), StopOnSignal(file), val_check_interval=2)
    data = batches([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    with pytest.raises(StoppedBySignal):
        trainer.fit(Validated(), data, data)
    assert set(validated_at) == {0, 2}  # 0: the sanity check.
    assert torch.load(file, weights_only=True)["global_step"] == 3


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    stop = StopOnSignal(tmp_path / "last.ckpt")
    trainer = plain_trainer(tmp_path, Send(signal.SIGINT, 0), Send(signal.SIGINT, 0), stop)
    with pytest.raises(SystemExit):  # Lightning's; WoofTrainer makes it Ctrl-C again.
        trainer.fit(Plain(), batches([1.0, 2.0]))
    assert not stop.checkpoint.exists()
    signal.signal(signal.SIGINT, before)


def test_slurm_s_signals_are_left_to_slurm_s_plugin(tmp_path: Path) -> None:
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    trainer = plain_trainer(tmp_path)
    assert set(signals_to_handle(trainer)) == set(STOP_SIGNALS)
    environment = SLURMEnvironment(auto_requeue=True, requeue_signal=signal.SIGUSR1)
    trainer._accelerator_connector.cluster_environment = environment
    assert list(signals_to_handle(trainer)) == [signal.SIGINT]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_loss_is_found_within_a_report_interval(bad: float, tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path, NonFiniteLossGuard(every_n_steps=3))
    with pytest.raises(NonFiniteLossError, match=r"the training loss is (nan|inf) at epoch 0, step 5; the learning"):
        trainer.fit(Plain(), batches([1.0, 2.0, 3.0, 4.0, bad, 6.0, 7.0, 8.0, 9.0]))
    assert trainer.global_step == 6


def test_a_bad_loss_is_found_before_a_save(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    trainer = plain_trainer(tmp_path, NonFiniteLossGuard(every_n_steps=100), SaveEvery(file, 2))
    with pytest.raises(NonFiniteLossError):
        trainer.fit(Plain(), batches([1.0, 2.0, math.nan, 4.0, 5.0, 6.0]))
    assert torch.load(file, weights_only=True)["global_step"] == 2


def test_bad_weights_are_found_before_a_save(tmp_path: Path) -> None:
    class Spoilt(Plain):
        def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
            if self.global_step == 3:
                self.layer.bias.grad = torch.tensor([math.inf])

    file = tmp_path / "last.ckpt"
    trainer = plain_trainer(tmp_path, NonFiniteLossGuard(), SaveEvery(file, 2))
    with pytest.raises(NonFiniteLossError, match="the weights are NaN or infinite"):
        # No loss is infinite yet.
        trainer.fit(Spoilt(), batches([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert torch.load(file, weights_only=True)["global_step"] == 2


def test_the_guard_adds_no_wait_for_the_device_between_its_looks(tmp_path: Path) -> None:
    """A value that leaves the device is a wait for it, and a loss on torch's meta device has none to give."""
    guard = NonFiniteLossGuard(every_n_steps=5)
    trainer = plain_trainer(tmp_path)
    loss = torch.ones((), device="meta")
    for kind in (lambda loss: loss, lambda loss: {"loss": loss}):
        for step in range(4):
            guard.on_train_batch_end(trainer, Plain(), kind(loss), None, step)
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            guard.on_train_batch_end(trainer, Plain(), kind(loss), None, 4)
        guard.on_train_epoch_start(trainer, Plain())


def test_a_cut_epoch_goes_on_at_its_next_image(drawn_index: ImageIndex) -> None:
    config = DataConfig(image_size=8, batch_size=7, num_workers=0)
    whole, cut = (train_loader(drawn_index, config, seed=3) for _ in range(2))
    assert isinstance(whole.sampler, EpochSampler)
    assert isinstance(cut.sampler, EpochSampler)
    read: list[Any] = []
    dataset: Any = cut.dataset
    real = type(dataset).__getitem__

    def noted(self: Any, key: Any) -> Any:
        read.append(key)
        return real(self, key)

    type(dataset).__getitem__ = noted
    try:
        cut.sampler.resume_at(2, 3 * 7)
        for sampler in (whole.sampler, cut.sampler):
            sampler.set_epoch(2)
        assert len(cut) == len(whole)
        assert list(cut.sampler) == list(whole.sampler)[21:]
        first = next(iter(cut))
        assert len(read) == 7
    finally:
        type(dataset).__getitem__ = real
    assert torch.equal(first[0], list(whole)[3][0])
    for sampler in (whole.sampler, cut.sampler):
        sampler.set_epoch(3)
    assert list(cut.sampler) == list(whole.sampler)


def test_a_batch_s_files_follow_from_seed_epoch_and_place(drawn_root: Path) -> None:
    data = ImagewoofDataModule(seed=5, root=drawn_root, variant="synthetic", batch_size=8, num_workers=0)
    data.setup("fit")
    loader = train_loader(data.index, data.config, seed=5)  # type: ignore[arg-type]
    loader.sampler.set_epoch(2)  # type: ignore[attr-defined]
    _, labels = list(loader)[4]
    files = data.batch_files(2, 4)
    assert [data.index.classes.index(file.parent.name) for file in files] == labels.tolist()  # type: ignore[union-attr]


def test_nan_ends_with_3_and_keeps_the_last_good_checkpoint(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = WoofClassifier.forward

    def spoilt(self: WoofClassifier, images: torch.Tensor) -> torch.Tensor:
        bad = self.training and self.current_epoch == 1 and self.trainer.fit_loop.epoch_loop.batch_idx == 1
        return real(self, images) * (math.nan if bad else 1)

    monkeypatch.setattr(WoofClassifier, "forward", spoilt)
    outcome = woof("fit", *small_fit)
    assert outcome.code == 3
    assert "the training loss is nan at epoch 1, step 6; the learning rate is 0.00" in outcome.err
    assert "batch 1 of epoch 1:" in outcome.err
    assert outcome.err.count(".JPEG") == 8
    assert "Traceback" not in outcome.err
    assert read_checkpoint(RUN.last)["epoch"] == 0
    assert not RUN.result.exists()
    assert woof("fit", *small_fit, "--overwrite", "--allow_nan").code == 0


@pytest.mark.process
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_saves_within_epochs_goes_on_within_them(woof: Woof, small_fit: list[str], workers: int) -> None:
    options = [*small_fit, "--data.num_workers", workers, "--trainer.limit_train_batches", "6"]
    assert woof("fit", *options, "--name", "unbroken").code == 0
    place = Path()
    run = RunFolder(place / "runs" / "broken")
    options += ["--name", "broken", "--save_every", "1", "--resume", "--trainer.log_every_n_steps", "2"]
    for step in (4, 10):
        process = start_woof("fit", options, place)
        process.wait_until(lambda step=step: last_step(run) >= step)  # type: ignore[misc]
        process.send(signal.SIGKILL)
        process.wait()
    assert read_checkpoint(run.last)["global_step"] % 6 != 0
    outcome = woof("fit", *options)
    assert outcome.code == 0, outcome.err
    assert first_difference(RunFolder(Path("runs/unbroken")), run) is None


def test_max_time_ends_after_a_whole_epoch_and_the_run_goes_on(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert woof("fit", *small_fit, "--name", "unbroken").code == 0
    real = WoofClassifier.training_step

    def slow(self: WoofClassifier, batch: Any, batch_idx: int) -> torch.Tensor:
        time.sleep(0.3)
        return real(self, batch, batch_idx)

    monkeypatch.setattr(WoofClassifier, "training_step", slow)
    outcome = woof("fit", *small_fit, "--trainer.max_time", "00:00:00:01")
    assert outcome.code == 0, outcome.err
    result = json.loads(RUN.result.read_text(encoding="utf-8"))
    assert (result["status"], result["epochs"]) == ("stopped early", 1)
    assert read_metrics(RUN.metrics)[-1].keys() >= {"val/acc1"}
    monkeypatch.setattr(WoofClassifier, "training_step", real)
    assert woof("fit", *small_fit, "--resume").code == 0
    assert json.loads(RUN.result.read_text(encoding="utf-8"))["status"] == "finished"
    assert first_difference(RunFolder(Path("runs/unbroken")), RUN) is None


def test_sigterm_without_checkpoints_is_no_ctrl_c(woof: Woof, small_fit: list[str]) -> None:
    with cut(lambda _, batch_idx: batch_idx == 1):
        outcome = woof("fit", *small_fit, "--trainer.enable_checkpointing", "false")
    assert outcome.code == 143
    assert "stopped by SIGTERM" in outcome.err
    assert "saved" not in outcome.err


def test_a_run_that_another_process_has_just_trained_is_not_written_over(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert woof("fit", *small_fit, "--name", "other").code == 0
    real = ImagewoofDataModule.prepare_data

    def meanwhile(self: ImagewoofDataModule) -> None:
        shutil.copytree("runs/other", RUN.path)
        real(self)

    monkeypatch.setattr(ImagewoofDataModule, "prepare_data", meanwhile)
    outcome = woof("fit", *small_fit)
    assert outcome.code == 2
    assert "another process has just trained in runs/adamw_onecycle" in outcome.err
    assert first_difference(RunFolder(Path("runs/other")), RUN) is None


def test_images_are_not_shared_twice(drawn_index: ImageIndex) -> None:
    data = ImagewoofDataModule()
    data.index = drawn_index
    connector = SimpleNamespace(use_distributed_sampler=True)
    data.trainer = SimpleNamespace(world_size=2, global_rank=0, _accelerator_connector=connector)  # type: ignore[assignment]
    with pytest.raises(UserError, match="use_distributed_sampler is True: expected False"):
        data.train_dataloader()


def test_the_time_before_a_cut_counts(woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("woof_lightning.lit.recorder.time.perf_counter", lambda: now_s[0])
    real = WoofClassifier.training_step

    def slow(self: WoofClassifier, batch: Any, batch_idx: int) -> torch.Tensor:
        now_s[0] += 10
        if self.current_epoch == 0 and batch_idx == 2 and not RUN.last.exists():
            signal.raise_signal(signal.SIGTERM)
        return real(self, batch, batch_idx)

    monkeypatch.setattr(WoofClassifier, "training_step", slow)
    assert woof("fit", *small_fit).code == 143
    now_s[0] += 1000
    assert woof("fit", *small_fit, "--resume").code == 0
    assert json.loads(RUN.result.read_text(encoding="utf-8"))["elapsed_s"] == [40, 80]
    assert [row["step"] for row in read_metrics(RUN.metrics)] == [2, 4, 6, 8]


def test_a_step_logged_late_keeps_its_row(tmp_path: Path) -> None:
    from woof_lightning.runs.metrics import MetricsFile

    file = MetricsFile(tmp_path / "metrics.csv")
    file.log({"train/loss": 1.0, "epoch": 0}, 1)
    file.log({"train/loss": 2.0, "epoch": 0}, 2)
    file.sync()
    file.log({"val/loss": 3.0, "epoch": 0}, 2)
    file.log({"train/loss": 4.0, "epoch": 1}, 3)
    file.flush()
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert (rows[1]["train/loss"], rows[1]["val/loss"]) == (2, 3)


def test_a_checkpoint_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(UserError, match="could not be written"):
        DurableCheckpointIO().save_checkpoint({}, tmp_path / "file" / "last.ckpt")
