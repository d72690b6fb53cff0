"""Whether two runs trained the same, to the bit."""

from __future__ import annotations

from pathlib import Path

import torch

from woof_lightning.recipe.checkpoint import read_checkpoint
from woof_lightning.runs.folder import RunFolder

TRAINED = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")


def difference(run: RunFolder, other: RunFolder) -> str:
    """What differs between two runs in what a resumed run must have alike; empty when nothing does."""
    if run.metrics.read_text() != other.metrics.read_text():
        return "metrics.csv"
    return checkpoint_difference(run.last, other.last) or checkpoint_difference(run.best, other.best)


def checkpoint_difference(file: Path, other: Path) -> str:
    """The first part of the training in which two checkpoints differ; empty when none does."""
    one, two = read_checkpoint(file), read_checkpoint(other)
    return next((f"{file.name}: {key}" for key in TRAINED if not same(one[key], two[key])), "")


def same(one: object, other: object) -> bool:
    """Whether two nested values are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return (
            isinstance(other, (list, tuple))
            and len(one) == len(other)
            and all(same(a, b) for a, b in zip(one, other, strict=True))
        )
    return one == other
