"""The settings of the model: the net, its optimizer and its learning-rate schedule.

`woof fit` and all other loops build their model.* keys from this class, so each key, its default and its check are
written once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from woof_lightning.errors import raise_together

SCHEDULES = ("step", "onecycle")


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

    def __post_init__(self) -> None:
        raise_together(model_problems(self))


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
    return problems
