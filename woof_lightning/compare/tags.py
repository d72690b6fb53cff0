"""The meaning of the TensorBoard tags of other programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tag:
    """The meaning of another program's tag.

    Args:
        name: The name of the metric in this project.
        factor: The factor to multiply its values by: 0.01 if the program writes percent.
        by_epoch: Whether the program writes it with the epoch instead of the step.
        first: The number that the program gives to its first step or epoch.
    """

    name: str
    factor: float = 1.0
    by_epoch: bool = False
    first: int = 1


PERCENT = 0.01


def _of_epoch(name: str, factor: float = 1.0) -> Tag:
    return Tag(name, factor, by_epoch=True, first=0)


def _from_0(name: str) -> Tag:
    return Tag(name, first=0)


# The usual names of accuracies in Lightning projects.
ACCURACIES = {"acc1": "acc1", "acc": "acc1", "accuracy": "acc1", "acc5": "acc5"}
# By program. A folder is read with the tags of the program that knows most of its tags; if several know equally many,
# of the first. If two tags of a folder have the same meaning, tags by step win over tags by epoch, then the first wins.
TAGS: dict[str, dict[str, Tag]] = {
    "pytorch-nn-tools": {
        "train.loss": Tag("train/loss"),
        "train.acc1": Tag("train/acc1", PERCENT),
        "train.acc5": Tag("train/acc5", PERCENT),
        "train.lr_0": Tag("lr"),
        "avg.train.loss": _of_epoch("train/loss_epoch"),
        "avg.train.acc1": _of_epoch("train/acc1_epoch", PERCENT),
        "avg.train.acc5": _of_epoch("train/acc5_epoch", PERCENT),
        "avg.val.loss": _of_epoch("val/loss"),
        "avg.val.acc1": _of_epoch("val/acc1", PERCENT),
        "avg.val.acc5": _of_epoch("val/acc5", PERCENT),
        "lr_0": _of_epoch("lr"),
    },
    "fastai": {
        "train_loss": Tag("train/loss"),  # fastai writes the smoothed loss.
        "valid_loss": Tag("val/loss"),
        "accuracy": Tag("val/acc1"),
        "top_k_accuracy": Tag("val/acc5"),
        "lr_0": Tag("lr"),
        "mom_0": Tag("momentum"),
    },
    "ignite": {
        # These two are the loss of a batch. "training/loss" can be the loss of an epoch.
        "training/batchloss": Tag("train/loss"),
        "training/batch_loss": Tag("train/loss"),
        "training/loss": Tag("train/loss"),
        "validation/loss": Tag("val/loss"),
        "validation/nll": Tag("val/loss"),
        "validation/accuracy": Tag("val/acc1"),
        "validation/top_k_categorical_accuracy": Tag("val/acc5"),
        "lr/group_0": Tag("lr"),
        "training/lr/group_0": Tag("lr"),
        "momentum/group_0": Tag("momentum"),
    },
    "Lightning": {
        "epoch": _from_0("epoch"),
        **{f"train{mark}loss{when}": _from_0("train/loss") for mark in "_/" for when in ("_step", "")},
        **{f"train{mark}loss_epoch": _from_0("train/loss_epoch") for mark in "_/"},
        **{
            f"train{mark}{a}{when}": _from_0(f"train/{k}")
            for mark in "_/"
            for a, k in ACCURACIES.items()
            for when in ("_step", "")
        },
        **{f"train{mark}{a}_epoch": _from_0(f"train/{k}_epoch") for mark in "_/" for a, k in ACCURACIES.items()},
        **{f"val{mark}loss": _from_0("val/loss") for mark in "_/"},
        **{f"val{mark}{a}": _from_0(f"val/{k}") for mark in "_/" for a, k in ACCURACIES.items()},
        **{f"lr-{optimizer}": _from_0("lr") for optimizer in ("SGD", "Adam", "AdamW")},
        **{f"lr-{optimizer}-momentum": _from_0("momentum") for optimizer in ("SGD", "Adam", "AdamW")},
    },
    "woof_lightning": {
        name: Tag(name)
        for name in (
            *("epoch", "lr", "momentum", "train/loss", "train/acc1", "train/acc5", "val/loss", "val/acc1", "val/acc5"),
            *("train/loss_epoch", "train/acc1_epoch", "train/acc5_epoch"),
        )
    },
}


def tags_of_program(tags: Iterable[str]) -> dict[str, Tag]:
    """Returns the tags of the program that knows most of the given tags."""
    found = set(tags)
    return max(TAGS.values(), key=lambda known: len(found & known.keys()))
