"""What a whole training costs: its parts added up, and checked against whole trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from woof_lightning.cost.measured import Key, Rows, over
from woof_lightning.cost.plan import (
    EPOCH_STEPS,
    EPOCH_VAL_BATCHES,
    START,
    WHOLE,
    WHOLE_EPOCHS,
    WITH_VARIANTS,
)
from woof_lightning.loops.ways import REFERENCE
from woof_lightning.measure.statistics import bootstrapped

# The training of the post: 40 epochs of 71 steps, each with a validation of 246 batches of 16 images.
EPOCHS, STEPS, VAL_BATCHES = 40, 71, 246
# The measured parts, and how often each comes in a training of E epochs with S steps and V validation batches. What a
# way saves at the end of an epoch counts as often as it was seen.
MEASURES = ("train_step_us", "val_batch_us", "epoch_us", "checkpoint_us", "files_per_epoch")


def seconds(parts: Mapping[str, Any], epochs: int, steps: int, val_batches: int) -> dict[str, Any]:
    """Returns what a training takes in each part, in s.

    Args:
        parts: The values of MEASURES.
        epochs: Number of epochs.
        steps: Number of steps per epoch.
        val_batches: Number of validation batches per epoch.
    """
    return {
        "steps": 1e-6 * epochs * steps * parts["train_step_us"],
        "validation": 1e-6 * epochs * val_batches * parts["val_batch_us"],
        "epochs": 1e-6 * epochs * parts["epoch_us"],
        "checkpoints": 1e-6 * epochs * parts["files_per_epoch"] * parts["checkpoint_us"],
    }


def whole_trainings(found: Rows) -> list[dict[str, Any]]:
    """Returns what the post's training costs over the bare loop in each way, in s: its parts, its start, their sum.

    The parts are those of a training that ran without a break. Where ways take turns within an epoch, steps take
    longer (docs/results/turns).
    """
    trainings = []
    for way in WITH_VARIANTS:
        keys = [(name, WHOLE, measure) for name in (way, REFERENCE) for measure in MEASURES]
        if way == REFERENCE or not all(key in found for key in keys):
            continue
        costs = {
            part: asdict(bootstrapped(partial(_over_bare, part), *found.paired(*keys)))
            for part in ("steps", "validation", "epochs", "checkpoints", "all")
        }
        key, reference = (way, START, "first_step_s"), (REFERENCE, START, "first_step_s")
        start = asdict(over(found, key, reference)) if key in found and reference in found else None
        trainings.append({"way": way, "parts": costs, "start": start})
    return trainings


def checked(found: Rows) -> list[dict[str, Any]]:
    """Returns for each way how long its small whole training takes after the first step: predicted, and measured.

    The prediction is the sum of the parts of another training in the same process.
    """
    predictions = []
    for way in WITH_VARIANTS:
        measured: Key = (way, WHOLE, "rest_s")
        keys = [*((way, WHOLE, measure) for measure in MEASURES), measured]
        if not all(key in found for key in keys):
            continue
        samples = found.paired(*keys)
        values = {
            "predicted_s": bootstrapped(_predicted, *samples),
            "measured_s": bootstrapped(lambda chosen: np.median(chosen[-1], -1), *samples),
            "ratio": bootstrapped(lambda chosen: _predicted(chosen) / np.median(chosen[-1], -1), *samples),
        }
        predictions.append({"way": way, **{name: asdict(value) for name, value in values.items()}})
    return predictions


def _medians(chosen: list[NDArray[np.float64]]) -> dict[str, Any]:
    return {measure: np.median(values, -1) for measure, values in zip(MEASURES, chosen, strict=True)}


def _over_bare(part: str, chosen: list[NDArray[np.float64]]) -> Any:
    ours, bare = (
        seconds(_medians(half), EPOCHS, STEPS, VAL_BATCHES)
        for half in (chosen[: len(MEASURES)], chosen[len(MEASURES) :])
    )
    names = list(ours) if part == "all" else [part]
    return sum(ours[name] - bare[name] for name in names)


def _predicted(chosen: list[NDArray[np.float64]]) -> Any:
    parts = _medians(chosen[: len(MEASURES)])
    # Without the first step, which the measured time leaves out too.
    return sum(seconds(parts, WHOLE_EPOCHS, EPOCH_STEPS, EPOCH_VAL_BATCHES).values()) - 1e-6 * parts["train_step_us"]
