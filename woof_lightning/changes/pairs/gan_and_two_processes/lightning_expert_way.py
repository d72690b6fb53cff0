"""Trains a net with PyTorch Lightning."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler
from torchmetrics import MeanMetric

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

PROCESSES = 2


class Gan(LightningModule):
    """A generator and a critic with their losses and their optimizers."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = build_generator(), build_critic()
        self.automatic_optimization = False
        self.val_loss = MeanMetric()

    def train_dataloader(self) -> DataLoader[Any]:
        """Returns this process's half of each training batch."""
        images = loaders()[0].dataset
        return DataLoader(images, 4, sampler=DistributedSampler(images, PROCESSES, self.global_rank, shuffle=False))

    def val_dataloader(self) -> DataLoader[Any]:
        """Returns this process's validation images, none of them twice."""
        images = loaders()[1].dataset
        return DataLoader(images, 4, sampler=range(self.global_rank, len(images), PROCESSES))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Takes a step of the critic and one of the generator."""
        images, _ = batch
        optimizer, critic_optimizer = self.optimizers()
        # Each process makes its own share of the fakes. global_step counts the steps of both optimizers.
        noise = draw_noise(PROCESSES * len(images), self.global_step // 2)[self.global_rank :: PROCESSES]
        fakes = self.generator(noise.to(self.device))
        critic_loss = realness_loss(self.critic(images), 1) + realness_loss(self.critic(fakes.detach()), 0)
        critic_optimizer.zero_grad()
        self.manual_backward(critic_loss)
        critic_optimizer.step()
        loss = realness_loss(self.critic(fakes), 1)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.log("train/loss", loss)
        self.log("train/critic_loss", critic_loss)

    def on_train_epoch_end(self) -> None:
        """Steps the schedules, which manual optimization leaves to us."""
        for scheduler in self.lr_schedulers():
            scheduler.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Adds a batch to the metrics."""
        images, _ = batch
        self.val_loss.update(realness_loss(self.critic(images), 1), weight=len(images))
        self.log("val/loss", self.val_loss)

    def configure_optimizers(self) -> Any:
        """Returns the optimizers and the schedules."""
        optimizers = [SGD(net.parameters(), lr=0.1, momentum=0.9) for net in (self.generator, self.critic)]
        return optimizers, [StepLR(optimizer, step_size=1, gamma=0.5) for optimizer in optimizers]


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    module = Gan()
    trainer = Trainer(
        accelerator="cpu",
        devices=PROCESSES,
        strategy="ddp_find_unused_parameters_true",
        use_distributed_sampler=False,
        max_epochs=EPOCHS,
        log_every_n_steps=10,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=[ModelCheckpoint(folder, filename="last", enable_version_counter=False)],
    )
    trainer.fit(module, ckpt_path=folder / "last.ckpt" if resume else None)
    (optimizer, critic_optimizer), (scheduler, critic_scheduler) = module.optimizers(), module.lr_schedulers()
    return {
        "net": module.generator,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "critic": module.critic,
        "critic_optimizer": critic_optimizer,
        "critic_scheduler": critic_scheduler,
    }


if __name__ == "__main__":
    run_as_script(train, PROCESSES)
