"""PyTorch Lightning as its documentation recommends it: a LightningModule that logs with self.log, and a Trainer."""

from __future__ import annotations

if __name__ == "__main__":
    raise SystemExit("this file is not a script; run it with: woof loop lightning")

from typing import Any, cast

import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from woof_lightning.data.loading import Batch
from woof_lightning.data.transforms import IMAGENET, Normalisation, normalise
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.run import LoopRun
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.head import freeze_backbone, parameter_groups
from woof_lightning.recipe.loss import Loss
from woof_lightning.recipe.optim import build_optimizer, build_schedule


def train(experiment: Experiment, run: LoopRun) -> None:
    """Trains an experiment and validates it after each epoch.

    Args:
        experiment: What to train.
        run: Where the results go, and where a resumed run starts.
    """
    trainer = Trainer(
        default_root_dir=run.folder.path,
        logger=TensorBoardLogger(run.folder.path, name="", version=""),
        callbacks=[
            ModelCheckpoint(run.folder.checkpoints, filename="best", monitor="val/acc1", mode="max"),
            ModelCheckpoint(run.folder.checkpoints, filename="last"),
            *([EMAWeightAveraging(decay=experiment.model.ema_decay)] if experiment.model.ema_decay is not None else []),
            TQDMProgressBar(),  # Lightning's default, unless the package rich is installed.
        ],
        max_epochs=experiment.trainer.max_epochs,
        accelerator=experiment.device.type,
        devices=1,
        precision=cast(Any, experiment.trainer.precision),
        log_every_n_steps=experiment.trainer.log_every_n_steps,
    )
    module = LightningClassifier(
        experiment.net(), experiment.model, run.description(), experiment.loss, experiment.start.normalisation
    )
    trainer.fit(module, *experiment.loaders(), ckpt_path=run.resume_from)


class LightningClassifier(LightningModule):
    """Trains a net and logs loss, top-1 and top-5 of every batch. Its checkpoints contain `description`."""

    def __init__(
        self, net: nn.Module, config: ModelConfig, description: dict[str, Any], loss: Loss = F.cross_entropy,
        normalisation: Normalisation = IMAGENET,
    ) -> None:  # fmt: skip
        super().__init__()
        self.net, self.config, self.description = net, config, description
        self.loss, self.normalisation = loss, normalisation
        self.train_acc1, self.val_acc1 = (MulticlassAccuracy(config.num_classes, average="micro") for _ in range(2))
        top = min(5, config.num_classes or 5)
        self.train_acc5, self.val_acc5 = (MulticlassAccuracy(config.num_classes, top, "micro") for _ in range(2))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the mean cross-entropy of a batch: images ([B, 3, H, W], uint8) and labels ([B], int64)."""
        images, labels = batch
        logits = self.net(normalise(images, self.config.channels_last, self.normalisation))
        loss = self.loss(logits, labels)
        self.train_acc1(logits, labels)
        self.train_acc5(logits, labels)
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/acc1", self.train_acc1, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/acc5", self.train_acc5, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the validation metrics."""
        images, labels = batch
        logits = self.net(normalise(images, self.config.channels_last, self.normalisation))
        self.val_acc1(logits, labels)
        self.val_acc5(logits, labels)
        self.log("val/loss", F.cross_entropy(logits, labels), prog_bar=True)
        self.log("val/acc1", self.val_acc1, prog_bar=True)
        self.log("val/acc5", self.val_acc5)

    def configure_optimizers(self) -> Any:
        """Returns the optimizer, and the schedule with the interval at which it steps."""
        optimizer = build_optimizer(parameter_groups(self, self.config, prefix="net."), self.config)
        schedule = build_schedule(optimizer, self.config, self.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": schedule.scheduler, "interval": schedule.interval}]

    def on_train_epoch_start(self) -> None:
        """Freezes the backbone in the first epochs."""
        freeze_backbone(self.net, self.config, self.current_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the description, which is needed to use the weights."""
        checkpoint.update(self.description)
