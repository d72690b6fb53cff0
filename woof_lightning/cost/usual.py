"""The recipe in the style of tutorials: each metric logged per step and per epoch."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from woof_lightning.data.loading import Batch
from woof_lightning.data.transforms import normalise
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.optim import build_optimizer, build_schedule


class UsualClassifier(LightningModule):
    """Logs loss, top-1 and top-5 of each training batch, as the tutorials do.

    Args:
        net: A classifier.
        config: Its optimizer and schedule.
    """

    def __init__(self, net: nn.Module, config: ModelConfig) -> None:
        super().__init__()
        self.net = net
        self.config = config
        classes = config.num_classes
        self.train_acc1 = MulticlassAccuracy(classes, top_k=1, average="micro")
        self.train_acc5 = MulticlassAccuracy(classes, top_k=5, average="micro")
        self.val_acc1 = MulticlassAccuracy(classes, top_k=1, average="micro")
        self.val_acc5 = MulticlassAccuracy(classes, top_k=5, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ([B, 3, H, W], uint8) to logits ([B, C])."""
        logits: Tensor = self.net(normalise(images, self.config.channels_last))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch: images ([B, 3, H, W], uint8) and labels ([B], int64)."""
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        self.train_acc1(logits, labels)
        self.train_acc5(logits, labels)
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/acc1", self.train_acc1, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/acc5", self.train_acc5, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the validation metrics."""
        images, labels = batch
        logits = self(images)
        self.val_acc1(logits, labels)
        self.val_acc5(logits, labels)
        self.log("val/loss", F.cross_entropy(logits, labels), prog_bar=True)
        self.log("val/acc1", self.val_acc1, prog_bar=True)
        self.log("val/acc5", self.val_acc5)

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer and schedule."""
        optimizer = build_optimizer(self.parameters(), self.config)
        schedule = build_schedule(optimizer, self.config, self.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": schedule.scheduler, "interval": schedule.interval}]
