"""Trains a net with fastai."""

from functools import partial
from pathlib import Path

import numpy as np
from fastai.callback.core import Callback
from fastai.callback.schedule import ParamScheduler
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.optimizer import OptimWrapper
from fastai.torch_core import params
from torch.optim import SGD
from torch.utils.tensorboard import SummaryWriter

from woof_lightning.changes.shared import EPOCHS, Trained, build_net, loaders, run_as_script


class Report(Callback):
    """Reports each tenth step and each validation."""

    order = 60  # After fastai's Recorder, which computes the means of the validation.

    def __init__(self, writer: SummaryWriter) -> None:
        self.writer = writer

    def after_step(self) -> None:
        """Reports a step."""
        step = self.epoch * self.n_iter + self.iter + 1
        if step % 10 == 0:
            self.writer.add_scalar("train/loss", self.loss, step)

    def after_validate(self) -> None:
        """Reports the means of a validation."""
        _, val_loss, acc1 = self.recorder.log[1:]
        step = (self.epoch + 1) * len(self.dls.train)
        self.writer.add_scalar("val/loss", val_loss, step)
        self.writer.add_scalar("val/acc1", acc1, step)


class Freeze(Callback):
    """Freezes the backbone for two epochs, without emptying the optimizer as `Learner.freeze` does."""

    def before_epoch(self) -> None:
        """Freezes or unfreezes before each epoch."""
        self.opt.freeze_to(-1 if self.epoch < 2 else 0)


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    writer = SummaryWriter(folder)
    learner = Learner(
        DataLoaders(*loaders()),
        build_net(),
        CrossEntropyLossFlat(),
        partial(OptimWrapper, opt=SGD, momentum=0.9),
        lr=0.1,
        splitter=lambda net: [params(net.backbone), params(net.head)],
        train_bn=False,
        metrics=accuracy,
        path=folder,
        model_dir=".",
    )
    saver = SaveModelCallback(fname="epoch", every_epoch=True, with_opt=True)
    scheduler = ParamScheduler({"lr": lambda share: np.array([0.01, 0.1]) * 0.5 ** int(share * EPOCHS)})
    first_epoch = len(list(folder.glob("epoch_*.pth"))) if resume else 0
    if resume:
        learner.load(f"epoch_{first_epoch - 1}", with_opt=True)
    learner.fit(EPOCHS, cbs=[Report(writer), saver, scheduler, Freeze()], start_epoch=first_epoch)
    writer.close()
    return {"net": learner.model, "optimizer": learner.opt}


if __name__ == "__main__":
    run_as_script(train)
