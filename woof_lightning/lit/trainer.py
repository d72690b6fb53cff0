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
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.spike import TrainingSpikeException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from woof_lightning.errors import StoppedBySignal, UserError
from woof_lightning.lit.callbacks.checkpoints import BestCheckpoint, MovableModelCheckpoint
from woof_lightning.lit.callbacks.stopping import NonFiniteLossGuard, SaveEvery, StopOnSignal
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.devices import check_several
from woof_lightning.lit.lr_finder import LRFound, lr_find
from woof_lightning.lit.progress import EpochProgress
from woof_lightning.lit.recorder import EventsLogger, MetricsLogger, Recorder, disk_errors_reported_once
from woof_lightning.recipe.processes import check_agreed, from_first, problem_among
from woof_lightning.runs.config import PRECISIONS
from woof_lightning.runs.folder import RunFolder

NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"
# The defaults of `woof fit` that differ from Lightning's, with their reasons.
TRAINER_DEFAULTS: dict[str, Any] = {
    # The project's sampler divides the images among devices, because their order belongs to the recipe.
    "use_distributed_sampler": False,
    # Every image is read before the training. A sanity validation would find nothing more.
    "num_sanity_val_steps": 0,
    # The net is well known, and the summary would warn about every precision but fp32.
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
    """Returns the callbacks of `woof fit`: the record, progress, checkpoints, and those that can end a run early.

    Args:
        run: The run's folder.
        settings: The run's settings, for result.json.
        progress: Whether to show progress.
        checkpoints: Whether to write checkpoints.
        save_every: Number of steps between checkpoints within an epoch; by default there are none.
        max_time: Ends the run after the epoch in which this time is over; in the format of trainer.max_time.
        stop_on_nan: Whether a loss that is NaN or infinite ends the run.
    """
    callbacks: list[Callback] = [Recorder(run, settings)]
    callbacks += [EpochProgress()] if progress else []
    # Not Trainer(max_time=...): it would end within an epoch and count that epoch as done.
    callbacks += [timer(max_time)] if max_time is not None else []
    # Before the callbacks that save: weights that are NaN must not be saved.
    callbacks += [NonFiniteLossGuard(describe=files_of_batch)] if stop_on_nan else []
    if checkpoints:
        callbacks += [SaveEvery(run.last, save_every)] if save_every else []
        callbacks += [StopOnSignal(run.last), *best_and_last(run)]
    return callbacks


def timer(max_time: str | timedelta | dict[str, int]) -> Timer:
    """Returns what ends a run after the epoch in which this time is over.

    Args:
        max_time: In the format of trainer.max_time.

    Raises:
        UserError: If that is no time above 0.
    """
    limit = Timer(max_time, interval="epoch")
    if not (limit.time_remaining() or 0) > 0:
        raise UserError(f"trainer.max_time is {max_time}: expected a time above 0, as 00:08:00:00, which is 8 hours")
    return limit


def best_and_last(folder: RunFolder) -> list[Callback]:
    """Returns the callbacks that write best.ckpt (if top-1 strictly improves) and last.ckpt (after each epoch).

    Not `save_last`: it writes only when the best is written. The best comes first, so that last.ckpt contains the score
    of its own epoch.
    """
    common: dict[str, Any] = {
        "dirpath": folder.checkpoints.absolute(),
        "save_top_k": 1,
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    best = BestCheckpoint(filename=folder.best.stem, monitor="val/acc1", mode="max", **common)
    last = MovableModelCheckpoint(filename=folder.last.stem, **common)
    return [best, last]


def files_of_batch(trainer: Trainer, epoch: int, batch_idx: int) -> str:
    """Returns the image files of a training batch as text for a message; empty without an ImagewoofDataModule."""
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ImagewoofDataModule):
        return ""
    files = data.batch_files(epoch, batch_idx)
    return f"batch {batch_idx} of epoch {epoch}:\n" + "\n".join(f"  {file}" for file in files)


def run_loggers(run: RunFolder, resume_step: int | None = None) -> list[Logger]:
    """Returns the loggers of TensorBoard events and metrics.csv.

    Args:
        run: The run's folder.
        resume_step: The last step of a resumed run; None in a new run.
    """
    return [EventsLogger(run, resume_step), MetricsLogger(run)]


def requeued_by_its_script() -> list[ClusterEnvironment]:
    """Returns SLURM's environment under SLURM, without its own answer to signals; nothing elsewhere.

    Lightning's answer saves a second checkpoint outside the run's folder. The run saves itself, as after every signal,
    and the job's script requeues it.
    """
    under_torchrun = TorchElasticEnvironment.detect()
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() and not under_torchrun else []


def imitated_precision(trainer: Trainer) -> str | None:
    """Returns a hint if the run uses bf16 on a processor without it; None otherwise, or if torch cannot say."""
    if trainer.strategy.root_device.type != "cpu" or not str(trainer.precision).startswith("bf16"):
        return None
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    known = [there for name, there in capabilities.items() if "bf16" in name]
    if any(known) or not known:
        return None
    return "this processor has no bf16 and emulates it: --trainer.precision 32-true may be several times faster"


def check_accelerator(choice: Any, option: str) -> None:
    """Raises a UserError if this machine does not have an accelerator.

    Args:
        choice: Its name. An accelerator object is not checked.
        option: The option that it was given with, for the message.
    """
    if isinstance(choice, str) and choice not in usable_accelerators():
        raise UserError(
            f"{option} is {choice!r}, but this machine has none that torch can use: expected one of "
            f"{', '.join(usable_accelerators())}{' (leave --config gpu out)' if choice == 'gpu' else ''}"
        )


def check_precision(trainer: Trainer, choice: Any) -> None:
    """Raises a UserError if the trainer uses another precision than the user chose, as Lightning does on a CPU.

    Args:
        trainer: The Trainer.
        choice: The value of trainer.precision.
    """
    chosen = PRECISIONS.get(str(choice), choice)
    if choice is not None and chosen != trainer.precision:
        raise UserError(
            f"trainer.precision is {choice}, but Lightning uses {trainer.precision} on this device: expected "
            f"{trainer.precision} or 32-true"
        )


def usable_accelerators() -> list[str]:
    """Returns the accelerators of this machine, by the names that trainer.accelerator takes."""
    registry = AcceleratorRegistry
    found = [name for name in registry.available_accelerators() if registry[name]["accelerator"].is_available()]
    return ["auto", *found, *(["gpu"] if {"cuda", "mps"} & set(found) else [])]


@contextmanager
def no_search_for_a_driver() -> Iterator[None]:
    """Lets PyTorch remember during the block that this machine has no CUDA device.

    Importing Lightning makes torch.cuda.is_available() ask NVIDIA's library every time
    (https://github.com/Lightning-AI/pytorch-lightning/pull/15110). AdamW asks at every step, so a machine without a
    driver searches its disk for that library at every step. If there is a CUDA device, nothing changes.
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
    """Lightning's Trainer with `lr_find`, exit codes for signals, and a checkpoint to resume from.

    LightningCLI has an option `ckpt_path` of `fit`. With it, it takes the model's settings from that checkpoint and
    silently drops those of the command line. `resume_from` is used instead.
    """

    resume_from: Path | None = None
    # What all processes of a training must have in common, by name.
    agreed_on: Mapping[str, Any] = {}
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
        """Trains the net and validates it after each epoch."""
        try:
            with no_search_for_a_driver(), disk_errors_reported_once():
                super().fit(
                    model,
                    train_dataloaders,
                    val_dataloaders,
                    datamodule,
                    ckpt_path=ckpt_path or self.resume_from,
                    weights_only=weights_only,
                )
        except TrainingSpikeException as error:
            raise UserError(f"the callback SpikeDetection ended the run: {error}; look at that batch") from error
        except SIGTERMException as error:  # From Lightning's own handler, if StopOnSignal is not active.
            raise StoppedBySignal(signal.SIGTERM, saved=False) from error
        except RuntimeError as error:
            problem = problem_among(self.world_size, error)
            if problem is None:
                raise
            raise problem from error
        except SystemExit as error:
            # Lightning turns Ctrl-C into exit code 1, the same as for a failure.
            if self.interrupted:
                raise KeyboardInterrupt from error
            raise

    def _fit_impl(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: Any = None,
        weights_only: bool | None = None,
    ) -> None:
        # Of several processes the first alone looks into the run's folder, which need not be on a shared disk.
        check_several(self)
        if self.world_size > 1:
            self.strategy.setup_environment()
            check_agreed(self.agreed_on)
            ckpt_path = from_first(ckpt_path)
        super()._fit_impl(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)

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
            max_lr: The last learning rate of the sweep. The rates grow exponentially.
            num_training: Number of training steps of the sweep.
            early_stop_threshold: Ends the sweep when the smoothed loss is more than this many times its minimum. null
                never ends it early.
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
