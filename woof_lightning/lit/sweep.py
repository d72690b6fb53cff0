"""Works around the faults of the learning-rate sweep of Lightning 2.6 (`lightning/pytorch/tuner/lr_finder.py`).

- Lightning records a running average and corrects its start-up bias with an exponent that is one too high. Even a
  constant loss is therefore recorded as half of itself. SweepRecorder records the losses itself.
- The sweep ends at `max_epochs`, validates after each epoch, and runs with the momentum that a one-cycle schedule has
  already changed. `prepared` prevents that.
- If the sweep fails, its temporary checkpoint remains. Hyper-parameters such as paths make it fail, because it reads
  that checkpoint with weights_only. `prepared` removes the file and lets it be read.

tests/upstream/test_lightning_lr_find.py has a test for each, which fails on the day Lightning fixes it.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.lr_suggestion import SMOOTHING

# The options of an optimizer that a one-cycle or cyclic schedule may change.
CYCLED = ("betas", "momentum")
FORCE_LOAD = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


class SweepRecorder(Callback):
    """Records learning rate and loss of each optimizer step, and ends a sweep that has diverged.

    Lightning's own record misses an epoch's last step if its batches do not fill the gradient accumulation. Its limit
    for divergence is a multiple of the first loss, which it records as half of itself.

    Args:
        early_stop_threshold: Ends the sweep when the smoothed loss is more than this many times its minimum. None never
            ends it early.
    """

    def __init__(self, early_stop_threshold: float | None) -> None:
        self.early_stop_threshold = early_stop_threshold
        self.lr: list[float] = []
        self.loss: list[float] = []
        self.raw_loss: list[float] = []
        self.stopped = "finished"
        # The share of the rate that each parameter group gets; Lightning gives all groups the same.
        self.shares: list[float] = []
        self._average = 0.0
        self._lr_of_step: float | None = None
        self._batch_losses: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Notes the learning rate that the step uses."""
        self._lr_of_step = float(optimizer.param_groups[0]["lr"])
        for group, share in zip(optimizer.param_groups, self.shares, strict=False):
            group["lr"] = self._lr_of_step * share

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds a point to the curve if the batch was the last one of a step."""
        if outputs:
            loss = outputs["loss"] if isinstance(outputs, dict) else outputs
            # Lightning has divided the loss by this number, so that accumulated gradients are a mean.
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
            # Not loss > threshold * lowest: a loss may be negative.
            if loss - lowest > (self.early_stop_threshold - 1) * abs(lowest):
                self.stopped = "diverged"


@contextmanager
def prepared(trainer: Trainer, model: LightningModule, recorder: SweepRecorder) -> Iterator[None]:
    """Prepares trainer and model for a sweep during the block, and restores both afterwards.

    The sweep runs over as many epochs as it needs, does not validate, and uses the momentum that the optimizer was
    given.

    Args:
        trainer: The Trainer that sweeps.
        model: The model.
        recorder: Records the sweep.
    """
    loop = trainer.fit_loop
    before = (loop.max_epochs, loop.min_epochs, trainer.check_val_every_n_epoch, trainer.val_check_interval)
    configure_optimizers, on_train_start = model.configure_optimizers, model.on_train_start
    restore = trainer._checkpoint_connector.restore

    def configured() -> Any:
        with _stated_momentum():
            configuration = configure_optimizers()
        # Not before: a one-cycle schedule needs a finite number of steps.
        loop.max_epochs, loop.min_epochs = -1, 0
        trainer.check_val_every_n_epoch, trainer.val_check_interval = sys.maxsize, 1.0
        return configuration

    def started() -> None:
        # Lightning replaces all callbacks by its own, which draws a bar without a terminal too, and then calls this.
        trainer.callbacks[0].progress_bar_refresh_rate = int(sys.stderr.isatty())  # type: ignore[attr-defined]
        trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
        on_train_start()

    def restored(*args: Any, **options: Any) -> None:
        with _any_content_read():
            restore(*args, **options)

    with (
        _whole_net_trained(model, recorder),
        _replaced(trainer._checkpoint_connector, "restore", restored),
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
def _whole_net_trained(model: LightningModule, recorder: SweepRecorder) -> Iterator[None]:
    """Freezes and averages nothing of a WoofClassifier during the block, and keeps the backbone's share of the rate."""
    if not isinstance(model, WoofClassifier):
        yield
        return
    before = model.config
    if before.has_groups:
        recorder.shares = [before.backbone_factor, 1.0]
    model.config = replace(before, freeze_epochs=0, ema_decay=None)
    try:
        yield
    finally:
        model.config = replace(model.config, freeze_epochs=before.freeze_epochs, ema_decay=before.ema_decay)


@contextmanager
def _stated_momentum() -> Iterator[None]:
    """Restores the momentum and betas that one-cycle and cyclic schedules change when they are made in the block."""
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
    """Returns an __init__ that first adds each parameter group and its cycled options to `touched`."""

    def __init__(self: LRScheduler, optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        for group in optimizer.param_groups:
            touched.append((group, {key: group[key] for key in CYCLED if key in group}))
        init(self, optimizer, *args, **kwargs)

    return __init__


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replaces an attribute of an object or a class during the block."""
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
    """Removes the sweep's temporary checkpoint if Lightning does not."""
    before = set(folder.glob(".lr_find_*.ckpt"))
    try:
        yield
    finally:
        for file in set(folder.glob(".lr_find_*.ckpt")) - before:
            file.unlink()


@contextmanager
def _any_content_read() -> Iterator[None]:
    """Lets torch read checkpoints with any content during the block.

    Lightning reads the sweep's with weights_only, which fails if there is a path among the hyper-parameters. Reading
    without it is safe, because this process has just written the file. Not during the whole sweep: the loading
    processes would inherit the variable.
    """
    setting = os.environ.get(FORCE_LOAD)
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
