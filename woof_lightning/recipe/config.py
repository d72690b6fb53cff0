"""The settings of an experiment: one dataclass for the model, one for the data.

The Lightning way and every other loop build their command line from these classes, so a key, its
default and its check are written once.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from woof_lightning.errors import raise_together

VARIANTS = ("full", "320px", "160px", "synthetic")
NOISE_LEVELS_PERCENT = (0, 1, 5, 25, 50)
SCHEDULES = ("step", "onecycle")


@dataclass(frozen=True)
class ModelConfig:
    """The net, its optimizer and its learning-rate schedule.

    Args:
        arch: Name of a torchvision classifier, such as resnet18.
        num_classes: Outputs of the head. null takes the data's number of classes; 1000 is
            torchvision's untouched head.
        optimizer: sgd, adamw, the class path of another torch optimizer, or a mapping with
            class_path and init_args.
        schedule: step (learning rate times 0.1 every 30 epochs, stepped per epoch) or onecycle
            (stepped per batch over the whole training).
        lr: Learning rate; the peak of onecycle.
        momentum: Momentum of optimizers that take one. onecycle cycles it between 0.85 and 0.95.
        weight_decay: Weight decay, on all parameters.
        channels_last: Keep weights and images in the channels_last memory format. Faster on most
            CPUs and on tensor cores.
        compile: Compile the net with torch.compile.
    """

    arch: str = "resnet18"
    num_classes: int | None = None
    optimizer: str | dict[str, Any] = "adamw"
    schedule: str = "onecycle"
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        raise_together(model_problems(self))


@dataclass(frozen=True)
class DataConfig:
    """The images and how they are loaded.

    Args:
        root: Folder in which data sets lie.
        variant: full, 320px, 160px (the official archives) or synthetic (drawn on the spot, needs
            no network). Each is a folder in root.
        folder: A folder with train/<class>/ and val/<class>/, used instead of root and variant.
        archive: A local archive to unpack into root when the variant is not there.
        download: Fetch the official archive when the variant is not there.
        image_size: Side of the square images that the net sees, in px.
        batch_size: Images per training step, over all devices together.
        eval_batch_size: Images per validation batch, per device.
        num_workers: Processes that load images; 0 loads in the training process, null takes the
            number of cores. Results do not depend on it.
        noisy_labels: Percentage of training labels replaced by wrong ones: 0, 1, 5, 25 or 50.
        pin_memory: Load into page-locked memory, for faster copies to a CUDA device.
    """

    root: Path = Path("data")
    variant: str = "320px"
    folder: Path | None = None
    archive: Path | None = None
    download: bool = True
    image_size: int = 224
    batch_size: int = 128
    eval_batch_size: int = 16
    num_workers: int | None = None
    noisy_labels: int = 0
    pin_memory: bool = False

    def __post_init__(self) -> None:
        raise_together(data_problems(self))

    @property
    def worker_count(self) -> int:
        """The number of loading processes, with null resolved to the number of usable cores."""
        return usable_cores() if self.num_workers is None else self.num_workers

    def as_plain(self) -> dict[str, Any]:
        """The settings as plain values, paths as text."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


def usable_cores() -> int:
    """The number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def model_problems(config: ModelConfig) -> list[str]:
    """What in these settings cannot be used, one sentence each."""
    problems = []
    if config.num_classes is not None and config.num_classes < 2:
        problems.append(
            f"model.num_classes is {config.num_classes}: expected null (the data's number of classes) or at least 2"
        )
    if config.schedule not in SCHEDULES:
        problems.append(f"model.schedule is {config.schedule!r}: expected one of {', '.join(SCHEDULES)}")
    # `not x > 0` is also true of NaN.
    if not config.lr > 0:
        problems.append(f"model.lr is {config.lr}: expected a learning rate above 0")
    if not 0 <= config.momentum < 1:
        problems.append(f"model.momentum is {config.momentum}: expected at least 0 and below 1")
    if not config.weight_decay >= 0:
        problems.append(f"model.weight_decay is {config.weight_decay}: expected 0 or more")
    return problems


def data_problems(config: DataConfig) -> list[str]:
    """What in these settings cannot be used, one sentence each."""
    problems = []
    if config.variant not in VARIANTS:
        problems.append(f"data.variant is {config.variant!r}: expected one of {', '.join(VARIANTS)}")
    for key, value in (
        ("image_size", config.image_size),
        ("batch_size", config.batch_size),
        ("eval_batch_size", config.eval_batch_size),
    ):
        if value <= 0:
            problems.append(f"data.{key} is {value}: expected at least 1")
    if config.num_workers is not None and config.num_workers < 0:
        problems.append(f"data.num_workers is {config.num_workers}: expected 0 or more, or null for one per core")
    if config.noisy_labels not in NOISE_LEVELS_PERCENT:
        levels = ", ".join(map(str, NOISE_LEVELS_PERCENT))
        problems.append(f"data.noisy_labels is {config.noisy_labels}: expected a percentage that exists: {levels}")
    return problems
