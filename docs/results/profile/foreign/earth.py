"""torchgeo's ClassificationTask with a small net, on drawn images, as its documentation trains it."""

from __future__ import annotations

from tempfile import mkdtemp
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader, Dataset, Subset
from torchgeo.trainers import ClassificationTask


class Images(Dataset[dict[str, torch.Tensor]]):
    """Drawn images of 32 px with their labels."""

    def __init__(self) -> None:
        drawn = torch.Generator().manual_seed(0)
        self.images = torch.randn(3200, 3, 32, 32, generator=drawn)
        self.labels = torch.randint(0, 10, (3200,), generator=drawn)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"image": self.images[index], "label": self.labels[index]}


class Data(LightningDataModule):
    """Batches of 32 images, and few for validation, whose loss the task's schedule reads."""

    def train_dataloader(self) -> Any:
        """Returns all of them."""
        return DataLoader(Images(), 32)

    def val_dataloader(self) -> Any:
        """Returns two batches."""
        return DataLoader(Subset(Images(), range(64)), 32)


def make() -> tuple[Any, Any, Any]:
    """Returns a Trainer, the module, and batches of 32 images."""
    module = ClassificationTask(model="resnet18", weights=None, in_channels=3, num_classes=10)
    trainer = Trainer(accelerator="cpu", max_epochs=1, default_root_dir=mkdtemp())
    return trainer, module, Data()
