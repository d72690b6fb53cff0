"""fastai: a Learner, with one callback for everything that the recipe adds to it."""

from __future__ import annotations

if __name__ == "__main__":
    raise SystemExit("this file is not a script; run it with: woof loop fastai")

import sys
from contextlib import nullcontext
from typing import Any

import fastai.callback.progress  # noqa: F401  Adds progress bars and no_bar() to Learner.
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper

from woof_lightning.errors import UserError
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.run import LoopRun
from woof_lightning.recipe.metrics import SplitMeans, training_report
from woof_lightning.recipe.optim import Schedule, optimizer_report


def train(experiment: Experiment, run: LoopRun) -> None:
    """Trains an experiment and validates it after each epoch.

    Args:
        experiment: What to train.
        run: Where the results go, and where a resumed run starts.

    Raises:
        UserError: If the precision is not 32-true. fastai supports mixed precision on CUDA only.
    """
    if experiment.trainer.precision != "32-true":
        raise UserError(
            f"trainer.precision is {experiment.trainer.precision!r}: expected 32-true, since fastai's mixed precision "
            "works on CUDA only (callback/fp16.py autocasts for cuda); use 32-true or another loop"
        )
    net, optimizer, schedule = experiment.build()
    learner = Learner(
        DataLoaders(*experiment.loaders(), device=experiment.device),
        net,
        loss_func=experiment.loss,
        opt_func=OptimWrapper(opt=optimizer),
        cbs=[Recipe(experiment, run, schedule)],
    )
    run.log_to_tensorboard()
    try:
        # The run prints the losses already, so fastai's table of losses is switched off.
        with nullcontext() if sys.stdout.isatty() else learner.no_bar(), learner.no_logging():
            learner.fit(experiment.trainer.max_epochs, start_epoch=run.first_epoch)
    finally:
        # Reference cycles keep a Learner alive: its loading processes would live until the next garbage collection.
        learner.dls = learner.dl = None


class Recipe(Callback):  # type: ignore[misc]
    """Adds to a Learner what the recipe needs: epochs of the sampler, normalised images, schedule, reports."""

    def __init__(self, experiment: Experiment, run: LoopRun, schedule: Schedule) -> None:
        super().__init__()
        self.experiment, self.loop_run, self.schedule = experiment, run, schedule
        # A resumed Learner counts its steps from 0 again.
        self.step = run.first_step

    def before_fit(self) -> None:
        """Restores the schedule's first learning rates, which `Learner.fit` has overwritten, and a resumed run."""
        optimizer: Any = self.learn.opt.opt
        for group, lr in zip(optimizer.param_groups, self.schedule.scheduler.get_last_lr(), strict=True):
            group["lr"] = lr
        self.loop_run.restore(self.learn.model, optimizer, self.schedule)

    def before_epoch(self) -> None:
        """Sets the epoch of the sampler."""
        self.loop_run.epoch_started()
        self.learn.dls.train.sampler.set_epoch(self.learn.epoch)

    def before_train(self) -> None:
        """Freezes the backbone, after the Learner has set the training mode."""
        self.experiment.freeze(self.learn.model, self.learn.epoch)

    def before_validate(self) -> None:
        """Resets the means of the validation."""
        self.loop_run.validation_started()
        self.means = SplitMeans()

    def before_batch(self) -> None:
        """Normalises the images."""
        self.learn.xb = (self.experiment.normalise(self.learn.xb[0]),)

    def after_step(self) -> None:
        """Reports the step, then steps the schedule."""
        self.step += 1
        optimizer: Any = self.learn.opt.opt
        if self.step % self.experiment.report_every_n_steps == 0:
            report = training_report(self.learn.loss_grad, self.learn.pred, self.learn.yb[0])
            self.loop_run.report(self.learn.epoch, self.step, report | optimizer_report(optimizer))
        if self.schedule.interval == "step":
            self.schedule.scheduler.step()

    def after_batch(self) -> None:
        """Adds a validation batch to the means."""
        if not self.learn.training:
            self.means.update(self.learn.pred, self.learn.yb[0])

    def after_epoch(self) -> None:
        """Steps the schedule, logs and saves the epoch."""
        if self.learn.epoch < self.loop_run.first_epoch:
            return  # After a resume, Learner skips the earlier epochs but still calls after_epoch for each.
        if self.schedule.interval == "epoch":
            self.schedule.scheduler.step()
        self.loop_run.epoch_ended(
            self.learn.epoch, self.step, self.means, self.learn.model, self.learn.opt.opt, self.schedule
        )
