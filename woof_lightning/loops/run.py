"""What a loop writes into its run's folder: metrics, checkpoints and result.json, laid out as by `woof fit`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from woof_lightning.data.cache import how_loaded
from woof_lightning.errors import UserError
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.ways import WOOF_FIT
from woof_lightning.recipe.averaging import Average
from woof_lightning.recipe.checkpoint import (
    NET_PREFIX,
    RECIPE_KEY,
    TrainedRecipe,
    check_same_images,
    read_checkpoint,
    recipe_of,
)
from woof_lightning.recipe.metrics import SplitMeans, epoch_means
from woof_lightning.recipe.optim import Schedule
from woof_lightning.recipe.processes import from_first, rank
from woof_lightning.recipe.shares import joined
from woof_lightning.runs.folder import RunFolder, writing_durably
from woof_lightning.runs.hparams import write_hparams
from woof_lightning.runs.metrics import MetricsFile, in_a_line
from woof_lightning.runs.record import RunRecord

LOOP_KEY = "loop"


class LoopRun:
    """Writes the files of a run, for loops whose library does not, and reads them to resume it.

    It writes a checkpoint after each epoch, once the schedule has stepped. A resumed run therefore continues exactly
    where the checkpoint was written. Of several processes, the first one alone reads and writes.

    Args:
        folder: The run's folder.
        loop: The loop's name.
        experiment: What the loop trains.
        settings: The run's settings, for result.json.
        resume_from: The checkpoint to resume from; None in a new run.

    Raises:
        UserError: If that checkpoint belongs to another loop or to other images.
    """

    def __init__(
        self,
        folder: RunFolder,
        loop: str,
        experiment: Experiment,
        settings: dict[str, Any],
        resume_from: Path | None = None,
    ) -> None:
        self.folder = folder
        self.loop = loop
        self.experiment = experiment
        self.settings = settings
        self.record = RunRecord()
        self.loggers: list[Callable[[Mapping[str, float], int], None]] = []
        self.metrics = MetricsFile(folder.metrics)
        self.is_first = rank() == 0
        self.resume_from = resume_from
        self.checkpoint = from_first(None if resume_from is None else self._checked(resume_from))
        self._average: Average | None = None
        self._reports: list[Mapping[str, float]] = []
        self._epoch_start_s = self._validation_start_s = 0.0

    @property
    def first_epoch(self) -> int:
        """The epoch to start with: 0, or the one after the checkpoint's."""
        return 0 if self.checkpoint is None else int(self.checkpoint["epoch"]) + 1

    @property
    def first_step(self) -> int:
        """Number of optimizer steps done before the first epoch."""
        return 0 if self.checkpoint is None else int(self.checkpoint["global_step"])

    def restore(self, net: nn.Module, optimizer: Optimizer, schedule: Schedule) -> None:
        """Loads the checkpoint of a resumed run into net, optimizer and schedule; leaves them in a new run.

        If the weights are averaged, this begins with it.
        """
        if (decay := self.experiment.model.ema_decay) is not None:
            self._average = Average(net, optimizer, decay)
        if self.checkpoint is None:
            return
        weights = {name.removeprefix(NET_PREFIX): value for name, value in self.checkpoint["state_dict"].items()}
        net.load_state_dict(weights)
        if self._average is not None:
            self._average.restore(self.checkpoint, NET_PREFIX)
        optimizer.load_state_dict(self.checkpoint["optimizer_states"][0])
        schedule.scheduler.load_state_dict(self.checkpoint["lr_schedulers"][0])
        self.record.load_state_dict(self.checkpoint["record"])
        self._cut_metrics(self.first_step)

    def resume_at(self, epoch: int) -> int:
        """Cuts metrics and record back to the start of an epoch, for a loop with its own checkpoints.

        Returns:
            The number of optimizer steps done before that epoch.
        """
        step = epoch * self.experiment.train_batches
        self._cut_metrics(step)
        for file in (self.folder.last, self.folder.best):
            if epoch > 0 and file.is_file():
                record = read_checkpoint(file)["record"]
                if record["epochs"] >= epoch:
                    self.record.load_state_dict(record)
                    self.record.cut_to(epoch)
                    break
        return step

    def log_to_tensorboard(self) -> None:
        """Writes everything that is logged from now on as TensorBoard events, too."""
        purge = None if self.checkpoint is None else self.first_step + 1
        writer = SummaryWriter(str(self.folder.path), purge_step=purge)

        def log(values: Mapping[str, float], step: int) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        self.loggers.append(log)

    def epoch_started(self) -> None:
        """Starts the clock of an epoch and forgets the reports of the last one."""
        self._reports = []
        self._epoch_start_s = time.perf_counter()

    def report(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Logs the training metrics of a step, such as those of `training_report`.

        Args:
            epoch: The epoch, counted from 0.
            step: Number of optimizer steps done.
            values: The metrics. Of several devices, each gives those of its share of the batch.
        """
        experiment = self.experiment
        if experiment.shares is not None:
            own = {name: value for name, value in values.items() if name.startswith("train/")}
            batch_idx = (step - 1) % experiment.train_batches
            values = {**values, **experiment.shares.report(own, batch_idx, experiment.device)}
        self._reports.append(values)
        self._log(epoch, step, values)

    def validation_started(self) -> None:
        """Notes when the validation begins, so that its time is not counted as training.

        Until the epoch ends, the net has the averaged weights, if they are averaged.
        """
        if self._average is not None:
            self._average.swap()
        self._validation_start_s = time.perf_counter()

    def epoch_ended(
        self, epoch: int, step: int, means: SplitMeans, net: nn.Module, optimizer: Any, schedule: Schedule
    ) -> None:
        """Logs the metrics of an epoch and writes last.ckpt, and best.ckpt if top-1 has strictly improved."""
        means = joined(means)
        now_s = time.perf_counter()
        values = means.over_images()
        self._log(epoch, step, (epoch_means(self._reports) if self._reports else {}) | values)
        self.record.validated(epoch, {**values, "batch_means": means.over_batches()})
        batch_size = self.experiment.data.batch_size
        images = min(self.experiment.train_batches * batch_size, len(self.experiment.index.train))
        training_s = self._validation_start_s - self._epoch_start_s
        self.record.epoch_ended(epoch, now_s - self._epoch_start_s, images, training_s)
        if self.is_first:
            self.metrics.sync()  # A checkpoint must not be newer than the metrics on the disk.
            checkpoint = self._checkpoint(epoch, step, net, optimizer, schedule)
            targets = [self.folder.last] if self.record.best["epoch"] < epoch else [self.folder.best, self.folder.last]
            for target in targets:
                with writing_durably(target) as file:
                    torch.save(checkpoint, file)
            shown = {**(self._reports[-1] if self._reports else {}), **values}
            print(f"epoch {epoch + 1}/{self.experiment.trainer.max_epochs}  {in_a_line(shown)}", flush=True)
        if self._average is not None:
            self._average.swap()

    def description(self) -> dict[str, Any]:
        """Returns what a checkpoint holds besides the state of the training: the recipe and the loop's name."""
        experiment = self.experiment
        recipe = TrainedRecipe.of(
            experiment.model,
            experiment.data,
            experiment.index,
            seed=experiment.seed,
            precision=experiment.trainer.precision,
        )
        return {RECIPE_KEY: recipe.as_dict() | experiment.start.as_recipe(), LOOP_KEY: self.loop}

    def finish(self) -> None:
        """Writes the settings for TensorBoard, and result.json, unless the loop has recorded its epochs elsewhere."""
        self.metrics.flush()
        if self.is_first:
            write_hparams(self.folder.path, {**self.settings, LOOP_KEY: self.loop}, finished=True)
        if not self.record.epochs or not self.is_first:
            return
        self.folder.write_result(
            self.record.result(
                status="finished",
                loop=self.loop,
                seed=self.experiment.seed,
                data=self.experiment.index.described(),
                loading=how_loaded(self.experiment.data, self.experiment.decoded),
                config=self.settings,
                pretrained=self.experiment.start.report,
                threads=torch.get_num_threads(),
            )
        )

    def _cut_metrics(self, step: int) -> None:
        if self.is_first and (lost := self.metrics.cut_after(step)):
            print(f"note: {lost}", flush=True)

    def _log(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        if not self.is_first:
            return
        values = {**values, "epoch": epoch}
        self.metrics.log(values, step)
        for log in self.loggers:
            log(values, step)

    def _checkpoint(self, epoch: int, step: int, net: nn.Module, optimizer: Any, schedule: Schedule) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "global_step": step,
            "state_dict": {f"{NET_PREFIX}{name}": value for name, value in net.state_dict().items()},
            "optimizer_states": [optimizer.state_dict()],
            "lr_schedulers": [schedule.scheduler.state_dict()],
            "record": self.record.state_dict(),
            **({} if self._average is None else self._average.state(NET_PREFIX)),
            **self.description(),
        }

    def _checked(self, file: Path) -> dict[str, Any]:
        """Reads a checkpoint.

        Raises:
            UserError: If another loop wrote it, or it was trained on other images.
        """
        checkpoint = read_checkpoint(file)
        trained_by = checkpoint.get(LOOP_KEY, WOOF_FIT)
        if trained_by != self.loop:
            raise UserError(
                f"{self.folder.path} was trained by {trained_by}, not by {self.loop}: resume it with {trained_by}, "
                "or start another run with --name"
            )
        check_same_images(recipe_of(checkpoint).fingerprint, self.experiment.index, self.folder.path)
        return checkpoint
