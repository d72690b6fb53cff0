"""What every loop trains: net, optimizer, schedule and batches, with the device and the precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from woof_lightning.data.cache import opened
from woof_lightning.data.config import DataConfig
from woof_lightning.data.decoded import DecodedImages
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.loading import Batch, limited, train_loader, val_loader
from woof_lightning.data.transforms import normalise
from woof_lightning.errors import raise_together
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.head import freeze_backbone, parameter_groups
from woof_lightning.recipe.loss import Loss, build_loss
from woof_lightning.recipe.model import build_net
from woof_lightning.recipe.optim import Schedule, build_optimizer, build_schedule
from woof_lightning.recipe.processes import are_several, rank, world_size
from woof_lightning.recipe.shares import Shares
from woof_lightning.recipe.weights import Start

PRECISIONS = ("32-true", "bf16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda")


@dataclass(frozen=True)
class TrainerConfig:
    """The settings of Lightning's Trainer that every loop supports.

    Args:
        max_epochs: Number of epochs to train.
        precision: 32-true, or bf16-mixed (autocast).
        accelerator: auto (a GPU if there is one), cpu, gpu or cuda.
        devices: Number of devices, each of which gets a process; auto is one. fabric and accelerate take several.
        limit_train_batches: Batches per epoch: a number, or a fraction such as 0.5. null takes all.
        limit_val_batches: Batches per validation: a number, or a fraction such as 0.5. null takes all.
        log_every_n_steps: Number of steps between reports of training metrics.

    Raises:
        UserError: If a setting cannot be used. The error lists all such settings.
    """

    max_epochs: int = 40
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int | str = "auto"
    limit_train_batches: int | float | None = None
    limit_val_batches: int | float | None = None
    log_every_n_steps: int = 10

    def __post_init__(self) -> None:
        raise_together(trainer_problems(self))

    @property
    def device_count(self) -> int:
        """Number of devices."""
        return 1 if self.devices == "auto" else int(self.devices)

    @property
    def on_gpu(self) -> bool:
        """Whether to train on GPUs."""
        return torch.cuda.is_available() and self.accelerator != "cpu"


def trainer_problems(config: TrainerConfig) -> list[str]:
    """Returns one sentence for each setting that cannot be used."""
    problems = []
    if config.max_epochs < 1:
        problems.append(f"trainer.max_epochs is {config.max_epochs}: expected at least 1")
    if config.precision not in PRECISIONS:
        problems.append(f"trainer.precision is {config.precision!r}: expected one of {', '.join(PRECISIONS)}")
    if config.accelerator not in ACCELERATORS:
        problems.append(f"trainer.accelerator is {config.accelerator!r}: expected one of {', '.join(ACCELERATORS)}")
    if config.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        problems.append(
            f"trainer.accelerator is {config.accelerator!r}, but this machine has none that torch can use: expected "
            "auto or cpu (leave --config gpu out)"
        )
    problems += devices_problems(config)
    for name, limit in (("train", config.limit_train_batches), ("val", config.limit_val_batches)):
        if limit is not None and not limit > 0:
            problems.append(f"trainer.limit_{name}_batches is {limit}: expected null, a number or a fraction above 0")
    if config.log_every_n_steps < 1:
        problems.append(f"trainer.log_every_n_steps is {config.log_every_n_steps}: expected at least 1")
    return problems


def devices_problems(config: TrainerConfig) -> list[str]:
    """Returns what is wrong with the number of devices, as a sentence; none if it can be used."""
    text = str(config.devices)
    if text != "auto" and not (text.isdecimal() and int(text) >= 1):
        return [f"trainer.devices is {config.devices!r}: expected auto or a number of devices, at least 1"]
    gpus = torch.cuda.device_count()
    if gpus and config.accelerator != "cpu" and text != "auto" and int(text) > gpus:
        return [
            f"trainer.devices is {text}, but torch can use {gpus} GPUs of this machine: expected at most {gpus}, or "
            "trainer.accelerator cpu"
        ]
    return []


@dataclass(frozen=True)
class Experiment:
    """An experiment that any loop can train; its images are on the disk.

    Args:
        model: The model's settings, with num_classes resolved.
        data: The data's settings.
        trainer: The trainer's settings.
        seed: The seed of weights, order and augmentation.
        index: The images.
        start: What the net starts from.
    """

    model: ModelConfig
    data: DataConfig
    trainer: TrainerConfig
    seed: int
    index: ImageIndex
    start: Start = field(default_factory=Start)

    @property
    def device(self) -> torch.device:
        """The device to train on."""
        return torch.device("cuda" if self.trainer.on_gpu else "cpu")

    @property
    def total_steps(self) -> int:
        """Number of optimizer steps of the whole training."""
        return self.trainer.max_epochs * self.train_batches

    @property
    def train_batches(self) -> int:
        """Number of batches of a training epoch."""
        batches = -(-len(self.index.train) // self.data.batch_size)
        return limited(batches, "limit_train_batches", self.trainer.limit_train_batches)

    @property
    def val_batches(self) -> int:
        """Number of batches of a validation."""
        batches = -(-len(self.index.val) // self.data.eval_batch_size)
        return limited(batches, "limit_val_batches", self.trainer.limit_val_batches)

    @cached_property
    def report_every_n_steps(self) -> int:
        """Number of steps between reports; an epoch with fewer steps reports at its end."""
        return min(self.trainer.log_every_n_steps, self.train_batches)

    @cached_property
    def shares(self) -> Shares | None:
        """This device's share of each training batch; None if there is no other device."""
        if not are_several():
            return None
        return Shares(rank(), world_size(), self.data.batch_size, len(self.index.train))

    def weighted(self, loss: Tensor, step: int) -> Tensor:
        """Returns the loss to compute gradients of: of several devices, each one's counts by its images.

        Args:
            loss: The mean loss of this device's share of a batch. It is returned as it is if there is no other device.
            step: Number of optimizer steps done.
        """
        return loss if self.shares is None else loss * self.shares.weight(step % self.train_batches)

    def check_limits(self) -> None:
        """Raises a UserError if a limit leaves no batch for training or for validation."""
        self.train_batches, self.val_batches  # noqa: B018

    def net(self) -> nn.Module:
        """Returns the net. Its initial weights depend on the seed and on what it starts from alone."""
        assert self.model.num_classes is not None, "resolved from the data"
        net = build_net(
            self.model.arch,
            self.model.num_classes,
            seed=self.seed,
            channels_last=self.model.channels_last,
            compile=self.model.compile,
        )
        self.start.load_into(net)
        return net

    def build(self) -> tuple[nn.Module, Optimizer, Schedule]:
        """Returns the net on its device, its optimizer, and its schedule with the interval at which it steps."""
        net = self.net().to(self.device)
        optimizer = build_optimizer(parameter_groups(net, self.model), self.model)
        return net, optimizer, build_schedule(optimizer, self.model, self.total_steps)

    @cached_property
    def decoded(self) -> DecodedImages | None:
        """The decoded images of the data set; None if they were not kept."""
        return opened(self.index, self.data)

    def loaders(self) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
        """Returns loaders of training and validation batches: (images [B, 3, S, S], uint8; labels [B], int64).

        Of several devices, each gets its share of every batch. Call `sampler_of(loader).set_epoch(epoch)` before each
        training epoch.
        """
        own, count = rank(), world_size()
        return (
            train_loader(
                self.index,
                self.data,
                seed=self.seed,
                decoded=self.decoded,
                device=self.device,
                batches=self.train_batches,
                rank=own,
                world_size=count,
            ),
            val_loader(
                self.index,
                self.data,
                decoded=self.decoded,
                batches=self.val_batches,
                rank=own,
                world_size=count,
            ),
        )

    @cached_property
    def loss(self) -> Loss:
        """The training loss: maps logits ([B, C]) and labels ([B], int64) to a mean in nats."""
        return build_loss(self.model, self.index.train.labels, self.device)

    def normalise(self, images: Tensor) -> Tensor:
        """Returns a batch ([B, 3, H, W], uint8) as the net takes it (float32), in its memory format."""
        return normalise(images, self.model.channels_last, self.start.normalisation)

    def freeze(self, net: nn.Module, epoch: int) -> None:
        """Freezes the backbone in the first model.freeze_epochs epochs, counted from 0. Call it after `net.train()`."""
        freeze_backbone(net, self.model, epoch)

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns the context for forward pass and loss: bf16 autocast, or nothing if the precision is 32-true."""
        if self.trainer.precision == "32-true":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)
