"""Lightning as people use it, and as lean as its public interface allows: variants that `woof cost` measures."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from woof_lightning.cost.ready import NEVER, ReadyExperiment
from woof_lightning.data.loading import Batch
from woof_lightning.data.transforms import normalise
from woof_lightning.recipe.metrics import SplitMeans, training_report
from woof_lightning.recipe.optim import build_optimizer, build_schedule, optimizer_report
from woof_lightning.runs.folder import RunFolder


class OneLog(LightningModule):
    """Trains a net and logs one value a step, as most modules do.

    Args:
        net: The net.
        experiment: Its settings.
    """

    def __init__(self, net: nn.Module, experiment: ReadyExperiment) -> None:
        super().__init__()
        self.net, self.model = net, experiment.model

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the mean cross-entropy of a batch: images ([B, 3, H, W], uint8) and labels ([B], int64)."""
        loss, _ = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the accuracy of a batch."""
        loss, logits = self.loss(batch)
        self.log("val_loss", loss)
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the mean cross-entropy of a batch and its logits ([B, C])."""
        images, labels = batch
        logits = self.net(normalise(images, self.model.channels_last))
        return F.cross_entropy(logits, labels), logits

    def configure_optimizers(self) -> Any:
        """Returns the optimizer, and the schedule with the interval at which it steps."""
        optimizer = build_optimizer(self.parameters(), self.model)
        schedule = build_schedule(optimizer, self.model, self.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": schedule.scheduler, "interval": schedule.interval}]


class Lean(OneLog):
    """Trains a net without self.log at each step: it reports to its loggers at every `report_every`-th step.

    Args:
        net: The net.
        experiment: Its settings.
    """

    def __init__(self, net: nn.Module, experiment: ReadyExperiment) -> None:
        super().__init__(net, experiment)
        self.report_every = experiment.report_every_n_steps
        self.means = SplitMeans()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the mean cross-entropy of a batch, and reports the batch if it is its turn."""
        loss, logits = self.loss(batch)
        step = self.global_step + 1
        if self.loggers and step % self.report_every == 0:
            report = training_report(loss, logits, batch[1]) | optimizer_report(self.trainer.optimizers[0])
            for logger in self.loggers:
                logger.log_metrics(report, step)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forgets the last validation."""
        self.means = SplitMeans()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the validation's means."""
        self.means.update(self.loss(batch)[1], batch[1])

    def on_validation_epoch_end(self) -> None:
        """Logs the means."""
        self.log_dict(self.means.over_images())


def lightning_one_log(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains with Lightning's defaults and a module that logs one value a step."""
    trainer = Trainer(
        logger=TensorBoardLogger(folder.path, name="", version=""),
        # Lightning's default bar. fastai installs rich; Lightning would then use the bar of rich.
        callbacks=[ModelCheckpoint(folder.checkpoints), TQDMProgressBar()],
        log_every_n_steps=experiment.trainer.log_every_n_steps,
        **trainer_options(experiment),
    )
    trainer.fit(OneLog(experiment.net(), experiment), *experiment.loaders())


def lightning_lean(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains as the bare loop does, with as little of Lightning as its public interface allows.

    Without reports it does not save either.

    Args:
        experiment: What to train.
        folder: The run's folder.
    """
    reports = experiment.trainer.log_every_n_steps != NEVER
    checkpoints: list[Any] = [
        ModelCheckpoint(folder.checkpoints, filename="best", monitor="val/acc1", mode="max"),
        ModelCheckpoint(folder.checkpoints, filename="last"),
    ]
    trainer = Trainer(
        default_root_dir=folder.path,
        logger=TensorBoardLogger(folder.path, name="", version="") if reports else False,
        callbacks=checkpoints if reports else [],
        enable_checkpointing=reports,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=experiment.trainer.log_every_n_steps,
        **trainer_options(experiment),
    )
    trainer.fit(Lean(experiment.net(), experiment), *experiment.loaders())


def trainer_options(experiment: ReadyExperiment) -> dict[str, Any]:
    """Returns the settings that all ways with Lightning's Trainer share."""
    return {
        "max_epochs": experiment.trainer.max_epochs,
        "accelerator": experiment.device.type,
        "devices": 1,
        "precision": experiment.trainer.precision,
        "use_distributed_sampler": False,
    }
