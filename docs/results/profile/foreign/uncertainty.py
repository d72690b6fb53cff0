"""torch-uncertainty's ClassificationRoutine around a small net, on drawn images, as its tutorial trains it."""

from __future__ import annotations

from tempfile import mkdtemp
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch_uncertainty.models.classification import lenet
from torch_uncertainty.routines import ClassificationRoutine


def make() -> tuple[Any, Any, Any]:
    """Returns a Trainer, the module, and batches of 64 images of 28 px."""
    drawn = torch.Generator().manual_seed(0)
    images, labels = torch.randn(6400, 1, 28, 28, generator=drawn), torch.randint(0, 10, (6400,), generator=drawn)
    net = lenet(in_channels=1, num_classes=10)
    module = ClassificationRoutine(
        num_classes=10,
        model=net,
        loss=nn.CrossEntropyLoss(),
        optim_recipe=torch.optim.Adam(net.parameters(), lr=1e-3),
    )
    trainer = Trainer(accelerator="cpu", max_epochs=1, default_root_dir=mkdtemp())
    return trainer, module, DataLoader(TensorDataset(images, labels), 64, shuffle=True)
