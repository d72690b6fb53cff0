"""A training as many people write it, for `woof profile training:make`: a small net, metrics and logs at each step."""

from __future__ import annotations

from tempfile import gettempdir
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy


class Classifier(LightningModule):
    """A small net that logs its loss and its accuracy at each step."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()]
        self.net = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
        self.accuracy = MulticlassAccuracy(10)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Returns the loss of a batch: images ([B, 3, H, W], float32) and labels ([B], int64)."""
        images, labels = batch
        logits = self.net(images)
        loss = F.cross_entropy(logits, labels)
        self.accuracy(logits, labels)
        self.log("loss", loss, prog_bar=True)
        self.log("accuracy", self.accuracy, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Returns SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def make() -> tuple[Trainer, Classifier, DataLoader[Any]]:
    """Returns a Trainer, the module, and batches of 64 drawn images of 32 px."""
    drawn = torch.Generator().manual_seed(0)
    images, labels = torch.randn(6400, 3, 32, 32, generator=drawn), torch.randint(0, 10, (6400,), generator=drawn)
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, enable_model_summary=False, logger=False, default_root_dir=gettempdir()
    )
    return trainer, Classifier(), DataLoader(TensorDataset(images, labels), 64)
