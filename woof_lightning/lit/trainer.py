"""The Trainer behind `woof fit`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from woof_lightning.errors import StoppedBySignal, UserError
from woof_lightning.lit.callbacks.checkpoints import MovableModelCheckpoint
from woof_lightning.lit.callbacks.stopping import NonFiniteLossGuard, SaveEvery, StopOnSignal
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.lr_finder import LRFound, lr_find
from woof_lightning.lit.progress import EpochProgress
from woof_lightning.lit.recorder import EventsLogger, MetricsLogger, Recorder, disk_errors_told_once
from woof_lightning.runs.folder import RunFolder

NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"
# What a run of this project wants other than Lightning's own defaults.
TRAINER_DEFAULTS: dict[str, Any] = {
    # The sampler shares the images among devices itself: the order belongs to the recipe.
    "use_distributed_sampler": False,
    # Every image was read before the training; a sanity validation would find nothing more.
    "num_sanity_val_steps": 0,
    # A well-known net; its summary would warn about every precision but fp32.
    "enable_model_summary": False,
    "log_every_n_steps": 10,
    "max_epochs": 40,
}


def run_callbacks(
    run: RunFolder,
    settings: dict[str, Any],
    *,
    progress: bool = True,
    checkpoints: bool = True,
    save_every: int | None = None,
    max_time: str | timedelta | dict[str, int] | None = None,
    stop_on_nan: bool = True,
) -> list[Callback]:
    """What every run of `woof fit` calls back: its record, its progress, its checkpoints, and what ends it early.

    Args:
        run: The run's folder.
        settings: The run's settings, for result.json.
        progress: Whether to show it.
        checkpoints: Whether to write them.
        save_every: Steps between saves within an epoch; none by default.
        max_time: After so long the run ends with its epoch, as trainer.max_time takes it.
        stop_on_nan: Whether a loss that is NaN or infinite ends the run.
    """
    callbacks: list[Callback] = [Recorder(run, settings)]
    callbacks += [EpochProgress()] if progress else []
    # The Trainer's own would end an epoch in its midst and count it as done.
    callbacks += [Timer(max_time, interval="epoch")] if max_time is not None else []
    # Before those that save: a net that is no number must not be saved.
    callbacks += [NonFiniteLossGuard(describe=files_of_batch)] if stop_on_nan else []
    if checkpoints:
        callbacks += [SaveEvery(run.last, save_every)] if save_every else []
        callbacks += [StopOnSignal(run.last), *best_and_last(run)]
    return callbacks


def best_and_last(folder: RunFolder) -> list[Callback]:
    """The callbacks that write best.ckpt (when top-1 strictly improves) and last.ckpt (each epoch).

    Not `save_last`: it writes only when the best is written. The best comes first, so that last
    carries the score of its own epoch.
    """
    common: dict[str, Any] = {
        "dirpath": folder.checkpoints.absolute(),
        "save_top_k": 1,
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    best = MovableModelCheckpoint(filename=folder.best.stem, monitor="val/acc1", mode="max", **common)
    last = MovableModelCheckpoint(filename=folder.last.stem, **common)
    return [best, last]


def files_of_batch(trainer: Trainer, epoch: int, batch_idx: int) -> str:
    """The images of a training batch, for a message."""
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ImagewoofDataModule):
        return ""
    files = data.batch_files(epoch, batch_idx)
    return f"batch {batch_idx} of epoch {epoch}:\n" + "\n".join(f"  {file}" for file in files)


def run_loggers(run: RunFolder, resume_step: int | None = None) -> list[Logger]:
    """TensorBoard events and metrics.csv, going on after a step where the run is resumed."""
    return [EventsLogger(run, resume_step), MetricsLogger(run)]


def imitated_precision(trainer: Trainer) -> str | None:
    """A hint for a run in bf16 on a processor that has none; None otherwise, and where an older torch cannot tell."""
    if trainer.strategy.root_device.type != "cpu" or not str(trainer.precision).startswith("bf16"):
        return None
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    known = [there for name, there in capabilities.items() if "bf16" in name]
    if any(known) or not known:
        return None
    return "this processor has no bf16 and imitates it: --trainer.precision 32-true may be several times faster"


def check_accelerator(choice: Any, option: str) -> None:
    """Raises a UserError when this machine has no such accelerator.

    Args:
        choice: Its name, or an object of Lightning's, which is not looked at.
        option: The option that it was given with.
    """
    if isinstance(choice, str) and choice not in usable_accelerators():
        raise UserError(
            f"{option} is {choice!r}, but this machine has none that torch can use: expected one of "
            f"{', '.join(usable_accelerators())}{' (leave configs/gpu.yaml out)' if choice == 'gpu' else ''}"
        )


def usable_accelerators() -> list[str]:
    """The accelerators of this machine, by the names that trainer.accelerator takes."""
    registry = AcceleratorRegistry
    found = [name for name in registry.available_accelerators() if registry[name]["accelerator"].is_available()]
    return ["auto", *found, *(["gpu"] if {"cuda", "mps"} & set(found) else [])]


@contextmanager
def no_search_for_a_driver() -> Iterator[None]:
    """Inside, PyTorch remembers that this machine has no CUDA device.

    Importing Lightning makes torch.cuda.is_available() ask NVIDIA's library anew each time
    (https://github.com/Lightning-AI/pytorch-lightning/pull/15110). AdamW asks at every step, so that a machine
    without a driver searches its disk for that library at every step. Nothing changes where there is a device.
    """
    setting = os.environ.get(NVML_CHECK)
    if setting is None or torch.cuda.device_count() > 0:
        yield
        return
    del os.environ[NVML_CHECK]
    try:
        yield
    finally:
        os.environ[NVML_CHECK] = setting


class WoofTrainer(Trainer):
    """Lightning's Trainer, which can be told beforehand where to resume.

    LightningCLI offers `ckpt_path` as an option of `fit`, but then takes the model's settings from
    that checkpoint and drops those of the command line without a word.
    """

    resume_from: Path | None = None
    lr_found: LRFound | None = None

    def fit(  # type: ignore[override]
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: Path | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Trains the recipe's net, validating after each epoch."""
        try:
            with no_search_for_a_driver(), disk_errors_told_once():
                super().fit(
                    model,
                    train_dataloaders,
                    val_dataloaders,
                    datamodule,
                    ckpt_path=ckpt_path or self.resume_from,
                    weights_only=weights_only,
                )
        except SIGTERMException as error:  # Lightning's own handler, where StopOnSignal does not listen.
            raise StoppedBySignal(signal.SIGTERM, saved=False) from error
        except SystemExit as error:
            # Lightning turns Ctrl-C into exit code 1, which cannot be told from a failure.
            if self.interrupted:
                raise KeyboardInterrupt from error
            raise

    def lr_find(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        min_lr: float = 1e-8,
        max_lr: float = 10.0,
        num_training: int = 50,
        early_stop_threshold: float | None = 4.0,
    ) -> None:
        """Sweeps the learning rate over a few training steps and suggests one.

        Args:
            model: The net with its optimizer.
            datamodule: The images.
            min_lr: The first learning rate of the sweep.
            max_lr: The last one.
            num_training: Training steps of the sweep, from min_lr to max_lr exponentially.
            early_stop_threshold: End when the smoothed loss exceeds this many times its lowest; null never ends early.
        """
        self.lr_found = lr_find(
            model,
            datamodule=datamodule,
            trainer=self,
            min_lr=min_lr,
            max_lr=max_lr,
            num_training=num_training,
            early_stop_threshold=early_stop_threshold,
        )
