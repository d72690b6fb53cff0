"""Ends a training well: after a signal, and when its loss is no number any more. For any Lightning project."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from woof_lightning.errors import NonFiniteLossError, StoppedBySignal
from woof_lightning.lit.callbacks.hooks import without_idle_step_hooks

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
WAY_OUT = "the last checkpoint is from before; lower model.lr, or look at the batch"


@without_idle_step_hooks
class StopOnSignal(Callback):
    """Finishes the step after SIGTERM, SIGUSR1 or Ctrl-C, saves a checkpoint, and ends with StoppedBySignal.

    Lightning ends a run that got SIGTERM with exit code 0 and without a checkpoint. A second Ctrl-C ends at
    once. Where SLURM requeues the job, its signals are left to Lightning's own plugin. At an epoch's last
    step the validation comes first, since Lightning would never make it up.

    Args:
        checkpoint: The file to save to.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens; only the main thread may."""
        self.received = None
        for signum in signals_to_handle(trainer):
            try:
                self._before[signum] = signal.signal(signum, self._note)
            except ValueError:  # In a thread nobody sends us signals.
                return

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves and ends, unless the epoch's validation comes next."""
        if self.received is not None and can_save(trainer, batch_idx):
            trainer.save_checkpoint(self.checkpoint)
            raise StoppedBySignal(self.received)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends; the checkpoint of the epoch before is there."""
        if self.received is not None:
            raise StoppedBySignal(self.received)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Gives the signals back to whom they belonged."""
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Gives the signals back; Lightning calls no teardown then."""
        self._give_back()

    def _give_back(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self.received is not None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self.received = signum


@without_idle_step_hooks
class SaveEvery(Callback):
    """Saves a checkpoint every so many optimizer steps, also within an epoch, over the one before.

    Args:
        checkpoint: The file to save to.
        every_n_steps: Steps between saves.
    """

    def __init__(self, checkpoint: Path, every_n_steps: int) -> None:
        self.checkpoint = checkpoint
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when the time has come."""
        if trainer.global_step % self.every_n_steps == 0 and can_save(trainer, batch_idx):
            trainer.save_checkpoint(self.checkpoint)


@without_idle_step_hooks
class NonFiniteLossGuard(Callback):
    """Ends the training with NonFiniteLossError when a loss is NaN or infinite.

    Losses are only kept at each step; they are looked at together every so many steps and before any
    checkpoint is written, so that the device is not waited for in between and no such net replaces the
    last good one.

    Args:
        every_n_steps: Steps between looks; by default the Trainer's log_every_n_steps.
        describe: Says where a batch came from, by its epoch and its place in it; a line in the message.
    """

    def __init__(
        self, every_n_steps: int | None = None, describe: Callable[[Trainer, int, int], str] | None = None
    ) -> None:
        self.every_n_steps = every_n_steps
        self.describe = describe
        self._losses: list[Tensor] = []
        self._first_batch = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts anew."""
        self._losses = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the loss, and looks at those kept when their time has come."""
        if not self._losses:
            self._first_batch = batch_idx
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            self._losses.append(loss)
        if len(self._losses) >= (self.every_n_steps or getattr(trainer, "log_every_n_steps", 0) or 1):
            self.look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the last losses of an epoch."""
        self.look(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Looks before a checkpoint is written, at the weights too: a loss tells of them a step late."""
        self.look(trainer)
        if not all_finite(pl_module.parameters()):
            raise NonFiniteLossError(
                f"the weights are NaN or infinite at epoch {trainer.current_epoch}, step {trainer.global_step}; "
                f"{WAY_OUT}"
            )

    def look(self, trainer: Trainer) -> None:
        """Looks at the losses kept.

        Raises:
            NonFiniteLossError: When one is NaN or infinite.
        """
        if not self._losses:
            return
        losses = torch.stack([loss.detach().float().mean() for loss in self._losses]).tolist()
        self._losses = []
        bad = next((place for place, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if bad is None:
            return
        batch_idx = self._first_batch + bad
        step = trainer.global_step - (len(losses) - 1 - bad) // trainer.accumulate_grad_batches
        told = [f"the training loss is {losses[bad]} at epoch {trainer.current_epoch}, step {step}"]
        told += [f"the learning rate is {lr_of(trainer):.3g} now", WAY_OUT]
        place = "" if self.describe is None else f"\n{self.describe(trainer, trainer.current_epoch, batch_idx)}"
        raise NonFiniteLossError("; ".join(told) + place)


def signals_to_handle(trainer: Trainer) -> Iterable[int]:
    """The signals that end a training, less those by which SLURM requeues it."""
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return [signum for signum in STOP_SIGNALS if signum not in (signal.SIGTERM, environment.requeue_signal)]
    return STOP_SIGNALS


def can_save(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a checkpoint after this batch can be resumed exactly.

    Not within a step that gathers the gradients of several batches: no checkpoint holds gradients. Not where a
    validation comes next, at an epoch's end or within it (val_check_interval): Lightning would take it for done
    (fit_loop.py, training_epoch_loop.py).
    """
    batches = batch_idx + 1 if trainer.check_val_every_n_epoch is not None else trainer.fit_loop.total_batch_idx + 1
    validates_next = trainer.is_last_batch or batches % (trainer.val_check_batch or math.inf) == 0
    return not validates_next and (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def all_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in parameters)


def lr_of(trainer: Trainer) -> float:
    """The learning rate in use."""
    return float(trainer.optimizers[0].param_groups[0]["lr"])
