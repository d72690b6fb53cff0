"""The design of the blog post (README.md, "The post"): an IO object and a trainer class on pytorch-nn-tools.

TensorBoard tags and the files epoch_NNNNN.* are the post's. The design leaks: in some places it does something that
its user would not expect. Comments that begin with "Leak:" mark these places. All of them concern resumed runs only.
"""

from __future__ import annotations

if __name__ == "__main__":
    raise SystemExit("this file is not a script; run it with: woof loop hand_rolled")

import sys
from collections.abc import Iterable
from typing import Any, cast

import torch
from fastprogress.fastprogress import master_bar, progress_bar
from pytorch_nn_tools.convert import map_dict
from pytorch_nn_tools.train.checkpoint import CheckpointSaver
from pytorch_nn_tools.train.metrics.history_condition import HistoryCondition
from pytorch_nn_tools.train.metrics.processor import (
    Marker,
    MetricAggregator,
    MetricLogger,
    mod_name_train,
    mod_name_val,
)
from pytorch_nn_tools.train.progress import ProgressTracker
from torch import Tensor, nn
from torch.optim import Optimizer

from woof_lightning.errors import UserError
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.run import LoopRun
from woof_lightning.recipe.metrics import SplitMeans, per_image, training_report
from woof_lightning.recipe.optim import Schedule, optimizer_report


def train(experiment: Experiment, run: LoopRun) -> None:
    """Trains an experiment and validates it after each epoch.

    Args:
        experiment: What to train.
        run: Where the results go, and where a resumed run starts.

    Raises:
        UserError: If the weights should be averaged.
    """
    if experiment.model.ema_decay is not None:
        raise UserError(
            f"model.ema_decay is {experiment.model.ema_decay}: expected null, since the post's checkpoints hold no "
            "average; use another loop"
        )
    net, optimizer, schedule = experiment.build()
    best_so_far = HistoryCondition("avg.val.acc1", lambda history: len(history) == 1 or history[-1] > max(history[:-1]))
    Trainer(experiment, run, TrainerIO(run, best_so_far)).fit(net, optimizer, schedule)


class TrainerIO:
    """Reads and writes for the trainer: makes its metric logger, loads the last checkpoint, saves on a condition.

    Args:
        run: The run's folder and files.
        condition: Decides from the metrics of an epoch whether to save it.
    """

    def __init__(self, run: LoopRun, condition: HistoryCondition) -> None:
        self.run = run
        self.condition = condition
        self.saver = CheckpointSaver(run.folder.checkpoints)

    def metric_logger(self) -> MetricLogger:
        """Returns a logger that writes TensorBoard events into the run's folder."""
        return MetricLogger(self.run.folder.path)

    def load_last(self, end_epoch: int, net: nn.Module, optimizer: Optimizer, schedule: Schedule) -> int:
        """Loads the last saved checkpoint, if there is one, and returns the epoch to start with."""
        # Leak: this is the last epoch that improved. The epochs after it are trained again.
        last = self.saver.find_last(0, end_epoch)
        if last is None:
            return 0
        self.saver.load(net, optimizer, schedule.scheduler, last)
        return int(last) + 1

    def save_checkpoint(
        self, metrics: dict[str, float], net: nn.Module, optimizer: Optimizer, schedule: Schedule, epoch: int
    ) -> None:
        """Saves the epoch if its metrics fulfil the condition."""
        # Leak: the condition's history is not saved. The first epoch of a resumed run always counts as the best.
        if self.condition(metrics):
            self.saver.save(net, optimizer, schedule.scheduler, epoch)


class Bars:
    """A bar over the epochs and one over the batches; none if stdout is not a terminal."""

    def __init__(self) -> None:
        # fastprogress draws bars into files too: it tests `stdout.isatty` without calling it.
        self.shown = sys.stdout.isatty()
        self.main: Any = None

    def epochs(self, epochs: range) -> Iterable[int]:
        """Returns the epochs, with a bar."""
        self.main = master_bar(epochs) if self.shown else epochs
        return cast(Iterable[int], self.main)

    def batches(self, loader: Any) -> Any:
        """Returns the batches of an epoch, with a bar."""
        return progress_bar(loader, parent=self.main) if self.shown else loader


class Trainer:
    """The training logic; reading and writing are left to `io`.

    Args:
        experiment: What to train.
        run: Where the results go.
        io: Reads and writes checkpoints and metrics.
    """

    def __init__(self, experiment: Experiment, run: LoopRun, io: TrainerIO) -> None:
        self.experiment = experiment
        self.run = run
        self.io = io
        self.device = experiment.device
        self.bars = Bars()

    def fit(self, net: nn.Module, optimizer: Optimizer, schedule: Schedule) -> None:
        """Trains up to the last epoch. Resumes from the last checkpoint if there is one."""
        train_loader, val_loader = self.experiment.loaders()
        end_epoch = self.experiment.trainer.max_epochs
        start_epoch = self.io.load_last(end_epoch, net, optimizer, schedule)
        first_step = self.run.resume_at(start_epoch)
        metric_logger = self.io.metric_logger()
        progress = ProgressTracker()  # Leak: a resumed run counts its steps from 0 again.

        for epoch in self.bars.epochs(range(start_epoch, end_epoch)):
            self.run.epoch_started()
            aggregator = MetricAggregator()
            train_loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            self.train_epoch(
                epoch, first_step, train_loader, progress, net, optimizer, schedule,
                mod_name_train + aggregator + metric_logger,
            )  # fmt: skip
            self.run.validation_started()
            means = self.validate_epoch(val_loader, net, mod_name_val + aggregator + metric_logger)

            averages = map_dict(aggregator.aggregate(), key_fn=lambda name: f"avg.{name}")
            metric_logger({**averages, **numbered_rates(optimizer), Marker.EPOCH: epoch})
            # Leak: saved before an epoch-stepped schedule steps. A resumed schedule is therefore an epoch late.
            self.io.save_checkpoint(averages, net, optimizer, schedule, epoch)
            if schedule.interval == "epoch":
                schedule.scheduler.step()
            step = first_step + progress.cnt_total_iter
            self.run.epoch_ended(epoch, step, means, net, optimizer, schedule)
        metric_logger.close()

    def train_epoch(
        self, epoch: int, first_step: int, loader: Any, progress: ProgressTracker, net: nn.Module,
        optimizer: Optimizer, schedule: Schedule, metrics: Any,
    ) -> None:  # fmt: skip
        """Trains for one epoch and passes the report of every report_every_n_steps-th step to `metrics`."""
        net.train()
        self.experiment.freeze(net, epoch)
        for images, labels in progress.track(self.bars.batches(loader)):
            images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
            logits, loss = self.forward(net, images, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if progress.cnt_total_iter % self.experiment.report_every_n_steps == 0:
                report = training_report(loss, logits, labels) | optimizer_report(optimizer)
                self.run.report(epoch, first_step + progress.cnt_total_iter, report)
                metrics(
                    {
                        **in_percent({name: report[f"train/{name}"] for name in ("loss", "acc1", "acc5")}),
                        **numbered_rates(optimizer),
                        Marker.ITERATION: progress.cnt_total_iter,
                    }
                )
            if schedule.interval == "step":
                schedule.scheduler.step()

    def validate_epoch(self, loader: Any, net: nn.Module, metrics: Any) -> SplitMeans:
        """Validates and returns the metrics averaged over images and over batches. The post averages over batches."""
        net.eval()
        means = SplitMeans()
        with torch.no_grad():
            for images, labels in self.bars.batches(loader):
                images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
                logits, _ = self.forward(net, images, labels)
                means.update(logits, labels)
                metrics(in_percent({name: float(v.mean()) for name, v in per_image(logits, labels).items()}))
        return means

    def forward(self, net: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits ([B, C]) and mean loss of a batch: images ([B, 3, H, W], uint8) and labels ([B], int64)."""
        with self.experiment.autocast():
            logits: Tensor = net(self.experiment.normalise(images))
            return logits, self.experiment.loss(logits, labels)


def in_percent(metrics: dict[str, float]) -> dict[str, float]:
    """Returns the metrics with accuracies in percent, as the post logs them."""
    return {name: value if name == "loss" else 100 * value for name, value in metrics.items()}


def numbered_rates(optimizer: Optimizer) -> dict[str, float]:
    """Returns the learning rate of each parameter group under the post's names: lr_0, lr_1 and so on."""
    return {f"lr_{number}": group["lr"] for number, group in enumerate(optimizer.param_groups)}
