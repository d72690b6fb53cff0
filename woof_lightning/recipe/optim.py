"""Optimizers and learning-rate schedules, each with the interval at which it steps."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, StepLR

from woof_lightning.errors import UserError
from woof_lightning.recipe.config import ModelConfig

STEP_EPOCHS = 30
STEP_FACTOR = 0.1
NAMED_OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adamw": AdamW}


@dataclass(frozen=True)
class Schedule:
    """A learning-rate scheduler and when to step it: after each batch or after each epoch."""

    scheduler: LRScheduler
    interval: Literal["step", "epoch"]


def build_optimizer(parameters: Iterable[nn.Parameter], config: ModelConfig) -> Optimizer:
    """The optimizer that the settings name, over all parameters in one group.

    lr, momentum and weight_decay are handed to an optimizer given by its class path where it takes
    an argument of that name; its init_args win.

    Raises:
        UserError: When the class path leads nowhere or the class refuses its arguments.
    """
    optimizer_class, given = resolve_optimizer(config.optimizer)
    accepted = inspect.signature(optimizer_class).parameters
    recipe = {"lr": config.lr, "momentum": config.momentum, "weight_decay": config.weight_decay}
    arguments = {name: value for name, value in recipe.items() if name in accepted} | given
    try:
        return optimizer_class(parameters, **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"model.optimizer is {config.optimizer!r}: {optimizer_class.__name__} refused its arguments: {error}"
        ) from error


def resolve_optimizer(choice: str | dict[str, Any]) -> tuple[type[Optimizer], dict[str, Any]]:
    """The optimizer class and its own arguments.

    Raises:
        UserError: When the choice is neither a known name nor the path of an optimizer class.
    """
    class_path = choice if isinstance(choice, str) else choice.get("class_path", "")
    given = {} if isinstance(choice, str) else choice.get("init_args") or {}
    if class_path in NAMED_OPTIMIZERS:
        return NAMED_OPTIMIZERS[class_path], given
    module_name, _, class_name = str(class_path).rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not (inspect.isclass(found) and issubclass(found, Optimizer)):
        raise UserError(
            f"model.optimizer is {choice!r}: expected sgd, adamw, or the class path of a torch optimizer "
            "such as torch.optim.RMSprop"
        )
    return found, given


def build_schedule(optimizer: Optimizer, config: ModelConfig, total_steps: float) -> Schedule:
    """The schedule that the settings name.

    Args:
        optimizer: The optimizer whose learning rate is scheduled. onecycle also cycles its momentum
            or first beta where it has one.
        config: The settings.
        total_steps: Optimizer steps of the whole training; used by onecycle alone.

    Raises:
        UserError: When onecycle is given no finite number of steps.
    """
    if config.schedule == "step":
        return Schedule(StepLR(optimizer, step_size=STEP_EPOCHS, gamma=STEP_FACTOR), "epoch")
    if not math.isfinite(total_steps) or total_steps < 1:
        raise UserError(
            f"model.schedule is 'onecycle' over {total_steps} steps: expected a finite number of steps; "
            "set trainer.max_epochs or trainer.max_steps, or use model.schedule: step"
        )
    has_momentum = "momentum" in optimizer.defaults or "betas" in optimizer.defaults
    scheduler = OneCycleLR(optimizer, max_lr=config.lr, total_steps=int(total_steps), cycle_momentum=has_momentum)
    return Schedule(scheduler, "step")


def optimizer_report(optimizer: Optimizer) -> dict[str, float]:
    """The learning rates in use, and as `momentum` the first group's momentum or first beta where it has one."""
    group = optimizer.param_groups[0]
    momentum = group.get("momentum", group.get("betas", (None,))[0])
    return learning_rates(optimizer) | ({} if momentum is None else {"momentum": float(momentum)})


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """The learning rate in use as `lr`, or as `lr/<group>` where there are several groups."""
    groups = optimizer.param_groups
    if len(groups) == 1:
        return {"lr": float(groups[0]["lr"])}
    return {f"lr/{group.get('name', number)}": float(group["lr"]) for number, group in enumerate(groups)}
