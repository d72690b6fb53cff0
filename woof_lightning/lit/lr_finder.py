"""The learning-rate sweep by Lightning's own Tuner, with what is wrong in its answer mended.

`lr_find` works on any LightningModule with one optimizer. What it mends:

- The recorded loss is an average whose start-up bias is divided out with an exponent one too high, so that even a
  constant loss comes back as half of itself. The bias is a known factor and is divided out here.
- The suggestion is the steepest descent over the linear axis of an exponential sweep, which lies far too low
  (https://github.com/Lightning-AI/pytorch-lightning/issues/21141). Here the axis is logarithmic.
- The sweep ends at `max_epochs`, validates at epochs' ends, and runs with the momentum that a one-cycle schedule has
  already rewritten. None of that here.
- A temporary checkpoint stays behind when the sweep fails, and hyper-parameters such as paths make it fail.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateFinder
from lightning.pytorch.tuner.tuning import Tuner
from lightning.pytorch.utilities.seed import isolate_rng
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from woof_lightning.errors import UserError, raise_together
from woof_lightning.lit.lr_suggestion import CLEAR, FEWEST_POINTS, SKIP_FIRST, SKIP_LAST, SMOOTHING, suggest
from woof_lightning.runs.lr_curve import LRCurve

FEWEST_STEPS = SKIP_FIRST + FEWEST_POINTS + SKIP_LAST
RULES = {
    "steepest": "steepest descent on the log axis",
    "valley": "valley (fastai's, more careful)",
    "lightning": "Lightning's own (linear axis)",
}
# A schedule may cycle these; all others leave them alone.
CYCLED = ("betas", "momentum")
FORCE_LOAD = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@dataclass(frozen=True)
class LRFound:
    """What a sweep found.

    Args:
        curve: Learning rates with smoothed and raw losses.
        steepest: Where the loss falls fastest on the logarithmic axis.
        valley: fastai's more careful choice.
        lightning: What Lightning's own finder suggests from the same sweep.
        suggested_by: The rule to follow, steepest or valley; None where there is no suggestion.
        clearness: How far the steepest descent stands out from the noise of single batches, in standard errors.
        stopped: Why the sweep ended: finished, diverged or not finite.
        steps: How many steps were asked for.
    """

    curve: LRCurve
    steepest: float | None
    valley: float | None
    lightning: float | None
    suggested_by: str | None
    clearness: float
    stopped: str
    steps: int

    @property
    def suggestion(self) -> float:
        """The learning rate to train with, three digits: the steepest descent, or valley's where that is not clear.

        Raises:
            UserError: When the curve has none; it says why and what to do.
        """
        if self.suggested_by is None:
            raise UserError(self.problem or "")
        lr: float = getattr(self, self.suggested_by)
        return float(f"{lr:.3g}")

    @property
    def note(self) -> str | None:
        """What to know of a suggestion that rests on little; None where the descent is clear."""
        if self.suggested_by is None or self.clearness >= CLEAR:
            return None
        return (
            f"the steepest descent stands out from the batches' noise by {self.clearness:.1f} standard errors, "
            f"expected at least {CLEAR:.0f}: {self.suggested_by} is suggested, and another seed may give another rate; "
            "raise --num_training, or narrow --min_lr and --max_lr"
        )

    @property
    def problem(self) -> str | None:
        """Why there is no suggestion, and the way out; None where there is one."""
        if self.steepest is not None:
            return None
        points, last = len(self.curve.finite()), f" at lr {self.curve.lr[-1]:.3g}" if self.curve.lr else ""
        if points < FEWEST_STEPS:
            ended = {
                "diverged": f"the loss diverged{last}",
                "not finite": f"the loss became NaN or infinite{last}",
                "finished": "the loader gave no more",
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
        """Each suggestion by a label for people, the one to take first."""
        rules = sorted(RULES, key=lambda rule: rule != self.suggested_by)
        return {RULES[rule]: getattr(self, rule) for rule in rules}

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for result.json."""
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
    """Sweeps the learning rate from min_lr to max_lr, exponentially, one training batch each.

    Model, trainer and global random state are afterwards as before, so that a fit that follows
    equals a fit without it. Nothing is logged, validated or written.

    Args:
        model: Any LightningModule with automatic optimization and one optimizer.
        train_dataloaders: Its training data, where neither the model nor a datamodule has it.
        datamodule: Its data.
        trainer: The Trainer whose precision, device and limits are used; by default a plain one.
        min_lr: The first learning rate.
        max_lr: The last one.
        num_training: Training steps.
        early_stop_threshold: The sweep ends when the smoothed loss exceeds this many times its lowest;
            None never ends it.

    Raises:
        UserError: When an argument cannot be used, or Lightning's sweep cannot take the model.
    """
    check_sweep(min_lr, max_lr, num_training, early_stop_threshold)
    trainer = trainer or Trainer(logger=False, enable_checkpointing=False, enable_model_summary=False)
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise UserError("trainer.fast_dev_run is set: Lightning then skips the sweep; leave it out")
    if not model.automatic_optimization:
        raise UserError(
            f"{type(model).__name__} optimizes by hand (automatic_optimization): a sweep cannot step for it"
        )
    if any(isinstance(callback, LearningRateFinder) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise UserError("the trainer has a LearningRateFinder, which would sweep as well: take it out")
    recorder = SweepRecorder(early_stop_threshold)
    with _prepared(trainer, model, recorder):
        try:
            finder = Tuner(trainer).lr_find(
                model,
                train_dataloaders,
                datamodule=datamodule,
                min_lr=min_lr,
                max_lr=max_lr,
                num_training=num_training,
                early_stop_threshold=None,  # Its rule compares with a biased first loss; the recorder has another.
                update_attr=False,
            )
        except MisconfigurationException as error:
            raise UserError(f"the sweep cannot be run: {error}") from error
    assert finder is not None, "only fast_dev_run skips the sweep"
    curve = LRCurve(tuple(recorder.lr), tuple(recorder.loss), tuple(recorder.raw_loss))
    found = suggest(curve.finite())
    return LRFound(
        curve=curve,
        steepest=found.steepest,
        valley=found.valley,
        lightning=finder.suggestion(),
        suggested_by=found.suggested_by,
        clearness=found.clearness,
        stopped=recorder.stopped,
        steps=num_training,
    )


def check_sweep(min_lr: float, max_lr: float, num_training: int, early_stop_threshold: float | None) -> None:
    """Raises a UserError when no sweep can be made of these."""
    problems = []
    if not 0 < min_lr < max_lr < math.inf:
        problems.append(f"min_lr is {min_lr} and max_lr {max_lr}: expected 0 < min_lr < max_lr")
    if num_training < FEWEST_STEPS:
        problems.append(
            f"num_training is {num_training}: expected at least {FEWEST_STEPS}, since suggestions skip the first "
            f"{SKIP_FIRST} points and the last"
        )
    if early_stop_threshold is not None and not early_stop_threshold > 1:
        problems.append(
            f"early_stop_threshold is {early_stop_threshold}: expected above 1, times the lowest loss, or null"
        )
    raise_together(problems)


class SweepRecorder(Callback):
    """Notes learning rate and loss of each optimizer step, and ends a sweep that has diverged.

    Lightning's own record leaves out the last step of an epoch whose batches do not fill the
    accumulation, and its limit for divergence is 4 times a first loss that is recorded as half.

    Args:
        early_stop_threshold: The sweep ends when the smoothed loss exceeds this many times its lowest.
    """

    def __init__(self, early_stop_threshold: float | None) -> None:
        self.early_stop_threshold = early_stop_threshold
        self.lr: list[float] = []
        self.loss: list[float] = []
        self.raw_loss: list[float] = []
        self.stopped = "finished"
        self._average = 0.0
        self._lr_of_step: float | None = None
        self._batch_losses: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Notes the learning rate that the step is made with."""
        self._lr_of_step = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds a point to the curve when the batch was a step's last."""
        if outputs:
            loss = outputs["loss"] if isinstance(outputs, dict) else outputs
            # Lightning has divided it, so that accumulated gradients are a mean.
            self._batch_losses.append(float(loss) * trainer.accumulate_grad_batches)
        if self._lr_of_step is not None and self._batch_losses:
            self._add(self._lr_of_step, fmean(self._batch_losses))
            trainer.should_stop = self.stopped != "finished"
        if self._lr_of_step is not None:
            self._lr_of_step, self._batch_losses = None, []

    def _add(self, lr: float, raw_loss: float) -> None:
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * raw_loss
        loss = self._average / (1 - SMOOTHING ** (len(self.loss) + 1))
        self.lr.append(lr)
        self.loss.append(loss)
        self.raw_loss.append(raw_loss)
        if not math.isfinite(raw_loss):
            self.stopped = "not finite"
        elif self.early_stop_threshold is not None:
            lowest = min(self.loss)
            # The threshold's share above the lowest, which may be negative.
            if loss - lowest > (self.early_stop_threshold - 1) * abs(lowest):
                self.stopped = "diverged"


@contextmanager
def _prepared(trainer: Trainer, model: LightningModule, recorder: SweepRecorder) -> Iterator[None]:
    """Makes the sweep run over epochs without validating, as its optimizer's options state; then undoes all that."""
    loop = trainer.fit_loop
    before = (loop.max_epochs, loop.min_epochs, trainer.check_val_every_n_epoch, trainer.val_check_interval)
    configure_optimizers, on_train_start = model.configure_optimizers, model.on_train_start

    def configured() -> Any:
        with _stated_momentum():
            configuration = configure_optimizers()
        # Only now: a one-cycle schedule asks for a finite number of steps.
        loop.max_epochs, loop.min_epochs = -1, 0
        trainer.check_val_every_n_epoch, trainer.val_check_interval = sys.maxsize, 1.0
        return configuration

    def started() -> None:
        # The sweep drops all callbacks, shows a bar whether or not there is a terminal, and then calls this.
        trainer.callbacks[0].progress_bar_refresh_rate = int(sys.stderr.isatty())  # type: ignore[attr-defined]
        trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
        on_train_start()

    with (
        _replaced(model, "configure_optimizers", configured),
        _replaced(model, "on_train_start", started),
        _no_checkpoint_left(Path(trainer.default_root_dir)),
        isolate_rng(),
    ):
        try:
            yield
        finally:
            loop.max_epochs, loop.min_epochs, trainer.check_val_every_n_epoch, trainer.val_check_interval = before


@contextmanager
def _stated_momentum() -> Iterator[None]:
    """Undoes what one-cycle and cyclic schedules do to momentum and betas when they are made inside."""
    with ExitStack() as stack:
        touched: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for schedule in (OneCycleLR, CyclicLR):
            remembering = _remembering(schedule.__init__, touched)
            stack.enter_context(_replaced(schedule, "__init__", remembering))
        yield
    for group, stated in touched:
        group.update(stated)


def _remembering(
    init: Callable[..., None], touched: list[tuple[dict[str, Any], dict[str, Any]]]
) -> Callable[..., None]:
    def __init__(self: LRScheduler, optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        for group in optimizer.param_groups:
            touched.append((group, {key: group[key] for key in CYCLED if key in group}))
        init(self, optimizer, *args, **kwargs)

    return __init__


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Gives an object or a class another attribute for a while."""
    had_its_own, original = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if had_its_own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


@contextmanager
def _no_checkpoint_left(folder: Path) -> Iterator[None]:
    """Removes the sweep's temporary checkpoint when Lightning does not, and lets it be read whatever it holds.

    The sweep restores the model from it with weights_only, which a path among the hyper-parameters
    makes fail. The file was written by this process a moment before.
    """
    before, setting = set(folder.glob(".lr_find_*.ckpt")), os.environ.get(FORCE_LOAD)
    os.environ[FORCE_LOAD] = "1"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=f".*{FORCE_LOAD}.*")
            yield
    finally:
        if setting is None:
            del os.environ[FORCE_LOAD]
        else:
            os.environ[FORCE_LOAD] = setting
        for file in set(folder.glob(".lr_find_*.ckpt")) - before:
            file.unlink()
