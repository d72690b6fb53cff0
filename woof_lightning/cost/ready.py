"""Experiments without loading: batches in memory, and a net so small that only the cost of the loop remains."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.loading import Batch
from woof_lightning.data.randomness import own_randomness
from woof_lightning.data.samples import Sample, Samples
from woof_lightning.data.sampling import EpochSampler, Key
from woof_lightning.loops.experiment import Experiment, TrainerConfig
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import build_net

CLASSES = 10
# Steps between reports, for no report.
NEVER = sys.maxsize
TINY = "tiny"
CONV = "conv"
# Several batches in turn, because a single one would stay in the processor's cache.
BATCHES_IN_MEMORY = 4


@dataclass(frozen=True)
class Work:
    """The size and settings of the training that a loop does.

    Args:
        arch: tiny, convN (such as conv32), or a torchvision classifier.
        image_size: Side of the images, in px.
        batch_size: Images per batch.
        steps: Number of training steps per epoch.
        log_every_n_steps: Number of steps between reports.
        epochs: Number of epochs.
        val_batches: Number of validation batches per epoch.
        precision: 32-true or bf16-mixed.
        accelerator: cpu or cuda.
    """

    arch: str
    image_size: int
    batch_size: int
    steps: int
    log_every_n_steps: int
    epochs: int = 1
    val_batches: int = 1
    precision: str = "32-true"
    accelerator: str = "cpu"

    def experiment(self) -> ReadyExperiment:
        """Returns the work as an experiment for any loop."""
        channels_last = self.arch != TINY
        samples = images(self.steps * self.batch_size)
        classes = tuple(f"class {number}" for number in range(CLASSES))
        return ReadyExperiment(
            # Its arch is not used: ReadyExperiment.net builds the net.
            model=ModelConfig(num_classes=CLASSES, lr=0.02, channels_last=channels_last),
            data=DataConfig(
                batch_size=self.batch_size, eval_batch_size=self.batch_size, image_size=self.image_size, num_workers=0
            ),
            trainer=TrainerConfig(
                max_epochs=self.epochs,
                precision=self.precision,
                accelerator=self.accelerator,
                limit_val_batches=self.val_batches,
                log_every_n_steps=self.log_every_n_steps,
            ),
            seed=0,
            index=ImageIndex(Path(), classes, classes, samples, images(self.val_batches * self.batch_size)),
            arch=self.arch,
        )


def images(count: int) -> Samples:
    """Returns the index entries of some images that do not exist."""
    return Samples.of(Sample(f"{number}.jpg", number % CLASSES, 1) for number in range(count))


@dataclass(frozen=True)
class ReadyExperiment(Experiment):
    """An experiment whose batches are in memory.

    Args:
        arch: tiny, convN (such as conv32), or a torchvision classifier.
        before_forward: Called with the net before each of its forward passes.
    """

    arch: str = TINY
    before_forward: Callable[..., None] | None = None

    def net(self) -> nn.Module:
        """Returns a TinyNet, a ConvNet or a torchvision classifier."""
        with own_randomness("weights", 0):
            if self.arch == TINY:
                net: nn.Module = TinyNet()
            elif self.arch.startswith(CONV):
                net = conv_net(int(self.arch.removeprefix(CONV))).to(memory_format=torch.channels_last)
            else:
                net = build_net(self.arch, CLASSES, channels_last=self.model.channels_last)
        if self.before_forward is not None:
            net.register_forward_pre_hook(self.before_forward)
        return net

    def loaders(self) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
        """Returns loaders of training and validation batches."""
        return self.loader(self.train_batches), self.loader(self.val_batches)

    def loader(self, batches: int) -> DataLoader[Batch]:
        """Returns a loader of (images [B, 3, S, S], uint8; labels [B], int64).

        Args:
            batches: Number of batches.
        """
        dataset = ReadyBatches(batches, self.data.batch_size, self.data.image_size)
        return DataLoader(dataset, batch_size=None, sampler=EpochSampler(batches, seed=0, shuffle=False))


class ReadyBatches(Dataset[Any]):
    """A few batches of noise, which are repeated.

    Args:
        count: Number of batches per epoch.
        batch_size: Images per batch.
        image_size: Side of the images, in px.
    """

    def __init__(self, count: int, batch_size: int, image_size: int) -> None:
        self.count = count
        with own_randomness("ready batches"):
            self.batches = [
                (
                    torch.randint(0, 256, (batch_size, 3, image_size, image_size), dtype=torch.uint8),
                    torch.randint(0, CLASSES, (batch_size,)),
                )
                for _ in range(BATCHES_IN_MEMORY)
            ]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Key | int) -> Batch:
        # If a loader has no batch size, Accelerate replaces its sampler by one that yields integers.
        place = key if isinstance(key, int) else key[1]
        return self.batches[place % BATCHES_IN_MEMORY]


class TinyNet(nn.Module):
    """A linear layer on the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ([B, 3, H, W], float32) to logits ([B, C])."""
        logits: Tensor = self.head(images.mean(dim=(2, 3)))
        return logits


def conv_net(channels: int) -> nn.Sequential:
    """Returns three convolutions with BatchNorm, each of stride 2, and a linear layer on the mean.

    Args:
        channels: Number of channels of the first convolution. The next ones have twice as many each.
    """
    widths = (3, channels, 2 * channels, 4 * channels)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], CLASSES))
