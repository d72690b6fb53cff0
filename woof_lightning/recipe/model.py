"""The net: any torchvision classifier by name, with initial weights that depend only on the seed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
import torchvision
from torch import nn

from woof_lightning.data.images import ImageIndex
from woof_lightning.data.randomness import own_randomness
from woof_lightning.errors import UserError, did_you_mean, reason_of

# In training mode these return extra outputs unless aux_logits is off.
ARCHS_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")


def build_net(
    arch: str, num_classes: int, *, seed: int = 0, channels_last: bool = False, compile: bool = False
) -> nn.Module:
    """Returns a torchvision classifier whose initial weights (float32, on the CPU) depend only on the arguments.

    Args:
        arch: Name of a torchvision classifier.
        num_classes: Number of outputs of the head.
        seed: Seed of the initial weights. The global random state does not change.
        channels_last: Whether to keep the weights in the channels_last memory format.
        compile: Whether to compile the forward pass. The names of the parameters do not change.

    Raises:
        UserError: If torchvision has no such classifier.
    """
    check_arch(arch)
    # Lightning builds nets on the device and in the type of the weights, whose random numbers differ.
    with own_randomness("weights", seed), torch.device("cpu"), _default_dtype(torch.float32):
        net = untrained_net(arch, num_classes)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    if compile:
        net.compile()
    return net


def untrained_net(arch: str, num_classes: int) -> nn.Module:
    """Returns an untrained net in training mode, whose initial weights are taken from the global random state.

    Args:
        arch: Name of a torchvision classifier.
        num_classes: Number of outputs of the head.
    """
    options = {"aux_logits": False} if arch in ARCHS_WITH_AUXILIARY_HEADS else {}
    net: nn.Module = torchvision.models.get_model(arch, num_classes=num_classes, **options)
    return net


def weightless_net(arch: str, num_classes: int) -> nn.Module:
    """Returns an untrained net on torch's meta device, where tensors have shapes but no values.

    Args:
        arch: Name of a torchvision classifier.
        num_classes: Number of outputs of the head.
    """
    try:
        with torch.device("meta"):
            return untrained_net(arch, num_classes)
    except NotImplementedError:  # RegNet computes its widths with tensors, of which it needs the values.
        with own_randomness("no weights"):
            return untrained_net(arch, num_classes).to("meta")


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def check_fits(arch: str, *, image_size: int, smallest_batch: int) -> None:
    """Tries a net on a batch without computing anything (torch's meta device), before hours are spent.

    Args:
        arch: Name of a torchvision classifier.
        image_size: Side of the square images, in px.
        smallest_batch: The number of images in the smallest batch that one device trains on.

    Raises:
        UserError: If the net cannot take images of this size, or not a single one of them.
    """
    size = f"model.arch is {arch} and data.image_size {image_size}"
    if reason := _complaint_about(arch, image_size, 2):
        raise UserError(f"{size}: the net cannot take images of this size ({reason}); choose another of the two")
    if smallest_batch == 1 and (reason := _complaint_about(arch, image_size, 1)):
        raise UserError(
            f"{size}: a batch of a single image, such as the last one of an epoch, has too few values for this net's "
            f"BatchNorm ({reason}); choose another data.batch_size, or add or remove an image"
        )


@lru_cache
def _complaint_about(arch: str, image_size: int, batch_size: int) -> str | None:
    """Returns what a net in training mode says against a batch of a size; None if nothing."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # build_net warns of the same.
            weightless_net(arch, 2)(torch.zeros(batch_size, 3, image_size, image_size, device="meta"))
    except (RuntimeError, ValueError, AssertionError) as error:
        return reason_of(error)
    return None


def outputs_for(num_classes: int | None, index: ImageIndex | None) -> int:
    """Returns the number of outputs of the head: the setting, or the data's number of classes if it is None.

    Args:
        num_classes: The value of model.num_classes.
        index: The data set; None if it is not known.

    Raises:
        UserError: If the data has more classes than the head has outputs, or neither is known.
    """
    if index is None:
        if num_classes is None:
            raise UserError("model.num_classes is null: expected a number, or an ImagewoofDataModule")
        return num_classes
    classes = len(index.classes)
    if num_classes is not None and num_classes < classes:
        raise UserError(
            f"model.num_classes is {num_classes}, but {index.root} has {classes} classes: expected null or at least "
            "that many"
        )
    return classes if num_classes is None else num_classes


def check_arch(arch: str) -> None:
    """Raises a UserError that suggests a similar name if torchvision has no classifier of this name."""
    known = torchvision.models.list_models(module=torchvision.models)
    if arch not in known:
        hint = did_you_mean(arch, known, f"known are: {', '.join(known)}")
        raise UserError(f"model.arch is {arch!r}: expected a torchvision classifier; {hint}")
