"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, StepLR

from woof_lightning.errors import UserError, raise_together
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.head import BACKBONE, HEAD

STEP_EPOCHS = 30
STEP_FACTOR = 0.1
NAMED_OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adamw": AdamW}


@dataclass(frozen=True)
class Schedule:
    """A learning-rate scheduler and when to step it.

    Args:
        scheduler: The scheduler.
        interval: Whether to step it after each batch ("step") or after each epoch ("epoch").
    """

    scheduler: LRScheduler
    interval: Literal["step", "epoch"]


def build_optimizer(parameters: Iterable[Any], config: ModelConfig) -> Optimizer:
    """Returns the optimizer of the settings.

    The optimizer gets lr, momentum and weight_decay if it has arguments of these names. Its init_args override them.
    The group `backbone` gets its share of the learning rate.

    Args:
        parameters: The parameters to optimise, or their groups, as `parameter_groups` returns them.
        config: The settings of the model.

    Raises:
        UserError: If there is no such optimizer or it does not accept its arguments.
    """
    optimizer_class, given = resolve_optimizer(config.optimizer)
    accepted = inspect.signature(optimizer_class).parameters
    recipe = {"lr": config.lr, "momentum": config.momentum, "weight_decay": config.weight_decay}
    arguments = {name: value for name, value in recipe.items() if name in accepted} | given
    parameters = list(parameters)
    for group in parameters:
        if isinstance(group, dict) and group["name"] == BACKBONE and "lr" in arguments:
            group["lr"] = arguments["lr"] * config.backbone_factor
    try:
        return optimizer_class(parameters, **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"model.optimizer is {config.optimizer!r}: {optimizer_class.__name__} refused its arguments: {error}"
        ) from error


def check_optimizer(config: ModelConfig) -> None:
    """Checks the optimizer before there is a net.

    Args:
        config: The settings of the model.

    Raises:
        UserError: If there is no such optimizer, it does not accept its arguments, or the schedule overrules them.
    """
    one, other = ([nn.Parameter(torch.zeros(2, 2))] for _ in range(2))
    groups = [{"params": one, "name": BACKBONE}, {"params": other, "name": HEAD}]
    build_optimizer(groups if config.has_groups else one, config)
    raise_together(overruled(config))


def overruled(config: ModelConfig) -> list[str]:
    """Returns one sentence for each of the optimizer's settings that the one-cycle schedule replaces."""
    if config.schedule != "onecycle":
        return []
    optimizer_class, given = resolve_optimizer(config.optimizer)
    problems = []
    if "lr" in given:
        problems.append(
            f"model.optimizer.init_args.lr is {given['lr']}, but the one-cycle schedule sets the learning rate: set "
            "model.lr instead"
        )
    own = inspect.signature(optimizer_class).parameters.get("betas")
    first_beta_changed = "betas" in given and own is not None and given["betas"][0] != own.default[0]
    momentum = {
        "model.momentum": config.momentum if config.momentum != ModelConfig.momentum else None,
        "model.optimizer.init_args.momentum": given.get("momentum"),
        "model.optimizer.init_args.betas": given["betas"] if first_beta_changed else None,
    }
    problems += [
        f"{key} is {value}, but the one-cycle schedule moves the momentum (AdamW's first beta) between 0.85 and 0.95: "
        "leave it out, or use model.schedule step"
        for key, value in momentum.items()
        if value is not None
    ]
    return problems


def check_steps_without_closure(config: ModelConfig) -> None:
    """Raises a UserError if the optimizer needs a closure, which only Lightning's loop passes to it."""
    optimizer_class, _ = resolve_optimizer(config.optimizer)
    closure = inspect.signature(optimizer_class.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UserError(
            f"model.optimizer is {config.optimizer!r}: its step needs a closure, which only woof fit passes to it"
        )


def resolve_optimizer(choice: str | dict[str, Any]) -> tuple[type[Optimizer], dict[str, Any]]:
    """Returns the optimizer class and its init_args.

    Args:
        choice: The value of model.optimizer.

    Raises:
        UserError: If the choice is neither a known name nor the path of an optimizer class, or a mapping with other
            keys than class_path and init_args.
    """
    mapping = {"class_path": choice} if isinstance(choice, str) else choice
    class_path, given = mapping.get("class_path", ""), mapping.get("init_args") or {}
    unknown = sorted(map(str, mapping.keys() - {"class_path", "init_args"}))
    if unknown or not isinstance(given, dict):
        raise UserError(
            f"model.optimizer is {choice!r}: expected a mapping with class_path and init_args only"
            + (f"; put {', '.join(unknown)} into init_args" if unknown else "")
        )
    if class_path in NAMED_OPTIMIZERS:
        return NAMED_OPTIMIZERS[class_path], given
    module_name, _, class_name = str(class_path).rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not (inspect.isclass(found) and issubclass(found, Optimizer)) or found is Optimizer:
        raise UserError(
            f"model.optimizer is {choice!r}: expected sgd, adamw, or the class path of a torch optimizer "
            "such as torch.optim.RMSprop"
        )
    return found, given


def build_schedule(optimizer: Optimizer, config: ModelConfig, total_steps: float) -> Schedule:
    """Returns the learning-rate schedule of the settings.

    Args:
        optimizer: The optimizer. onecycle also cycles its momentum or first beta, if it has one.
        config: The settings of the model.
        total_steps: Number of optimizer steps of the whole training; only onecycle uses it.

    Raises:
        UserError: If the schedule is onecycle and the number of steps is not finite.
    """
    if config.schedule == "step":
        return Schedule(StepLR(optimizer, step_size=STEP_EPOCHS, gamma=STEP_FACTOR), "epoch")
    if not math.isfinite(total_steps) or total_steps < 1:
        raise UserError(
            f"model.schedule is 'onecycle' over {total_steps} steps: expected a finite number of steps; "
            "set trainer.max_epochs or trainer.max_steps, or use model.schedule: step"
        )
    has_momentum = "momentum" in optimizer.defaults or "betas" in optimizer.defaults
    groups = optimizer.param_groups
    max_lr = config.lr if len(groups) == 1 else [float(group["lr"]) for group in groups]
    scheduler = OneCycleLR(optimizer, max_lr=max_lr, total_steps=int(total_steps), cycle_momentum=has_momentum)
    return Schedule(scheduler, "step")


def optimizer_report(optimizer: Optimizer) -> dict[str, float]:
    """Returns the current learning rates, and as `momentum` the momentum or first beta, if the optimizer has one."""
    group = optimizer.param_groups[0]
    momentum = group.get("momentum", group.get("betas", (None,))[0])
    return learning_rates(optimizer) | ({} if momentum is None else {"momentum": float(momentum)})


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Returns the current learning rate as `lr`, or as `lr/<group>` for each of several parameter groups."""
    groups = optimizer.param_groups
    if len(groups) == 1:
        return {"lr": float(groups[0]["lr"])}
    return {f"lr/{group.get('name', number)}": float(group["lr"]) for number, group in enumerate(groups)}
