"""What the TensorBoard tags of other programs mean, under this project's names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tag:
    """What another program's tag means here.

    Args:
        name: This project's name.
        factor: What its values are multiplied by; 0.01 where the tag's program writes percent.
        by_epoch: Whether it is written with the epoch instead of the step.
        first: What the program counts its first step or epoch as.
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


# How people call accuracies in Lightning.
ACCURACIES = {"acc1": "acc1", "acc": "acc1", "accuracy": "acc1", "acc5": "acc5"}
# By program. The program of a folder is the one that knows most of its tags, of equals the first. Of two tags of one
# meaning that of the steps is taken, of equals the first.
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
        "train_loss": Tag("train/loss"),  # Which fastai has smoothed.
        "valid_loss": Tag("val/loss"),
        "accuracy": Tag("val/acc1"),
        "top_k_accuracy": Tag("val/acc5"),
        "lr_0": Tag("lr"),
        "mom_0": Tag("momentum"),
    },
    "ignite": {
        # Of these two the batches', where "training/loss" is an epoch's.
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
    """The tags of the program that knows most of these."""
    found = set(tags)
    return max(TAGS.values(), key=lambda known: len(found & known.keys()))
