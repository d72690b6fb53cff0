"""A training as many people write it, for `woof profile training:make`: a small net, metrics and logs at each step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy
from torchvision.models import resnet18


class Classifier(LightningModule):
    """A ResNet-18 that logs its loss and its accuracy at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = resnet18(num_classes=10)
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
    """Returns a Trainer, the module, and batches of 16 drawn images of 32 px."""
    drawn = torch.Generator().manual_seed(0)
    images, labels = torch.randn(1600, 3, 32, 32, generator=drawn), torch.randint(0, 10, (1600,), generator=drawn)
    trainer = Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, logger=False)
    return trainer, Classifier(), DataLoader(TensorDataset(images, labels), 16)
