"""Shows progress: bars on a terminal, otherwise one line per epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from woof_lightning.lit.callbacks.hooks import without_idle_step_hooks
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.runs.metrics import in_a_line


@without_idle_step_hooks
class EpochProgress(ProgressBar):
    """Draws a bar over the epochs and one over the batches of the current epoch; without a terminal a line per epoch.

    It shows the numbers that the module reported last, so it never waits for the device.

    Args:
        refresh_every_n_batches: Number of batches between updates of the batch bar.
        terminal: Whether to draw bars. By default it does if stderr is a terminal.
    """

    def __init__(self, refresh_every_n_batches: int = 10, terminal: bool | None = None) -> None:
        super().__init__()
        self.refresh_every_n_batches = refresh_every_n_batches
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self.enabled = True
        self._epochs: tqdm[Any] | None = None
        self._batches: tqdm[Any] | None = None
        self._start_s = 0.0
        self._first_epoch = 0
        self._validated = False

    def disable(self) -> None:
        """Shows nothing from now on. Lightning calls this in all processes but the first."""
        self.enabled = False

    def enable(self) -> None:
        """Shows progress again."""
        self.enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar over the epochs."""
        self._start_s = time.perf_counter()
        self._first_epoch = trainer.current_epoch
        if self.enabled and self.terminal:
            total = None if trainer.max_epochs in (None, -1) else trainer.max_epochs
            self._epochs = tqdm(desc="epochs", total=total, initial=trainer.current_epoch, position=0, unit="epoch")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar over the epoch's batches."""
        self._validated = False
        if self.enabled and self.terminal:
            self._batches = self._batch_bar(f"epoch {trainer.current_epoch + 1}", trainer.num_training_batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advances the batch bar."""
        if not (self.enabled and self.terminal) or (batch_idx + 1) % self.refresh_every_n_batches:
            return
        if self._batches is None:  # Lightning calls no on_train_epoch_start for a resumed part of an epoch.
            self._batches = self._batch_bar(f"epoch {trainer.current_epoch + 1}", trainer.num_training_batches)
            self._batches.update(batch_idx + 1)
        else:
            if isinstance(pl_module, WoofClassifier):
                self._batches.set_postfix_str(in_a_line(pl_module.report), refresh=False)
            self._batches.update(self.refresh_every_n_batches)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replaces the batch bar by one over the batches of the validation."""
        if self._batches is not None:
            self._batches.close()
            self._batches = self._batch_bar("validation", sum(trainer.num_val_batches))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes that the epoch has validated."""
        self._validated = True

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        """Advances the bar of the validation."""
        if self._batches is not None and (batch_idx + 1) % self.refresh_every_n_batches == 0:
            self._batches.update(self.refresh_every_n_batches)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the metrics of the epoch."""
        if not self.enabled:
            return
        # Lightning keeps the metrics of an earlier epoch's validation.
        shown = {name: float(value) for name, value in trainer.callback_metrics.items() if self._validated}
        report = pl_module.report if isinstance(pl_module, WoofClassifier) else {}
        if self._epochs is None or self._batches is None:
            print(self._line(trainer, report | shown), flush=True)
            return
        self._batches.close()
        self._epochs.set_postfix_str(in_a_line(shown), refresh=False)
        self._epochs.update()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Closes the bars."""
        for bar in (self._batches, self._epochs):
            if bar is not None:
                bar.close()
        self._batches = self._epochs = None

    def _batch_bar(self, title: str, total: float) -> tqdm[Any]:
        return tqdm(desc=title, total=total, position=1, leave=False, unit="batch", mininterval=0.5)

    def _line(self, trainer: Trainer, numbers: Mapping[str, float]) -> str:
        done = trainer.current_epoch + 1
        elapsed_s = time.perf_counter() - self._start_s
        line = f"epoch {done}/{trainer.max_epochs}  {in_a_line(numbers)}  {_clock(elapsed_s)} elapsed"
        if trainer.max_epochs is not None and trainer.max_epochs > done:
            left_s = elapsed_s / (done - self._first_epoch) * (trainer.max_epochs - done)
            line += f", {_clock(left_s)} left"
        return line


def _clock(seconds: float) -> str:
    return tqdm.format_interval(int(seconds))
