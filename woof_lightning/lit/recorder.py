"""Writes the files of a run from Lightning: metrics.csv and events with Loggers, result.json with a Callback."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from woof_lightning.data.cache import how_loaded
from woof_lightning.lit.callbacks.hooks import without_idle_step_hooks
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.hparams import write_hparams
from woof_lightning.runs.metrics import MetricsFile
from woof_lightning.runs.record import RunRecord


class MetricsLogger(Logger):
    """Writes metrics.csv. Lightning's CSVLogger would delete the file of a resumed run.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.file = MetricsFile(folder.metrics)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.file.path.parent.name

    @property
    def version(self) -> str:
        """Empty: runs have no versions."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing, because config.yaml contains them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds values to the row of a step."""
        self.file.log(metrics, 0 if step is None else step)

    @rank_zero_only
    def save(self) -> None:
        """Writes the current row and flushes all rows to the disk."""
        self.file.sync()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes the last row."""
        self.file.flush()


@contextmanager
def disk_errors_reported_once() -> Iterator[None]:
    """Keeps Python from printing an OSError of another thread during the block.

    TensorBoard's writer thread raises an OSError, which Python prints. It also passes the error to the thread that
    logs, where it ends the run.
    """
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if not isinstance(failure.exc_value, OSError):
            before(failure)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


class EventsLogger(TensorBoardLogger):
    """Writes TensorBoard events into the run's folder.

    Args:
        folder: The run's folder.
        resume_step: The last step of a resumed run. TensorBoard hides older events after it.
    """

    def __init__(self, folder: RunFolder, resume_step: int | None = None) -> None:
        purge: dict[str, Any] = {} if resume_step is None else {"purge_step": resume_step + 1}
        super().__init__(folder.path.parent, name=folder.path.name, version="", default_hp_metric=False, **purge)

    def save(self) -> None:
        """Flushes the events. Lightning's own method would also write an empty hparams.yaml."""
        self.experiment.flush()


@without_idle_step_hooks
class Recorder(Callback):
    """Records the metrics and the time of each epoch, and writes result.json after the training.

    Args:
        folder: The run's folder.
        config: The run's settings, for result.json.
    """

    def __init__(self, folder: RunFolder, config: dict[str, Any]) -> None:
        self.folder = folder
        self.config = config
        self.record = RunRecord()
        self._epoch_start_s = 0.0
        self._epoch_before_s = 0.0
        self._validation_start_s = 0.0
        self._validation_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock. In a resumed epoch it includes the time before the interruption."""
        self._epoch_start_s = time.perf_counter() - self._epoch_before_s
        self._epoch_before_s = 0.0
        self._validation_s = 0.0  # The sanity check does not count.

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes when a validation begins, so that its time is not counted as training."""
        self._validation_start_s = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Records the metrics and the time of a validation."""
        self._validation_s += time.perf_counter() - self._validation_start_s
        if not trainer.sanity_checking and isinstance(pl_module, WoofClassifier):
            metrics = {**pl_module.val_means, "batch_means": pl_module.val_batch_means}
            self.record.validated(trainer.current_epoch, metrics)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Records the time of the epoch. Lightning calls this before it writes the epoch's checkpoints."""
        now_s = time.perf_counter()
        elapsed_s = now_s - self._epoch_start_s
        # Not num_training_batches: max_steps may end an epoch early.
        images = trainer.fit_loop.epoch_loop.batch_progress.current.completed * _data(trainer).config.batch_size
        images = min(images, len(_index(trainer).train))
        self.record.epoch_ended(trainer.current_epoch, elapsed_s, images, elapsed_s - self._validation_s)
        self._epoch_start_s, self._validation_s = now_s, 0.0

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Flushes the loggers, so that a checkpoint is never newer than the metrics on the disk."""
        if trainer.is_global_zero:  # The folder is the first process's alone.
            self.folder.check_there()
        for logger in trainer.loggers:
            logger.save()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes result.json, and the settings for TensorBoard."""
        if trainer.is_global_zero and isinstance(pl_module, WoofClassifier):
            result = self.record.result(
                status="finished" if _is_complete(trainer) else "stopped early",
                loop="woof_fit",
                seed=pl_module.seed,
                data=_index(trainer).described(),
                loading=how_loaded(_data(trainer).config, _data(trainer).decoded),
                config=self.config,
                threads=torch.get_num_threads(),
                pretrained=pl_module.start.report,
            )
            self.folder.write_result(result)
            if any(isinstance(logger, EventsLogger) for logger in trainer.loggers):
                settings = {**self.config, "loop": result["loop"]}
                write_hparams(self.folder.path, settings, finished=result["status"] == "finished")

    def state_dict(self) -> dict[str, Any]:
        """Returns the record up to now, with the time spent in the current epoch."""
        return {**self.record.state_dict(), "epoch_s": time.perf_counter() - self._epoch_start_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues the record of a checkpoint."""
        state = dict(state_dict)
        self._epoch_before_s = state.pop("epoch_s", 0.0)
        self.record.load_state_dict(state)


def _is_complete(trainer: Trainer) -> bool:
    """Returns whether all epochs or steps were trained. max_time or a callback may end a training early."""
    epochs_done = trainer.max_epochs in (None, -1) or trainer.current_epoch >= trainer.max_epochs
    return bool(epochs_done or 0 < trainer.max_steps <= trainer.global_step)


def _data(trainer: Trainer) -> ImagewoofDataModule:
    data = getattr(trainer, "datamodule", None)
    assert isinstance(data, ImagewoofDataModule)
    return data


def _index(trainer: Trainer) -> Any:
    return _data(trainer).index
