"""Trains a net with fastai."""

from functools import partial
from pathlib import Path

from fastai.callback.core import Callback
from fastai.callback.schedule import ParamScheduler
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.optimizer import OptimWrapper
from fastai.vision.gan import FixedGANSwitcher, GANLearner
from torch.optim import SGD
from torch.utils.tensorboard import SummaryWriter

from woof_lightning.changes.shared import (
    EPOCHS,
    Trained,
    build_critic,
    build_generator,
    draw_noise,
    loaders,
    realness_loss,
    run_as_script,
)


class Noise(Callback):
    """Gives noise to the generator, and images to the critic."""

    order = -1  # Before GANTrainer, which exchanges both where the critic is trained.

    def before_batch(self) -> None:
        """Puts noise in the place of the images, which become the target."""
        step = self.epoch * self.n_iter + self.iter
        self.learn.xb, self.learn.yb = (draw_noise(len(self.x), step),), self.xb


class Report(Callback):
    """Reports each tenth step and each validation."""

    order = 60  # After fastai's Recorder, which computes the means of the validation.

    def __init__(self, writer: SummaryWriter) -> None:
        self.writer = writer

    def after_step(self) -> None:
        """Reports a step."""
        step = self.epoch * self.n_iter + self.iter + 1
        if step % 10 == 0:
            tag = "train/loss" if self.gan_trainer.gen_mode else "train/critic_loss"
            self.writer.add_scalar(tag, self.loss, step)

    def after_validate(self) -> None:
        """Reports the means of a validation."""
        _, val_loss, *_ = self.recorder.log[1:]
        step = (self.epoch + 1) * len(self.dls.train)
        self.writer.add_scalar("val/loss", val_loss, step)


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    writer = SummaryWriter(folder)
    learner = GANLearner(
        DataLoaders(*loaders()),
        build_generator(),
        build_critic(),
        lambda answers, fakes, images: realness_loss(answers, 1),
        lambda real, fake: realness_loss(real, 1) + realness_loss(fake, 0),
        FixedGANSwitcher(n_crit=1, n_gen=1),
        opt_func=partial(OptimWrapper, opt=SGD, momentum=0.9),
        lr=0.1,
        path=folder,
        model_dir=".",
    )
    saver = SaveModelCallback(fname="epoch", every_epoch=True, with_opt=True)
    scheduler = ParamScheduler({"lr": lambda share: 0.1 * 0.5 ** int(share * EPOCHS)})
    first_epoch = len(list(folder.glob("epoch_*.pth"))) if resume else 0
    if resume:
        learner.load(f"epoch_{first_epoch - 1}", with_opt=True)
    learner.fit(EPOCHS, cbs=[Noise(), Report(writer), saver, scheduler], start_epoch=first_epoch)
    writer.close()
    return {"net": learner.model.generator, "critic": learner.model.critic, "optimizer": learner.opt}


if __name__ == "__main__":
    run_as_script(train)
