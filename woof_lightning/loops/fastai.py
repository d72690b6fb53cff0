"""fastai: its Learner and callbacks, fed with the recipe's optimizer and schedule."""

from __future__ import annotations

if __name__ == "__main__":
    raise SystemExit("this file is no script; run it with: woof loop fastai")

import sys
from contextlib import nullcontext
from typing import Any

import fastai.callback.progress  # noqa: F401  Gives Learner its bars and no_bar().
import torch.nn.functional as F
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper

from woof_lightning.data.transforms import normalise
from woof_lightning.errors import UserError
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.run import LoopRun
from woof_lightning.recipe.metrics import SplitMeans, training_report
from woof_lightning.recipe.optim import Schedule, optimizer_report


def train(experiment: Experiment, run: LoopRun) -> None:
    """Trains and validates, epoch by epoch.

    Args:
        experiment: What is trained.
        run: Where its results go.

    Raises:
        UserError: With bf16 on a CPU, which fastai does not offer.
    """
    if experiment.trainer.precision != "32-true":
        raise UserError(
            f"trainer.precision is {experiment.trainer.precision!r}: fastai's mixed precision is for CUDA alone "
            "(callback/fp16.py autocasts for cuda); use 32-true, or another loop"
        )
    net, optimizer, schedule = experiment.build()
    learner = Learner(
        DataLoaders(*experiment.loaders(), device=experiment.device),
        net,
        loss_func=F.cross_entropy,
        opt_func=OptimWrapper(opt=optimizer),
        cbs=[Recipe(experiment, run, schedule)],
    )
    run.log_to_tensorboard()
    try:
        # Its table of losses repeats what the run prints.
        with nullcontext() if sys.stdout.isatty() else learner.no_bar(), learner.no_logging():
            learner.fit(experiment.trainer.max_epochs, start_epoch=run.first_epoch)
    finally:
        # A Learner is part of reference cycles: its loaders' workers would live until a garbage collection.
        learner.dls = learner.dl = None


class Recipe(Callback):  # type: ignore[misc]
    """Everything of the recipe that a Learner does not know."""

    def __init__(self, experiment: Experiment, run: LoopRun, schedule: Schedule) -> None:
        super().__init__()
        self.experiment, self.run, self.schedule = experiment, run, schedule
        # A Learner has no count of all steps that goes on when it is resumed.
        self.step = run.first_step

    def before_fit(self) -> None:
        """Restores a resumed run, and the schedule's first learning rates, which `fit` has overwritten."""
        optimizer: Any = self.learn.opt.opt
        for group, lr in zip(optimizer.param_groups, self.schedule.scheduler.get_last_lr(), strict=True):
            group["lr"] = lr
        self.run.restore(self.learn.model, optimizer, self.schedule)

    def before_epoch(self) -> None:
        """Says which epoch it is."""
        self.run.epoch_started()
        self.learn.dls.train.sampler.set_epoch(self.learn.epoch)

    def before_validate(self) -> None:
        """Starts the validation's means."""
        self.run.validation_started()
        self.means = SplitMeans()

    def before_batch(self) -> None:
        """Normalises the images."""
        self.learn.xb = (normalise(self.learn.xb[0], self.experiment.model.channels_last),)

    def after_step(self) -> None:
        """Reports the step, and then steps the schedule."""
        self.step += 1
        optimizer: Any = self.learn.opt.opt
        if self.step % self.experiment.trainer.log_every_n_steps == 0:
            report = training_report(self.learn.loss_grad, self.learn.pred, self.learn.yb[0])
            self.run.report(self.learn.epoch, self.step, report | optimizer_report(optimizer))
        if self.schedule.interval == "step":
            self.schedule.scheduler.step()

    def after_batch(self) -> None:
        """Adds a validation batch to the means."""
        if not self.learn.training:
            self.means.update(self.learn.pred, self.learn.yb[0])

    def after_epoch(self) -> None:
        """Steps the schedule, logs and saves."""
        if self.learn.epoch < self.run.first_epoch:
            return  # A resumed run's Learner skips its first epochs, but ends them.
        if self.schedule.interval == "epoch":
            self.schedule.scheduler.step()
        self.run.epoch_ended(
            self.learn.epoch, self.step, self.means, self.learn.model, self.learn.opt.opt, self.schedule
        )
