"""Trainings for `woof profile` on a GPU, where there is one.

woof profile docs.results.gpu.profiled:small       # a net whose kernels take less time than the host's work
woof profile docs.results.gpu.profiled:resnet18    # the post's net and batch
"""

from __future__ import annotations

from tempfile import gettempdir
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18 as build_resnet18

from docs.results.profile.training import Classifier

BATCHES = 8


class ResNet18(Classifier):
    """The post's net, with logs and a metric at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.net: nn.Module = build_resnet18(num_classes=10)  # type: ignore[assignment]


def small() -> tuple[Trainer, Classifier, DataLoader[Any]]:
    """Returns a Trainer, a small net, and batches of 64 drawn images of 32 px."""
    return trainer(), Classifier(), batches(64, 32)


def resnet18() -> tuple[Trainer, Classifier, DataLoader[Any]]:
    """Returns a Trainer in bf16, ResNet-18, and the post's batches: 128 drawn images of 224 px. On a CPU small ones."""
    on_gpu = torch.cuda.is_available()
    return trainer("bf16-mixed" if on_gpu else "32-true"), ResNet18(), batches(*((128, 224) if on_gpu else (4, 32)))


def trainer(precision: str = "32-true") -> Trainer:
    """Returns a Trainer on one GPU, or on the CPU."""
    return Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        max_epochs=1,
        enable_model_summary=False,
        logger=False,
        default_root_dir=gettempdir(),
    )


def batches(size: int, side_px: int) -> DataLoader[Any]:
    """Returns batches of drawn images in memory.

    Args:
        size: Images in a batch.
        side_px: Side of the images.
    """
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(BATCHES * size, 3, side_px, side_px, generator=drawn)
    labels = torch.randint(0, 10, (len(images),), generator=drawn)
    return DataLoader(TensorDataset(images, labels), size, pin_memory=torch.cuda.is_available())
