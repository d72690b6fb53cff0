"""The settings of the model: the net, its optimizer and its learning-rate schedule.

`woof fit` and all other loops build their model.* keys from this class, so each key, its default and its check are
written once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from woof_lightning.errors import raise_together

SCHEDULES = ("step", "onecycle")
BALANCED = "balanced"
# The backbone's share of the learning rate if it starts from trained weights.
FINE_TUNING_FACTOR = 0.1


@dataclass(frozen=True)
class ModelConfig:
    """The net, its optimizer and its learning-rate schedule.

    Args:
        arch: Name of a torchvision classifier, such as resnet18.
        num_classes: Number of outputs of the head. null takes the data's number of classes; 1000 is torchvision's
            unchanged head.
        optimizer: sgd, adamw, the class path of another torch optimizer, or a mapping with class_path and init_args.
        schedule: step (learning rate times 0.1 every 30 epochs, stepped per epoch) or onecycle (stepped per batch over
            the whole training).
        lr: Learning rate; for onecycle its maximum.
        momentum: Momentum, for optimizers that have one. onecycle cycles it between 0.85 and 0.95.
        weight_decay: Weight decay, on all parameters.
        channels_last: Keep weights and images in the channels_last memory format, which is faster on most CPUs and on
            tensor cores.
        compile: Compile the net with torch.compile.
        weights: Trained weights to start from: the name of torchvision's published ones for this arch (DEFAULT,
            IMAGENET1K_V1, …), a file (.pt, .pth, .safetensors), or a run's folder or checkpoint. A new head replaces
            the loaded one if its number of outputs differs. null starts from random weights.
        freeze_epochs: Number of epochs at the start that train the head alone. It needs weights.
        backbone_lr_factor: Learning rate of the backbone, as a factor of lr, which is the head's. null is 0.1 with
            weights, and 1 without.
        label_smoothing: Share of each training label that is spread evenly over all classes, from 0 to below 1.
        class_weights: Weight of each class in the training loss: balanced (all classes count the same, however many
            images they have), or a list of numbers in the order of the class folders. null weighs images equally.
        ema_decay: Decay of an exponential moving average of the weights, such as 0.99. The averaged weights are
            validated and saved. null does not average.

    Raises:
        UserError: If a setting cannot be used. The error lists all such settings.
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
    weights: str | None = None
    freeze_epochs: int = 0
    backbone_lr_factor: float | None = None
    label_smoothing: float = 0.0
    class_weights: list[float] | str | None = None
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        raise_together(model_problems(self))

    @property
    def backbone_factor(self) -> float:
        """The backbone's learning rate as a factor of the head's, with null resolved."""
        if self.backbone_lr_factor is not None:
            return self.backbone_lr_factor
        return 1.0 if self.weights is None else FINE_TUNING_FACTOR

    @property
    def has_groups(self) -> bool:
        """Whether backbone and head are parameter groups of their own."""
        return self.freeze_epochs > 0 or self.backbone_factor != 1


def model_problems(config: ModelConfig) -> list[str]:
    """Returns one sentence for each setting that cannot be used."""
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
    return problems + fine_tuning_problems(config)


def fine_tuning_problems(config: ModelConfig) -> list[str]:
    """Returns one sentence for each setting of fine-tuning and of the loss that cannot be used."""
    problems = []
    if config.freeze_epochs < 0:
        problems.append(f"model.freeze_epochs is {config.freeze_epochs}: expected 0 or more")
    if config.freeze_epochs > 0 and config.weights is None:
        problems.append(
            f"model.freeze_epochs is {config.freeze_epochs} without model.weights: a random backbone would be frozen; "
            "expected 0, or trained weights"
        )
    if config.backbone_lr_factor is not None and not config.backbone_lr_factor > 0:
        problems.append(
            f"model.backbone_lr_factor is {config.backbone_lr_factor}: expected null or a factor above 0; "
            "model.freeze_epochs freezes the backbone"
        )
    if not 0 <= config.label_smoothing < 1:
        problems.append(f"model.label_smoothing is {config.label_smoothing}: expected at least 0 and below 1")
    if config.ema_decay is not None and not 0 < config.ema_decay < 1:
        problems.append(f"model.ema_decay is {config.ema_decay}: expected null, or above 0 and below 1")
    chosen = config.class_weights
    numbers = [] if chosen is None or isinstance(chosen, str) else chosen
    if (isinstance(chosen, str) and chosen != BALANCED) or chosen == [] or not all(0 < n < math.inf for n in numbers):
        problems.append(
            f"model.class_weights is {chosen!r}: expected null, {BALANCED}, or a list of numbers above 0, one for each "
            "class"
        )
    return problems
