"""Faults and leaks of Lightning (docs/abstraction-cost.md): each test fails on the day its fault is fixed."""

from __future__ import annotations

import gc
import math
import re
import signal
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from tests.conftest import Woof
from tests.cuts import cut
from tests.upstream.helpers import QUIET, Tiny, in_a_process, last
from woof_lightning.lit.callbacks.hooks import STEP_HOOKS, without_idle_step_hooks
from woof_lightning.lit.quiet import NOT_FOR_USERS


@pytest.mark.parametrize(("workers", "order"), [(0, 2), pytest.param(1, 0, marks=pytest.mark.process)])
def test_a_resumed_epoch_takes_the_wrong_order_with_workers(tmp_path: Path, workers: int, order: int) -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/19764; see ImagewoofDataModule.state_dict."""
    Trainer(max_epochs=2, callbacks=[last(tmp_path)], **QUIET).fit(Tiny(workers))
    resumed = Tiny(workers)
    Trainer(max_epochs=3, callbacks=[last(tmp_path)], **QUIET).fit(resumed, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.orders == [order, order]


def test_steps_are_estimated_before_the_epoch_is_known(tmp_path: Path) -> None:
    """Why the datamodule cannot ask the Trainer; see ImagewoofDataModule.state_dict."""
    seen = []

    class Estimating(Tiny):
        def train_dataloader(self) -> DataLoader[Any]:
            seen.append(self.trainer.fit_loop.epoch_progress.current.ready)
            return super().train_dataloader()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            assert self.trainer.estimated_stepping_batches
            return super().configure_optimizers()

    Trainer(max_epochs=2, callbacks=[last(tmp_path)], **QUIET).fit(Tiny())
    Trainer(max_epochs=3, callbacks=[last(tmp_path)], **QUIET).fit(Estimating(), ckpt_path=tmp_path / "last.ckpt")
    assert seen == [0]


def test_save_last_is_not_the_last(tmp_path: Path) -> None:
    """See best_and_last."""

    class Worsening(Tiny):
        def on_train_epoch_end(self) -> None:
            self.log("score", -float(self.current_epoch))

    callback = ModelCheckpoint(tmp_path, monitor="score", mode="max", save_last=True, save_on_train_epoch_end=True)
    Trainer(max_epochs=3, callbacks=[callback], **QUIET).fit(Worsening())
    assert torch.load(tmp_path / "last.ckpt")["epoch"] == 0


def test_a_moved_checkpoint_forgets_its_best_score(tmp_path: Path) -> None:
    """See MovableModelCheckpoint."""
    there, here = ModelCheckpoint(tmp_path / "there"), ModelCheckpoint(tmp_path / "here")
    there.best_model_score = torch.tensor(0.7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here.load_state_dict(there.state_dict())
    assert here.best_model_score is None


def test_checkpoints_are_staged_without_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/21800; see DurableCheckpointIO."""
    flushed = []
    monkeypatch.setattr("os.fsync", lambda descriptor: flushed.append(descriptor))
    Trainer(max_epochs=1, callbacks=[last(tmp_path)], **QUIET).fit(Tiny())
    assert (tmp_path / "last.ckpt").is_file()
    assert not flushed


def test_csv_logger_deletes_the_metrics_of_a_resumed_run(tmp_path: Path) -> None:
    """See MetricsLogger."""
    for value in (1.0, 2.0):
        logger = CSVLogger(tmp_path, name="", version="")
        logger.log_metrics({"a": value}, 0)
        logger.save()
    assert "1.0" not in (tmp_path / "metrics.csv").read_text(encoding="utf-8")


def test_tensorboard_logger_writes_an_empty_hparams_file(tmp_path: Path) -> None:
    """See EventsLogger.save."""
    logger = TensorBoardLogger(tmp_path, name="", version="")
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    assert (tmp_path / "hparams.yaml").is_file()


class Widened(Tiny):
    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width = width


def test_a_checkpoint_s_settings_overrule_those_of_the_command_line(tmp_path: Path) -> None:
    """See WoofTrainer."""
    options: dict[str, Any] = {
        "model_class": Widened,
        "save_config_callback": None,
        "auto_configure_optimizers": False,
        "trainer_defaults": {**QUIET, "max_epochs": 1, "default_root_dir": tmp_path},
    }
    LightningCLI(**options, args=["fit", "--model.width", "1"]).trainer.save_checkpoint(tmp_path / "one.ckpt")
    resumed = LightningCLI(**options, args=["fit", "--model.width", "2", "--ckpt_path", str(tmp_path / "one.ckpt")])
    assert resumed.model.width == 1


def test_ctrl_c_is_exit_code_1() -> None:
    """See WoofTrainer.fit."""

    class Interrupting(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as caught:
        Trainer(max_epochs=1, callbacks=[Interrupting()], enable_checkpointing=False, **QUIET).fit(Tiny())
    signal.signal(signal.SIGINT, handler)
    assert caught.value.code == 1


@pytest.mark.process
def test_a_tip_is_advertised() -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/21294; see quieten_libraries."""
    code = "from lightning.pytorch import Trainer; Trainer(accelerator='cpu')"
    done = in_a_process(code)
    assert done.code == 0, done.err
    assert "Tip" in done.err + done.out


def test_a_checkpoint_callback_makes_its_key_anew_each_time() -> None:
    """See MovableModelCheckpoint.state_key."""
    callback = ModelCheckpoint(monitor="val/acc1")
    before = callback.state_key
    callback.monitor = "val/loss"
    assert callback.state_key != before


def test_lightning_trains_on_after_nan() -> None:
    """See NonFiniteLossGuard."""

    class Spoilt(Tiny):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            return super().training_step(batch, batch_idx) * math.nan

    trainer = Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)
    trainer.fit(Spoilt())
    assert trainer.state.finished


@pytest.mark.process
def test_sigterm_is_exit_code_0_without_a_checkpoint(tmp_path: Path) -> None:
    """See StopOnSignal."""
    code = (
        "import signal\n"
        "from pathlib import Path\n"
        "from lightning.pytorch import Trainer\n"
        "from tests.upstream.helpers import QUIET, Tiny, last\n"
        "class Stopped(Tiny):\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "        return super().training_step(batch, batch_idx)\n"
        f"Trainer(max_epochs=1, callbacks=[last(Path({str(tmp_path)!r}))], **QUIET).fit(Stopped())\n"
    )
    done = in_a_process(code)
    assert (done.code, (tmp_path / "last.ckpt").exists()) == (0, False), done.err


def test_a_save_after_an_epoch_s_last_batch_loses_its_validation(tmp_path: Path) -> None:
    """See can_save."""
    validated: list[int] = []

    class Validated(Tiny):
        def val_dataloader(self) -> DataLoader[Any]:
            return self.train_dataloader()

        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            validated.append(self.current_epoch)

    class SaveAtTheEnd(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            if trainer.is_last_batch:
                trainer.save_checkpoint(tmp_path / "end.ckpt")
                raise RuntimeError("cut")

    options = {**QUIET, "num_sanity_val_steps": 0, "enable_checkpointing": False}
    with pytest.raises(RuntimeError, match="cut"):
        Trainer(max_epochs=2, callbacks=[SaveAtTheEnd()], **options).fit(Validated())
    Trainer(max_epochs=2, **options).fit(Validated(), ckpt_path=tmp_path / "end.ckpt")
    assert set(validated) == {1}


def test_a_hook_that_is_no_callable_is_passed_over() -> None:
    """See without_idle_step_hooks."""

    @without_idle_step_hooks
    class Lean(Callback):
        ended = 0

        def on_train_batch_end(self, *args: Any) -> None:
            Lean.ended += 1

    Trainer(max_epochs=1, enable_checkpointing=False, callbacks=[Lean()], **QUIET).fit(Tiny())
    assert Lean.ended == 2
    idle = [name for name in STEP_HOOKS if getattr(Lean, name) is None]
    assert idle == [name for name in STEP_HOOKS if name != "on_train_batch_end"]


def test_lightning_warns_of_what_needs_no_warning(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """See lit/quiet.py. Two warnings are left out: sync_dist needs several devices, workers more than two cores."""
    monkeypatch.setattr("woof_lightning.cli.fit.quieten_libraries", lambda: None)
    monkeypatch.setattr(sys, "argv", ["woof", "fit"])
    warnings.simplefilter("always")
    options = [*small_fit, "--trainer.log_every_n_steps", "9", "--save_every", "1"]
    options += ["--trainer.callbacks", "lightning.pytorch.callbacks.EMAWeightAveraging"]
    with cut(lambda _, batch_idx: batch_idx == 1):
        assert woof("fit", *options).code == 143
    assert woof("fit", *options, "--resume").code == 0
    seen = [str(warning.message) for warning in recwarn]
    expected = set(NOT_FOR_USERS) - {"sync_dist=True", "does not have many workers"}
    assert [text for text in expected if not any(re.search(text, message) for message in seen)] == []


def test_a_bar_resumed_within_an_epoch_does_not_know_its_length(tmp_path: Path) -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/20603."""

    class SaveWithinTheEpoch(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 0:
                trainer.save_checkpoint(tmp_path / "within.ckpt")

    class Watched(TQDMProgressBar):
        def __init__(self) -> None:
            super().__init__()
            self.lengths: list[Any] = []

        def on_train_batch_end(self, *args: Any) -> None:
            super().on_train_batch_end(*args)
            self.lengths.append(self.train_progress_bar.total)

    options = {**QUIET, "enable_checkpointing": False, "enable_progress_bar": True}
    first, resumed = Watched(), Watched()
    Trainer(max_epochs=1, callbacks=[first, SaveWithinTheEpoch()], **options).fit(Tiny())
    Trainer(max_epochs=2, callbacks=[resumed], **options).fit(Tiny(), ckpt_path=tmp_path / "within.ckpt")
    assert (first.lengths, resumed.lengths) == ([2, 2], [None, 2, 2])


def test_a_checkpoint_within_an_epoch_has_the_score_of_the_validation_before(tmp_path: Path) -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/20185 and 17417; 21106 fixed the first of a run only."""

    class Scored(Tiny):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(torch.zeros(4, 1))  # type: ignore[arg-type]

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            loss: torch.Tensor = self.layer(batch).sum()
            return loss

        def val_dataloader(self) -> DataLoader[Any]:
            return self.train_dataloader()

        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            self.log("score", float(self.global_step))

    callback = ModelCheckpoint(
        tmp_path, "{step}-{score:.0f}", monitor="score", mode="max", save_top_k=-1, every_n_train_steps=2
    )
    Trainer(max_epochs=2, val_check_interval=2, num_sanity_val_steps=0, callbacks=[callback], **QUIET).fit(Scored())
    names = sorted(path.stem for path in tmp_path.iterdir())
    assert names == ["step=2-score=2", "step=4-score=4", "step=6-score=4", "step=8-score=8"]


def test_a_fitted_module_outlives_its_trainer() -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/18640: reference cycles keep both."""
    torch.optim.SGD(Tiny().parameters()).step()  # PyTorch itself keeps the optimizer of a process's first step.
    model, trainer = Tiny(), Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)
    trainer.fit(model)
    module = weakref.ref(model)
    gc.disable()
    try:
        del model, trainer
        assert module() is not None
    finally:
        gc.enable()


def test_a_value_logged_on_each_step_is_logged_on_every_fiftieth(tmp_path: Path) -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/4488, 8098 and 11605, all closed as intended."""

    class Logging(Tiny):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(torch.zeros(110, 1))  # type: ignore[arg-type]

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            loss: torch.Tensor = self.layer(batch).sum()
            self.log("loss", loss, on_step=True)
            return loss

    logger = CSVLogger(tmp_path, name="", version="")
    Trainer(max_epochs=1, enable_checkpointing=False, **{**QUIET, "logger": logger}).fit(Logging())
    rows = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split(",")[-1] for row in rows] == ["49", "99"]
