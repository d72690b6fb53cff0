"""Stopping, saving and reporting at exactly the right step: in every window, in uneven steps, over several epochs."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tests.conftest import Woof
from tests.cuts import cut
from tests.lit.test_stopping import Plain, batches, plain_trainer
from woof_lightning.errors import NonFiniteLossError
from woof_lightning.lit.callbacks.checkpoints import DurableCheckpointIO
from woof_lightning.lit.callbacks.stopping import NonFiniteLossGuard, SaveEvery
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.parity import first_difference
from woof_lightning.recipe.checkpoint import read_checkpoint
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

RUN = RunFolder(Path("runs/adamw_onecycle"))


class Spoilt(Plain):
    """Its loss is NaN in one batch."""

    def __init__(self, epoch: int, batch_idx: int) -> None:
        super().__init__()
        self.bad = (epoch, batch_idx)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * (math.nan if self.bad == (self.current_epoch, batch_idx) else 1)


@pytest.mark.parametrize(
    ("every", "accumulate", "epoch", "batch_idx", "step"),
    [
        (3, 1, 0, 0, 1),
        (3, 1, 0, 3, 4),  # The first of the second window.
        (3, 1, 0, 5, 6),
        (5, 1, 0, 6, 7),  # The epoch's last batch, in a window that is not full.
        (3, 1, 1, 0, 8),
        (3, 1, 2, 4, 19),
        (100, 1, 1, 6, 14),
        (3, 2, 0, 0, 1),  # Two batches a step, seven an epoch: steps of 2, 2, 2 and 1.
        (3, 2, 0, 1, 1),
        (3, 2, 0, 2, 2),  # Found before its step is taken.
        (3, 2, 0, 4, 3),
        (100, 2, 0, 6, 4),
        (4, 2, 1, 3, 6),
        (100, 3, 1, 6, 6),
    ],
)
def test_a_bad_loss_is_named_with_its_step_and_batch(
    every: int, accumulate: int, epoch: int, batch_idx: int, step: int, tmp_path: Path
) -> None:
    guard = NonFiniteLossGuard(every, describe=lambda _, epoch, batch_idx: f"batch {batch_idx} of epoch {epoch}")
    trainer = plain_trainer(tmp_path, guard, max_epochs=3, accumulate_grad_batches=accumulate)
    with pytest.raises(NonFiniteLossError) as found:
        trainer.fit(Spoilt(epoch, batch_idx), batches([1.0] * 7))
    assert re.match(rf"the training loss is nan at epoch {epoch}, step {step};", str(found.value))
    assert str(found.value).endswith(f"\nbatch {batch_idx} of epoch {epoch}")


def test_a_batch_without_a_loss_moves_no_other_one_s_place(tmp_path: Path) -> None:
    class Skipping(Spoilt):
        def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> Any:
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

    guard = NonFiniteLossGuard(100, describe=lambda _, epoch, batch_idx: f"batch {batch_idx}")
    with pytest.raises(NonFiniteLossError, match="batch 3"):
        plain_trainer(tmp_path, guard).fit(Skipping(0, 3), batches([1.0] * 7))


def test_an_epoch_s_losses_are_not_looked_at_in_the_next(tmp_path: Path) -> None:
    looks: list[int] = []

    class Counting(NonFiniteLossGuard):
        def look(self, trainer: Trainer) -> None:
            looks.append(len(self._losses))
            super().look(trainer)

    plain_trainer(tmp_path, Counting(3), max_epochs=2).fit(Plain(), batches([1.0] * 7))
    assert looks == [3, 3, 1] * 2


def test_the_look_before_a_save_names_the_loss_and_not_the_weights(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    trainer = plain_trainer(tmp_path, NonFiniteLossGuard(every_n_steps=100), SaveEvery(file, 2))
    with pytest.raises(NonFiniteLossError, match="the training loss is nan at epoch 0, step 3"):
        trainer.fit(Spoilt(0, 2), batches([1.0] * 6))
    assert torch.load(file, weights_only=True)["global_step"] == 2


class Noted(SaveEvery):
    """Notes epoch, batch and step of each save."""

    def __init__(self, file: Path, every_n_steps: int) -> None:
        super().__init__(file, every_n_steps)
        self.saves: list[tuple[int, int, int]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.checkpoint.unlink(missing_ok=True)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.checkpoint.exists():
            self.saves.append((trainer.current_epoch, batch_idx, trainer.global_step))


@pytest.mark.parametrize(
    ("every", "accumulate", "saves"),
    [
        (1, 1, [(e, b, 7 * e + b + 1) for e in (0, 1) for b in range(6)]),
        (3, 1, [(0, 2, 3), (0, 5, 6), (1, 1, 9), (1, 4, 12)]),
        # Steps of 2, 2, 2 and 1 batches; the last ends the epoch, whose own checkpoint comes.
        (1, 2, [(0, 1, 1), (0, 3, 2), (0, 5, 3), (1, 1, 5), (1, 3, 6), (1, 5, 7)]),
        (2, 2, [(0, 3, 2), (1, 3, 6)]),
        (3, 2, [(0, 5, 3), (1, 3, 6)]),
    ],
)
def test_saves_are_counted_in_steps_over_all_epochs(
    every: int, accumulate: int, saves: list[tuple[int, int, int]], tmp_path: Path
) -> None:
    noted = Noted(tmp_path / "within.ckpt", every)
    trainer = plain_trainer(tmp_path, noted, max_epochs=2, accumulate_grad_batches=accumulate)
    trainer.fit(Plain(), batches([1.0] * 7))
    assert noted.saves == saves


def test_validations_that_are_counted_over_epochs_are_made_room_for(tmp_path: Path) -> None:
    """Every third batch of all, four an epoch: after batches 2 of epoch 0, 1 of epoch 1, 0 and 3 of epoch 2."""

    class Validated(Plain):
        def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
            validated_at.append(self.global_step)

    validated_at: list[int] = []
    noted = Noted(tmp_path / "within.ckpt", 1)
    trainer = plain_trainer(
        tmp_path, noted, max_epochs=3, check_val_every_n_epoch=None, val_check_interval=3, num_sanity_val_steps=0
    )
    trainer.fit(Validated(), batches([1.0] * 4), batches([1.0]))
    assert validated_at == [3, 6, 9, 12]
    assert [step for _, _, step in noted.saves] == [1, 2, 5, 7, 10, 11]


@pytest.mark.parametrize(
    ("batches_an_epoch", "accumulate", "every", "steps"),
    [
        (4, 2, 1, [1, 2, 3, 4]),
        (4, 3, 1, [1, 2, 3, 4]),  # Steps of 3 batches and of 1.
        (5, 2, 3, [3, 6]),
        (5, 2, 2, [2, 3, 4, 6]),  # Steps 3 and 6 end the epochs, and have their numbers.
        (4, 1, 3, [3, 4, 6, 8]),
    ],
)
def test_reports_are_counted_in_steps(
    batches_an_epoch: int, accumulate: int, every: int, steps: list[int], woof: Woof, small_fit: list[str]
) -> None:
    done = woof(
        *("fit", *small_fit, "--trainer.limit_train_batches", batches_an_epoch, "--trainer.log_every_n_steps", every),
        *("--trainer.accumulate_grad_batches", accumulate),
    )
    assert done.code == 0, done.err
    rows = read_metrics(RUN.metrics)
    assert [row["step"] for row in rows] == steps
    assert [row["step"] for row in rows if "train/loss" in row] == [step for step in steps if step % every == 0]
    assert read_checkpoint(RUN.last)["global_step"] == 2 * -(-batches_an_epoch // accumulate)


def test_a_sanity_validation_logs_nothing_and_changes_nothing(woof: Woof, small_fit: list[str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for name, steps in (("with", 2), ("without", 0)):
        done = woof("fit", *small_fit, "--trainer.num_sanity_val_steps", steps, "--name", name)
        assert done.code == 0, done.err
    one, two = (RunFolder(Path("runs") / name) for name in ("with", "without"))
    assert first_difference(two, one) is None
    assert one.metrics.read_text(encoding="utf-8") == two.metrics.read_text(encoding="utf-8")
    values = []
    for run in (one, two):
        events = EventAccumulator(str(run.path))
        events.Reload()
        values.append({tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]})
        final, best = (json.loads(run.result.read_text(encoding="utf-8"))[key] for key in ("final", "best"))
        values[-1] |= {"final": final, "best": best}
    assert values[0] == values[1]


class FirstKeys(Callback):
    """Notes the labels of the first batch of each fit."""

    def __init__(self) -> None:
        self.labels: list[list[int]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.new = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.new:
            self.labels.append(batch[1].tolist())
        self.new = False


def test_the_fit_after_a_resumed_one_starts_at_its_beginning(
    woof: Woof, small_fit: list[str], drawn_root: Path
) -> None:
    with cut(lambda module, _: module.global_step == 5):
        assert woof("fit", *small_fit, "--model.schedule", "step").code == 143
    data = ImagewoofDataModule(root=drawn_root, variant="synthetic", image_size=32, batch_size=32, num_workers=0)
    seen = FirstKeys()
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    options: dict[str, Any] = {"accelerator": "cpu", "limit_train_batches": 4, "limit_val_batches": 0, **off}

    def fit(checkpoint: Path | None) -> None:
        module = WoofClassifier(arch="shufflenet_v2_x0_5", schedule="step", optimizer="adamw", lr=0.005)
        Trainer(max_epochs=2, callbacks=[seen], **options).fit(module, datamodule=data, ckpt_path=checkpoint)

    fit(None)
    fit(RUN.last)
    fit(None)
    first, resumed, after = seen.labels
    assert first == after != resumed


def test_the_best_is_saved_before_the_last(woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed between the two goes on from the older last.ckpt, which knows of no better one yet."""
    written: list[str] = []
    real = DurableCheckpointIO.save_checkpoint

    def noted(self: DurableCheckpointIO, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        written.append(Path(path).name)
        real(self, checkpoint, path, storage_options)

    monkeypatch.setattr(DurableCheckpointIO, "save_checkpoint", noted)
    assert woof("fit", *small_fit, "--trainer.max_epochs", 1).code == 0
    assert written == ["best.ckpt", "last.ckpt"]
