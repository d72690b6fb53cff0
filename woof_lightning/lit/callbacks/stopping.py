"""Callbacks that stop a training safely: after a signal, or when its loss becomes NaN. For any Lightning project."""

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
from woof_lightning.recipe.processes import host_group, most_of_all, of_all

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
WAY_OUT = "the last checkpoint is from before that; lower the learning rate (model.lr), or look at the batch"


@without_idle_step_hooks
class StopOnSignal(Callback):
    """After SIGTERM, SIGUSR1 or Ctrl-C, finishes the step, saves a checkpoint and raises StoppedBySignal.

    Lightning alone ends a run after SIGTERM with exit code 0 and without a checkpoint. A second Ctrl-C ends the
    training at once. If SLURM requeues the job, Lightning's own plugin handles SLURM's signals.

    After the last step of an epoch the validation still runs, because a resumed run would skip it. The training
    then ends with the checkpoint that ModelCheckpoint saves at the end of the epoch.

    Args:
        checkpoint: The file to save to.

    Examples:
        >>> import signal
        >>> from pathlib import Path
        >>> from lightning.pytorch import Callback, Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> from woof_lightning import StopOnSignal
        >>> from woof_lightning.errors import StoppedBySignal
        >>> class Terminate(Callback):  # As a scheduler does.
        ...     def on_train_batch_start(self, trainer, *args):
        ...         if trainer.global_step == 2:
        ...             signal.raise_signal(signal.SIGTERM)
        >>> file = Path("stopped.ckpt")
        >>> trainer = Trainer(
        ...     callbacks=[Terminate(), StopOnSignal(file)], max_epochs=1, limit_train_batches=6, limit_val_batches=0,
        ...     logger=False, enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        ... )
        >>> try:
        ...     trainer.fit(BoringModel())
        ... except StoppedBySignal as stopped:
        ...     print(stopped.exit_code, trainer.global_step, file.exists())
        143 3 True
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.received: int | None = None
        self._group: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Installs the signal handlers. Lightning restores those from before the training, however it ends."""
        self.received, self._group = None, host_group()
        for signum in signals_to_handle(trainer):
            try:
                signal.signal(signum, self._note)
            except ValueError:  # This is not the main thread, which alone gets signals.
                return

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves a checkpoint and ends after a signal, unless a validation comes next."""
        self._agree()
        if self.received is not None and can_save(trainer, batch_idx):
            trainer.save_checkpoint(self.checkpoint)
            raise StoppedBySignal(self.received)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends after a signal that came at the end of the previous epoch."""
        self._agree()
        if self.received is not None:
            raise StoppedBySignal(self.received)

    def _agree(self) -> None:
        """Makes a signal to one of several processes one to all, since they save together."""
        if self._group is not None:
            self.received = most_of_all(self.received or 0, group=self._group) or None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self.received is not None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self.received = signum


@without_idle_step_hooks
class SaveEvery(Callback):
    """Saves a checkpoint every n optimizer steps, also within an epoch. Each replaces the previous one.

    A run resumes exactly from within an epoch only if its data loader can continue there, as that of
    ImagewoofDataModule can.

    Args:
        checkpoint: The file to save to.
        every_n_steps: Number of optimizer steps between checkpoints.

    Examples:
        >>> from pathlib import Path
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> from woof_lightning import SaveEvery
        >>> file = Path("within.ckpt")
        >>> trainer = Trainer(
        ...     callbacks=[SaveEvery(file, every_n_steps=2)], max_epochs=1, limit_train_batches=5, limit_val_batches=0,
        ...     logger=False, enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        ... )
        >>> trainer.fit(BoringModel())
        >>> import torch
        >>> torch.load(file, weights_only=True)["global_step"]
        4
    """

    def __init__(self, checkpoint: Path, every_n_steps: int) -> None:
        self.checkpoint = checkpoint
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves a checkpoint if the step is a multiple of every_n_steps."""
        if trainer.global_step % self.every_n_steps == 0 and can_save(trainer, batch_idx):
            trainer.save_checkpoint(self.checkpoint)


@without_idle_step_hooks
class NonFiniteLossGuard(Callback):
    """Ends the training with NonFiniteLossError if a loss is NaN or infinite.

    At each step it only keeps the loss. It checks the kept losses together every n steps, so that it does not wait for
    the device at the steps between. It also checks them before each checkpoint, so that no checkpoint with NaN replaces
    a good one.

    Put it before the callbacks that save checkpoints.

    Args:
        every_n_steps: Number of steps between checks; by default the Trainer's log_every_n_steps.
        describe: Describes a batch by trainer, epoch and batch_idx. Its text is added to the message.

    Examples:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> from woof_lightning import NonFiniteLossGuard
        >>> from woof_lightning.errors import NonFiniteLossError
        >>> class Exploding(BoringModel):
        ...     def training_step(self, batch, batch_idx):
        ...         return super().training_step(batch, batch_idx)["loss"] * (float("nan") if batch_idx == 3 else 1)
        >>> trainer = Trainer(
        ...     callbacks=[NonFiniteLossGuard()], max_epochs=1, limit_train_batches=6, limit_val_batches=0,
        ...     logger=False, enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        ... )
        >>> try:
        ...     trainer.fit(Exploding())
        ... except NonFiniteLossError as error:
        ...     print(str(error).partition(";")[0])
        the training loss is nan at epoch 0, step 4
    """

    def __init__(
        self, every_n_steps: int | None = None, describe: Callable[[Trainer, int, int], str] | None = None
    ) -> None:
        self.every_n_steps = every_n_steps
        self.describe = describe
        # With the place of each batch in its epoch.
        self._losses: list[tuple[int, Tensor]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets the losses of the previous epoch."""
        self._losses = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the loss, and checks the kept losses every n steps."""
        # Without a key where training_step returned None, which skips a batch.
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            self._losses.append((batch_idx, loss))
        if len(self._losses) >= (self.every_n_steps or getattr(trainer, "log_every_n_steps", 0) or 1):
            self.look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the last losses of an epoch."""
        self.look(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Checks losses and weights before a checkpoint is written: bad weights show in the loss a step later."""
        self.look(trainer)
        if not all_finite(pl_module.parameters()):
            raise NonFiniteLossError(
                f"the weights are NaN or infinite at epoch {trainer.current_epoch}, step {trainer.global_step}; "
                f"{WAY_OUT}"
            )

    def look(self, trainer: Trainer) -> None:
        """Checks the kept losses.

        Raises:
            NonFiniteLossError: If one is NaN or infinite.
        """
        if not self._losses:
            return
        batches = [batch_idx for batch_idx, _ in self._losses]
        losses = torch.stack([loss.detach().float().mean() for _, loss in self._losses]).tolist()
        self._losses = []
        bad = next((place for place, loss in enumerate(losses) if not math.isfinite(loss)), None)
        told = None if bad is None else self._about(trainer, batches[bad], losses[bad])
        if trainer.world_size > 1 and most_of_all(told is not None, trainer.strategy.root_device):
            told = next(text for text in of_all(told) if text is not None)  # All end, and say the same.
        if told is not None:
            raise NonFiniteLossError(told)

    def _about(self, trainer: Trainer, batch_idx: int, loss: float) -> str:
        place = "" if self.describe is None else f"\n{self.describe(trainer, trainer.current_epoch, batch_idx)}"
        return (
            f"the training loss is {loss} at epoch {trainer.current_epoch}, "
            f"step {step_of(trainer, batch_idx)}; the learning rate is {lr_of(trainer):.3g} now; {WAY_OUT}{place}"
        )


def signals_to_handle(trainer: Trainer) -> Iterable[int]:
    """Returns the signals that end a training, without those that SLURM uses to requeue it."""
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return [signum for signum in STOP_SIGNALS if signum not in (signal.SIGTERM, environment.requeue_signal)]
    return STOP_SIGNALS


def can_save(trainer: Trainer, batch_idx: int) -> bool:
    """Returns whether a run resumes exactly from a checkpoint that is saved after this batch.

    It does not in the middle of gradient accumulation, because no checkpoint contains gradients. Nor does it if a
    validation comes next, at the end of an epoch or within it (val_check_interval): when Lightning resumes, it takes
    that validation for done (lightning/pytorch/loops/fit_loop.py and training_epoch_loop.py).

    Args:
        trainer: The Trainer, within on_train_batch_end.
        batch_idx: The place of the batch in its epoch, counted from 0.
    """
    batches = batch_idx + 1 if trainer.check_val_every_n_epoch is not None else trainer.fit_loop.total_batch_idx + 1
    validates_next = trainer.is_last_batch or batches % (trainer.val_check_batch or math.inf) == 0
    return not validates_next and (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def step_of(trainer: Trainer, batch_idx: int) -> int:
    """Returns the optimizer step that a batch of the current epoch belongs to, counted from 1 over all epochs.

    Args:
        trainer: The Trainer, after that batch.
        batch_idx: The place of the batch in its epoch, counted from 0.
    """
    every, done = trainer.accumulate_grad_batches, trainer.fit_loop.epoch_loop.batch_progress.current.ready
    # The last step of an epoch may have fewer batches.
    steps = -(-done // every) if trainer.is_last_batch else done // every
    return trainer.global_step - steps + batch_idx // every + 1


def all_finite(parameters: Iterable[Tensor]) -> bool:
    """Returns whether no parameter is NaN or infinite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in parameters)


def lr_of(trainer: Trainer) -> float:
    """Returns the current learning rate of the first parameter group."""
    return float(trainer.optimizers[0].param_groups[0]["lr"])
