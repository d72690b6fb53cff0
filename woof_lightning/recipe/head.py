"""The head of a net, which is the layer whose size is the number of classes. All the rest is the backbone."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from woof_lightning.errors import UserError
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import weightless_net

BACKBONE, HEAD = "backbone", "head"


@lru_cache
def shapes(arch: str, num_classes: int) -> dict[str, torch.Size]:
    """Returns the shape of each tensor of a net by its name, without making the net.

    Args:
        arch: Name of a torchvision classifier.
        num_classes: Number of outputs of the head.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # build_net warns of the same.
        return {name: value.shape for name, value in weightless_net(arch, num_classes).state_dict().items()}


@lru_cache
def head_names(arch: str) -> frozenset[str]:
    """Returns the names of the head's weights: those whose shape depends on the number of classes.

    Args:
        arch: Name of a torchvision classifier.
    """
    two, three = shapes(arch, 2), shapes(arch, 3)
    return frozenset(name for name in two if two[name] != three[name])


def parameter_groups(module: nn.Module, config: ModelConfig, prefix: str = "") -> Iterable[Any]:
    """Returns what an optimizer takes: all parameters, or the groups `backbone` and `head` if the settings need both.

    Both groups are there from the start, also while the backbone is frozen: a one-cycle schedule cannot take a group
    that is added later.

    Args:
        module: The net, or a module that contains it.
        config: The settings of the model.
        prefix: The text before the names of the net's parameters in the module.
    """
    if not config.has_groups:
        return module.parameters()
    head = {f"{prefix}{name}" for name in head_names(config.arch)}
    parts: dict[str, list[nn.Parameter]] = {BACKBONE: [], HEAD: []}
    for name, parameter in module.named_parameters():
        parts[HEAD if name in head else BACKBONE].append(parameter)
    if not parts[HEAD]:
        raise UserError(
            f"model.arch is {config.arch}, but the net has none of its head's weights ({', '.join(sorted(head))}): "
            "expected that net, or model.backbone_lr_factor 1 and model.freeze_epochs 0"
        )
    return [{"params": parameters, "name": name} for name, parameters in parts.items()]


def freeze_backbone(net: nn.Module, config: ModelConfig, epoch: int) -> None:
    """Freezes the backbone in the first epochs and lets it train in all later ones; does nothing if none is frozen.

    A frozen backbone has no gradients, and its BatchNorm neither uses nor changes the statistics of a batch. Call it at
    the start of each epoch, after `net.train()`.

    Args:
        net: The net.
        config: The settings of the model.
        epoch: The epoch, counted from 0.
    """
    if config.freeze_epochs == 0:
        return
    trains, head = epoch >= config.freeze_epochs, head_names(config.arch)
    assert head <= dict(net.named_parameters()).keys(), "the plain net, without what a framework wraps around it"
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(trains or name in head)
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.train(trains)
