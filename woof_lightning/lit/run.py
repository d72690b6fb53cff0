"""Manages the run folder of `woof fit`: checks, resumes and locks it, and writes config.yaml."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

from woof_lightning.data.notes import tell
from woof_lightning.errors import UserError
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.recorder import MetricsLogger, Recorder
from woof_lightning.lit.trainer import WoofTrainer, imitated_precision, run_loggers
from woof_lightning.recipe.checkpoint import check_same_images, read_checkpoint, recipe_of
from woof_lightning.recipe.loss import class_weights
from woof_lightning.recipe.weights import check_weights
from woof_lightning.runs.alone import number
from woof_lightning.runs.config import check_resumable, deciding
from woof_lightning.runs.folder import RunFolder, write_text_durably
from woof_lightning.runs.metrics import MetricsFile
from woof_lightning.runs.record import versions


class FitRun:
    """A run of `woof fit` in its folder.

    Call `look` before the trainer is built, `take` when model and trainer exist, and then `trainer.fit`.

    Args:
        folder: The run's folder.
        settings: The run's settings, for config.yaml.
        resume: Whether to resume the run in that folder.
        overwrite: Whether to replace the run in that folder.
        held: Keeps the lock on the folder until it is closed.
    """

    def __init__(
        self, folder: RunFolder, settings: dict[str, Any], *, resume: bool, overwrite: bool, held: ExitStack
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.resume = resume
        self.overwrite = overwrite
        self.held = held
        self.resume_from: Path | None = None
        self._resume_step: int | None = None
        self._fingerprint = ""
        self._saved_at_ns = folder.saved_at_ns()

    def look(self) -> None:
        """Checks whether the folder can be used, and finds the checkpoint to resume from.

        Raises:
            UserError: If the folder holds another run, or the settings would change the result of the resumed run.
        """
        if number() != 0:  # The folder is the first process's alone.
            return
        if self.resume and self.folder.config.exists() and self.folder.has_trained():
            check_resumable(self.folder.config, self.settings)
            self._read_resume_point()
        elif not self.overwrite:
            self.folder.check_free()

    def loggers(self, chosen: Logger | list[Logger] | bool | None) -> list[Logger]:
        """Returns the run's loggers: always metrics.csv, and TensorBoard events unless the user chose otherwise.

        Args:
            chosen: The value of trainer.logger. A logger replaces the events, False drops them.
        """
        default = run_loggers(self.folder, self._resume_step)
        if chosen is None or chosen is True:
            return default
        others = [] if chosen is False else as_list(chosen)
        return [*others, *(logger for logger in default if isinstance(logger, MetricsLogger))]

    def take(self, trainer: Trainer, model: WoofClassifier, datamodule: ImagewoofDataModule) -> None:
        """Prepares the data, then locks the folder, clears what a new run replaces, and writes config.yaml.

        Raises:
            UserError: If the data cannot be used, or another process uses the folder.
        """
        if self.resume_from is None and trainer.is_global_zero:
            check_weights(model.config)
        datamodule.prepare_data()
        datamodule.setup("fit")
        assert datamodule.index is not None
        model.check_fits(datamodule.config, datamodule.index, trainer)
        # Some callbacks copy the net before Lightning asks for it. DDP gives all processes the weights of the first.
        model.starts_fresh = self.resume_from is None and trainer.is_global_zero
        model.build(datamodule.index)
        class_weights(model.config, datamodule.index.train.labels)
        if isinstance(trainer, WoofTrainer) and trainer.world_size > 1:
            trainer.agreed_on = {**deciding(self.settings), "images": datamodule.index.fingerprint, **versions()}
        if self.resume_from is not None:
            check_same_images(self._fingerprint, datamodule.index, self.folder.path)
        if trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        tell(datamodule.index)
        self.folder.create()
        self.held.enter_context(self.folder.locked())
        self._check_untouched()
        self.folder.clear_leftovers()
        if self._resume_step is not None:
            lost = MetricsFile(self.folder.metrics).cut_after(self._resume_step)
            print(f"resuming from {self.resume_from}", flush=True)
            if lost:
                print(f"note: {lost}", flush=True)
        else:
            self.folder.clear()
            for line in model.start.lines(datamodule.config.image_size):
                print(line, flush=True)
        write_text_durably(self.folder.config, yaml.safe_dump(self.settings, sort_keys=False))
        if hint := imitated_precision(trainer):
            print(f"note: {hint}", flush=True)

    def summary(self, trainer: Trainer, datamodule: ImagewoofDataModule) -> str | None:
        """Returns text for the terminal: the classes, the accuracies and the folder; None if nothing was recorded."""
        recorder = next((c for c in getattr(trainer, "callbacks", []) if isinstance(c, Recorder)), None)
        if recorder is None or not trainer.is_global_zero or not recorder.record.best:
            return None
        assert datamodule.index is not None
        classes = len(datamodule.index.classes)
        return f"trained on {classes} classes: {recorder.record.summary(self.folder.path)}"

    def _check_untouched(self) -> None:
        """Raises a UserError if another process trained here between `look` and the lock."""
        if self.folder.saved_at_ns() != self._saved_at_ns and not self.overwrite:
            raise UserError(
                f"another process has just trained in {self.folder.path}: look at its run, then run this command again"
            )
        if not self.resume and not self.overwrite:
            self.folder.check_free()

    def _read_resume_point(self) -> None:
        self.resume_from = self.folder.last_good_checkpoint()
        if self.resume_from is not None:
            checkpoint = read_checkpoint(self.resume_from)
            self._resume_step = int(checkpoint["global_step"])
            self._fingerprint = recipe_of(checkpoint).fingerprint


def as_list(value: Any) -> list[Any]:
    """Returns one value, several or None as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
