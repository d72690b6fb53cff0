"""The net: any torchvision classifier by name, its initial weights from the seed alone."""

from __future__ import annotations

import difflib

import torch
import torchvision
from torch import nn

from woof_lightning.data.images import ImageIndex
from woof_lightning.data.randomness import own_randomness
from woof_lightning.errors import UserError

# These return extra outputs while training unless told not to.
ARCHS_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")


def build_net(
    arch: str, num_classes: int, *, seed: int = 0, channels_last: bool = False, compile: bool = False
) -> nn.Module:
    """A torchvision classifier whose weights depend on nothing but its arguments.

    Args:
        arch: Name of a torchvision classifier.
        num_classes: Outputs of the head.
        seed: Seed of the initial weights. The global random state is left as found.
        channels_last: Keep the weights in the channels_last memory format.
        compile: Compile the forward pass; parameter names stay as they are.

    Raises:
        UserError: When there is no such classifier.
    """
    check_arch(arch)
    options = {"aux_logits": False} if arch in ARCHS_WITH_AUXILIARY_HEADS else {}
    with own_randomness("weights", seed):
        net: nn.Module = torchvision.models.get_model(arch, weights=None, num_classes=num_classes, **options)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    if compile:
        net.compile()
    return net


def outputs_for(num_classes: int | None, index: ImageIndex) -> int:
    """The outputs of the head: as set, or as many as the data has classes.

    Raises:
        UserError: When the data has more.
    """
    classes = len(index.classes)
    if num_classes is not None and num_classes < classes:
        raise UserError(
            f"model.num_classes is {num_classes}, but {index.root} has {classes} classes: expected null or at least "
            "that many"
        )
    return classes if num_classes is None else num_classes


def check_arch(arch: str) -> None:
    """Raises a UserError, naming the nearest known classifier, when there is none of this name."""
    known = torchvision.models.list_models(module=torchvision.models)
    if arch not in known:
        near = difflib.get_close_matches(arch, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
        raise UserError(f"model.arch is {arch!r}: expected a torchvision classifier; {hint}")
