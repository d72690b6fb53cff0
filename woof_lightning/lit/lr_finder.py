"""`lr_find`: sweeps the learning rate with Lightning's own Tuner and suggests one. Works on any LightningModule.

Lightning's own suggestion is the steepest descent over the linear axis of an exponential sweep, which is far too low
(https://github.com/Lightning-AI/pytorch-lightning/issues/21141). Here the axis is logarithmic (`lr_suggestion`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateFinder
from lightning.pytorch.tuner.tuning import Tuner

from woof_lightning.errors import UserError, raise_together
from woof_lightning.lit.lr_suggestion import CLEAR, FEWEST_POINTS, SKIP_FIRST, SKIP_LAST, Suggestions, suggest
from woof_lightning.lit.sweep import SweepRecorder, prepared
from woof_lightning.runs.lr_curve import LRCurve

FEWEST_STEPS = SKIP_FIRST + FEWEST_POINTS + SKIP_LAST
RULES = {
    "steepest": "steepest descent on the log axis",
    "valley": "valley (fastai's, more careful)",
    "lightning": "Lightning's own (linear axis)",
}


@dataclass(frozen=True, kw_only=True)
class LRFound(Suggestions):
    """The result of a sweep: its curve, the suggestions, and why it ended.

    Args:
        curve: Learning rates with smoothed and raw losses.
        lightning: The suggestion of Lightning's own finder from the same sweep.
        stopped: Why the sweep ended: finished, diverged or not finite.
        steps: The number of steps that were requested.
    """

    curve: LRCurve
    lightning: float | None
    stopped: str
    steps: int

    @property
    def suggestion(self) -> float:
        """The learning rate to train with, to three digits: the steepest descent if it is clear, otherwise the valley.

        Raises:
            UserError: If the curve has no suggestion. The message says why and what to do.
        """
        if self.suggested_by is None:
            raise UserError(self.problem or "")
        lr: float = getattr(self, self.suggested_by)
        return float(f"{lr:.3g}")

    @property
    def note(self) -> str | None:
        """A warning about an uncertain suggestion; None if the descent is clear."""
        if self.suggested_by is None or self.clearness >= CLEAR:
            return None
        return (
            f"the steepest descent stands out from the batches' noise by {self.clearness:.1f} standard errors, "
            f"expected at least {CLEAR:.0f}: {self.suggested_by} is suggested, and another seed may give another rate; "
            "raise --num_training, or narrow --min_lr and --max_lr"
        )

    @property
    def problem(self) -> str | None:
        """Why there is no suggestion, and the way out; None if there is one."""
        if self.steepest is not None:
            return None
        points, last = len(self.curve.finite()), f" at lr {self.curve.lr[-1]:.3g}" if self.curve.lr else ""
        if points < FEWEST_STEPS:
            ended = {
                "diverged": f"the loss diverged{last}",
                "not finite": f"the loss became NaN or infinite{last}",
                "finished": "the training data ended",
            }[self.stopped]
            return (
                f"the sweep has {points} points before {ended}: expected at least {FEWEST_STEPS}; "
                "lower --min_lr or --max_lr, or raise --num_training"
            )
        return (
            f"from lr {self.curve.lr[SKIP_FIRST]:.3g} to {self.curve.lr[-1]:.3g} (the first {SKIP_FIRST} points are "
            "skipped) the loss never falls: expected a descent; lower --min_lr, raise --num_training, or check that "
            "the data can be learned"
        )

    def marks(self) -> dict[str, float | None]:
        """Returns the suggestions by label, the one to use first."""
        rules = sorted(RULES, key=lambda rule: rule != self.suggested_by)
        return {RULES[rule]: getattr(self, rule) for rule in rules}

    def as_dict(self) -> dict[str, Any]:
        """Returns everything but the curve as plain values, for result.json."""
        return {
            "suggestion": None if self.problem else self.suggestion,
            "problem": self.problem,
            "note": self.note,
            **{name: value for name, value in asdict(self).items() if name != "curve"},
            "points": len(self.curve),
            "skipped_first": SKIP_FIRST,
            "skipped_last": SKIP_LAST,
        }


def lr_find(
    model: LightningModule,
    train_dataloaders: Any = None,
    *,
    datamodule: LightningDataModule | None = None,
    trainer: Trainer | None = None,
    min_lr: float = 1e-8,
    max_lr: float = 10.0,
    num_training: int = 50,
    early_stop_threshold: float | None = 4.0,
) -> LRFound:
    """Sweeps the learning rate exponentially from min_lr to max_lr, one step per rate, and suggests a rate.

    It restores model, trainer and global random state. A fit after it therefore equals a fit without it. It does not
    log, validate or keep anything.

    Args:
        model: Any LightningModule with automatic optimization and one optimizer.
        train_dataloaders: The training data, if neither the model nor a datamodule has it.
        datamodule: The data.
        trainer: The Trainer whose precision, device and limits apply; by default one without logger and checkpoints.
        min_lr: The first learning rate.
        max_lr: The last learning rate.
        num_training: Number of training steps.
        early_stop_threshold: Ends the sweep when the smoothed loss is more than this many times its minimum. None never
            ends it early.

    Raises:
        UserError: If an argument cannot be used, or Lightning cannot sweep the model.

    Examples:
        >>> from lightning.pytorch import Trainer
        >>> from woof_lightning import ImagewoofDataModule, WoofClassifier, lr_find
        >>> model = WoofClassifier(arch="shufflenet_v2_x0_5")
        >>> data = ImagewoofDataModule(variant="synthetic", image_size=32, batch_size=32, num_workers=0)
        >>> found = lr_find(model, datamodule=data, min_lr=1e-5, max_lr=1.0, num_training=60)
        >>> 1e-5 < found.suggestion < 1
        True
    """
    check_sweep(min_lr, max_lr, num_training, early_stop_threshold)
    trainer = trainer or Trainer(logger=False)
    check_one_device(trainer)
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise UserError("trainer.fast_dev_run is set: Lightning would skip the sweep; leave it out")
    if not model.automatic_optimization:
        raise UserError(
            f"{type(model).__name__}.automatic_optimization is False: expected True, since Lightning steps the "
            "optimizer in a sweep"
        )
    if any(isinstance(callback, LearningRateFinder) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise UserError("the trainer has a LearningRateFinder, which would sweep as well: remove it")
    recorder = SweepRecorder(early_stop_threshold)
    with prepared(trainer, model, recorder):
        try:
            finder = Tuner(trainer).lr_find(
                model,
                train_dataloaders,
                datamodule=datamodule,
                min_lr=min_lr,
                max_lr=max_lr,
                num_training=num_training,
                early_stop_threshold=None,  # The recorder applies it: Lightning's loss is biased (sweep.py).
                update_attr=False,
            )
        except MisconfigurationException as error:
            raise UserError(f"Lightning cannot run the sweep: {error}") from error
    assert finder is not None, "only fast_dev_run skips the sweep"
    curve = LRCurve(tuple(recorder.lr), tuple(recorder.loss), tuple(recorder.raw_loss))
    return LRFound(
        **vars(suggest(curve.finite())),
        curve=curve,
        lightning=finder.suggestion(),
        stopped=recorder.stopped,
        steps=num_training,
    )


def check_one_device(trainer: Trainer) -> None:
    """Raises a UserError if a trainer has several processes, over which Lightning does not average the losses."""
    if trainer.world_size > 1:
        raise UserError(
            f"the trainer has {trainer.world_size} processes: a sweep takes one; set trainer.devices 1 and "
            "trainer.num_nodes 1. The rate holds for several devices too, which share the batch"
        )


def check_sweep(min_lr: float, max_lr: float, num_training: int, early_stop_threshold: float | None) -> None:
    """Raises a UserError if the arguments of a sweep cannot be used."""
    problems = []
    if not 0 < min_lr < max_lr < math.inf:
        problems.append(f"min_lr is {min_lr} and max_lr {max_lr}: expected 0 < min_lr < max_lr")
    if num_training < FEWEST_STEPS:
        problems.append(
            f"num_training is {num_training}: expected at least {FEWEST_STEPS}, since suggestions skip the first "
            f"{SKIP_FIRST} points and the last one"
        )
    if early_stop_threshold is not None and not early_stop_threshold > 1:
        problems.append(
            f"early_stop_threshold is {early_stop_threshold}: expected above 1 (a factor of the lowest loss) or null"
        )
    raise_together(problems)
