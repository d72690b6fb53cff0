"""The recipe as a LightningModule."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import MeanMetric

from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.loading import Batch
from woof_lightning.data.transforms import normalise
from woof_lightning.errors import UserError
from woof_lightning.recipe.checkpoint import RECIPE_KEY, TrainedRecipe, check_same_classes, recipe_of
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.metrics import METRICS, epoch_means, per_image, training_report
from woof_lightning.recipe.model import build_net, check_arch, outputs_for
from woof_lightning.recipe.optim import build_optimizer, build_schedule, optimizer_report, resolve_optimizer

NEVER = sys.maxsize
# The reports so far of an epoch that was cut, for its mean.
REPORTS_KEY = "epoch_reports"


class WoofClassifier(LightningModule):
    """Trains a torchvision classifier.

    Training metrics are computed and logged at every `log_every_n_steps`-th step and cost nothing at
    the others. Validation metrics are means over all images of the split.

    Args:
        seed: Seed of the initial weights.
        recipe: The settings of ModelConfig.

    Raises:
        UserError: When a setting cannot be used.
    """

    def __init__(self, *, seed: int = 0, **recipe: Any) -> None:
        super().__init__()
        self.config = ModelConfig(**recipe)
        check_arch(self.config.arch)
        resolve_optimizer(self.config.optimizer)
        self.seed = seed
        self.save_hyperparameters({**asdict(self.config), "seed": seed}, logger=False)
        self.net: nn.Module | None = None
        self.trained: TrainedRecipe | None = None
        self.report: dict[str, float] = {}
        self.val_means: dict[str, float] = {}
        self.val_batch_means: dict[str, float] = {}
        self._epoch_reports: list[dict[str, float]] = []
        self._report_every = 1
        self._image_means = _means()
        self._batch_means = _means()

    def setup(self, stage: str) -> None:
        """Builds the net: only now is the data's number of classes known."""
        data = getattr(self.trainer, "datamodule", None)
        index: ImageIndex | None = getattr(data, "index", None)
        if self.net is None:
            self._build(self.number_of_classes(index))
        if data is not None and index is not None:
            self._describe(index, data.config)
        self._report_every = int(getattr(self.trainer, "log_every_n_steps", 0)) or NEVER

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ([B, 3, H, W], uint8) to logits ([B, C])."""
        assert self.net is not None, "setup() or a checkpoint builds the net"
        logits: Tensor = self.net(normalise(images, self.config.channels_last))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean cross-entropy of a batch: images ([B, 3, H, W], uint8) and labels ([B], int64)."""
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        step = self.global_step + 1
        if step % self._report_every == 0 and self._steps_with(batch_idx):
            self._log_report(training_report(loss, logits, labels), step)
        return loss

    def on_train_epoch_start(self) -> None:
        """Forgets the reports of the epoch before."""
        self._epoch_reports = []

    def on_train_epoch_end(self) -> None:
        """Logs the mean of the epoch's reports, as the post does."""
        if self._epoch_reports:
            self._log(epoch_means(self._epoch_reports), self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Readies the means; only here, since moving a metric to its device makes it sum in float32 again."""
        # float32 loses digits in sums over thousands of images; Apple's GPUs have no float64.
        on_apple_gpu = self.trainer.strategy.root_device.type == "mps"
        for metric in (*self._image_means.values(), *self._batch_means.values()):
            metric.set_dtype(torch.float32 if on_apple_gpu else torch.float64)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Adds a batch to the validation metrics; returns its logits ([B, C])."""
        images, labels = batch
        logits: Tensor = self(images)
        for name, values in per_image(logits, labels).items():
            self._image_means[name].update(values)
            self._batch_means[name].update(values.mean())
        return logits

    def on_validation_epoch_end(self) -> None:
        """Logs the validation metrics, and shows them to callbacks that monitor one."""
        self.val_means = {f"val/{name}": _taken(metric) for name, metric in self._image_means.items()}
        # The post's figure: the mean over batches, in which a smaller last batch weighs as much as the others.
        self.val_batch_means = {f"val/{name}": _taken(metric) for name, metric in self._batch_means.items()}
        self.log_dict(self.val_means, logger=False)
        if not self.trainer.sanity_checking:
            self._log(self.val_means, self.global_step)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The recipe's optimizer and schedule, with the interval at which the schedule steps."""
        optimizer = build_optimizer(self.parameters(), self.config)
        schedule = build_schedule(optimizer, self.config, self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule.scheduler, "interval": schedule.interval},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what the weights need to be used without data, settings and class names, and the epoch's reports."""
        if self.trained is not None:
            checkpoint[RECIPE_KEY] = self.trained.as_dict()
        checkpoint[REPORTS_KEY] = self._epoch_reports

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Builds the net of a checkpoint, or makes sure that its classes are the data's.

        Raises:
            UserError: When they differ.
        """
        self._epoch_reports = list(checkpoint.get(REPORTS_KEY, []))
        if RECIPE_KEY not in checkpoint:
            return
        saved = recipe_of(checkpoint)
        if self.net is None:
            self._build(saved.model["num_classes"])
            self.trained = saved
        elif self.trained is not None:
            check_same_classes(saved, self.trained.classes)

    def number_of_classes(self, index: ImageIndex | None) -> int:
        """The outputs of the head: as set, or as many as the data has classes.

        Raises:
            UserError: When the data has more, or there is neither a number nor data.
        """
        if index is not None:
            return outputs_for(self.config.num_classes, index)
        if self.config.num_classes is None:
            raise UserError("model.num_classes is null: without an ImagewoofDataModule it must be a number")
        return self.config.num_classes

    def _build(self, num_classes: int) -> None:
        self.config = replace(self.config, num_classes=num_classes)
        self.net = build_net(
            self.config.arch,
            num_classes,
            seed=self.seed,
            channels_last=self.config.channels_last,
            compile=self.config.compile,
        )

    def _describe(self, index: ImageIndex, data: DataConfig) -> None:
        self.trained = TrainedRecipe.of(self.config, data, index, seed=self.seed, precision=str(self.trainer.precision))

    def _steps_with(self, batch_idx: int) -> bool:
        """Whether the optimizer steps after this batch, and not only gathers its gradients."""
        every = self.trainer.accumulate_grad_batches
        return every == 1 or (batch_idx + 1) % every == 0 or self.trainer.is_last_batch

    def _log_report(self, report: dict[str, float], step: int) -> None:
        self._epoch_reports.append(report)
        self.report = report | optimizer_report(self.trainer.optimizers[0])
        self._log(self.report, step)

    def _log(self, values: dict[str, float], step: int) -> None:
        # Not self.log: it works at every step, whether it logs there or not.
        for logger in self.loggers:
            logger.log_metrics({**values, "epoch": self.current_epoch}, step)


def _means() -> dict[str, MeanMetric]:
    """A mean for each metric, held by a module so that it moves to the device."""
    return cast(dict[str, MeanMetric], nn.ModuleDict({name: MeanMetric() for name in METRICS}))


def _taken(metric: MeanMetric) -> float:
    """The value of a metric, which then starts anew."""
    value = float(metric.compute())
    metric.reset()
    return value
