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

from woof_lightning.changes.shared import EPOCHS, Trained, build_net, loaders, run_as_script


class Classifier(LightningModule):
    """A net with its loss, its metrics and its optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build_net()

    def on_train_epoch_start(self) -> None:
        """Freezes the backbone for two epochs."""
        self.net.backbone.requires_grad_(self.current_epoch >= 2)

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
        self.log("val/loss", F.cross_entropy(logits, labels))
        self.log("val/acc1", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> Any:
        """Returns the optimizer and the schedule."""
        groups = [{"params": self.net.head.parameters()}, {"params": self.net.backbone.parameters(), "lr": 0.01}]
        optimizer = SGD(groups, lr=0.1, momentum=0.9)
        scheduler = OneCycleLR(optimizer, max_lr=[0.1, 0.01], total_steps=self.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    module = Classifier()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=EPOCHS,
        log_every_n_steps=10,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=[ModelCheckpoint(folder, filename="last", enable_version_counter=False)],
    )
    trainer.fit(module, *loaders(), ckpt_path=folder / "last.ckpt" if resume else None)
    optimizer, scheduler = module.optimizers(), module.lr_schedulers()
    return {"net": module.net, "optimizer": optimizer, "scheduler": scheduler}


if __name__ == "__main__":
    run_as_script(train)
