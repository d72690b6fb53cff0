"""Which of Lightning's own callbacks `woof fit` refuses, with the reason. All others work."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BasePredictionWriter,
    BatchSizeFinder,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)

from woof_lightning.recipe.metrics import METRICS

REFUSED: dict[type[Callback], str] = {
    LearningRateFinder: "the schedule would not use the rate that it finds; run woof lr-find first",
    BatchSizeFinder: "the batch size belongs to the recipe; set data.batch_size",
    StochasticWeightAveraging: "it averages after the last checkpoint, so no file would hold the averaged weights; use "
    "lightning.pytorch.callbacks.WeightAveraging or EMAWeightAveraging",
    BaseFinetuning: "the optimizer has the backbone's parameters from the start, so it would add none; use "
    "model.freeze_epochs",
    BasePredictionWriter: "woof fit makes no predictions; use woof predict",
}
MONITORED = tuple(f"val/{name}" for name in METRICS)


def callback_problems(callbacks: Sequence[Callback], schedule: str, *, resuming: bool) -> list[str]:
    """Returns one sentence for each callback that would not do what it says.

    Args:
        callbacks: The user's callbacks.
        schedule: The value of model.schedule.
        resuming: Whether the run is resumed from a checkpoint.
    """
    problems = []
    for callback in callbacks:
        reason = _reason(callback, schedule, resuming)
        if reason is None and isinstance(callback, (EarlyStopping, ModelCheckpoint)):
            reason = _monitor_problem(callback, callbacks)
        if reason is not None:
            problems.append(f"trainer.callbacks has {type(callback).__name__}: {reason}")
    if _any(callbacks, ModelPruning) and _any(callbacks, WeightAveraging):
        problems.append(
            "trainer.callbacks has ModelPruning and WeightAveraging: pruning replaces the weights that the average "
            "copies; take one of them"
        )
    return problems


def _any(callbacks: Sequence[Callback], kind: type[Callback]) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)


def _reason(callback: Callback, schedule: str, resuming: bool) -> str | None:
    if isinstance(callback, BaseFinetuning) and schedule == "onecycle":
        return (
            "it adds a parameter group where it unfreezes, which the one-cycle schedule does not know: the training "
            "would end there; use model.freeze_epochs"
        )
    for refused, reason in REFUSED.items():
        if isinstance(callback, refused):
            return reason
    if isinstance(callback, GradientAccumulationScheduler) and schedule == "onecycle":
        return (
            "Lightning does not tell the one-cycle schedule how many steps remain, so the cycle would not end; use "
            "trainer.accumulate_grad_batches or model.schedule step"
        )
    if isinstance(callback, Timer) and callback._interval == "step":
        return "it would end the run within an epoch and count that epoch as done; use trainer.max_time"
    if isinstance(callback, EMAWeightAveraging) and callback.update_starting_at_epoch is not None:
        return "it would average again between an epoch's validation and its checkpoint; use update_starting_at_step"
    if isinstance(callback, ModelPruning) and resuming:
        return "its masks are not in a checkpoint, so a pruned run cannot be resumed; start another run with --name"
    return None


def _monitor_problem(callback: EarlyStopping | ModelCheckpoint, callbacks: Sequence[Callback]) -> str | None:
    """Returns what is wrong with a monitored metric, unless a callback of the user's own may log it."""
    known = (*MONITORED, *((None, "epoch", "step") if isinstance(callback, ModelCheckpoint) else ()))
    if callback.monitor in known or not all(_is_lightning_s(other) for other in callbacks):
        return None
    return f"it monitors {callback.monitor!r}, which nothing computes: expected one of {', '.join(MONITORED)}"


def _is_lightning_s(callback: Callback) -> bool:
    return type(callback).__module__.startswith(("lightning.", "pytorch_lightning."))
