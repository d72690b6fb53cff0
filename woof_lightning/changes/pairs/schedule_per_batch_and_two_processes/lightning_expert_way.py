"""Trains a net with PyTorch Lightning."""

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, DistributedSampler
from torchmetrics import MeanMetric

from woof_lightning.changes.shared import EPOCHS, Trained, build_net, loaders, run_as_script

PROCESSES = 2


class Classifier(LightningModule):
    """A net with its loss, its metrics and its optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build_net()
        self.val_loss, self.val_acc1 = MeanMetric(), MeanMetric()

    def train_dataloader(self) -> DataLoader[Any]:
        """Returns this process's half of each training batch."""
        images = loaders()[0].dataset
        return DataLoader(images, 4, sampler=DistributedSampler(images, PROCESSES, self.global_rank, shuffle=False))

    def val_dataloader(self) -> DataLoader[Any]:
        """Returns this process's validation images, none of them twice."""
        images = loaders()[1].dataset
        return DataLoader(images, 4, sampler=range(self.global_rank, len(images), PROCESSES))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Returns the loss of a batch."""
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Adds a batch to the metrics."""
        images, labels = batch
        logits = self.net(images)
        self.val_loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        self.log("val/loss", self.val_loss)
        self.val_acc1.update((logits.argmax(1) == labels).float())
        self.log("val/acc1", self.val_acc1)

    def configure_optimizers(self) -> Any:
        """Returns the optimizer and the schedule."""
        optimizer = SGD(self.parameters(), lr=0.1, momentum=0.9)
        scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=self.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    module = Classifier()
    trainer = Trainer(
        accelerator="cpu",
        devices=PROCESSES,
        strategy="ddp",
        use_distributed_sampler=False,
        max_epochs=EPOCHS,
        log_every_n_steps=10,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=[ModelCheckpoint(folder, filename="last", enable_version_counter=False)],
    )
    trainer.fit(module, ckpt_path=folder / "last.ckpt" if resume else None)
    optimizer, scheduler = module.optimizers(), module.lr_schedulers()
    return {"net": module.net, "optimizer": optimizer, "scheduler": scheduler}


if __name__ == "__main__":
    run_as_script(train, PROCESSES)
