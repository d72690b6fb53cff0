"""The waterfall: common features added one by one, in Lightning's Trainer and in a loop by hand."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from woof_lightning.cost.ready import ReadyExperiment
from woof_lightning.cost.ways import MEASURED, MeasuredWay, default_bar, fit
from woof_lightning.data.loading import Batch
from woof_lightning.data.transforms import normalise
from woof_lightning.errors import UserError
from woof_lightning.loops.ways import REFERENCE, WAYS
from woof_lightning.recipe.optim import learning_rates
from woof_lightning.runs.folder import RunFolder

# Each is added to those before it. The first is the loop alone.
FEATURES = {
    "alone": "nothing but forward and backward pass and the optimizer's step",
    "scheduler": "one-cycle, stepped per batch",
    "bar": "a progress bar on a terminal: Lightning's default, or tqdm",
    "logger": "TensorBoard opened, nothing logged",
    "logged_value": "the loss, to TensorBoard every 10th step: self.log, or add_scalar",
    "torchmetrics": "top-1 and top-5 by two torchmetrics objects at each step, logged every 10th",
    "checkpoint": "the checkpoint of the epoch's end: ModelCheckpoint, or torch.save",
    "callbacks": "the learning rate, logged every 10th step: LearningRateMonitor, or add_scalar",
}
SIDES = ("lightning", "hand")


def features_up_to(name: str) -> frozenset[str]:
    """Returns a feature and all features before it."""
    names = list(FEATURES)
    return frozenset(names[: names.index(name) + 1])


def with_lightning(last: str, experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains with Lightning's Trainer and the features up to `last`."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import Callback, LearningRateMonitor

    from woof_lightning.cost.lightnings import trainer_options

    on = features_up_to(last)
    callbacks: list[Callback] = [LearningRateMonitor("step")] if "callbacks" in on else []
    callbacks += [default_bar()] if "bar" in on else []
    trainer = Trainer(
        default_root_dir=folder.path,
        logger="logger" in on,
        enable_progress_bar="bar" in on,
        enable_checkpointing="checkpoint" in on,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=experiment.trainer.log_every_n_steps,
        callbacks=callbacks,
        **trainer_options(experiment),
    )
    fit(trainer, featured_module(on, experiment), experiment)


def featured_module(on: frozenset[str], experiment: ReadyExperiment) -> Any:
    """Returns a LightningModule that has the given features."""
    from lightning.pytorch import LightningModule

    class Featured(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.optimizer, self.schedule = experiment.build()
            self.metrics = torch.nn.ModuleDict(accuracies() if "torchmetrics" in on else {})

        def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
            images, labels = batch
            logits = self.net(normalise(images, experiment.model.channels_last))
            loss = F.cross_entropy(logits, labels)
            if "logged_value" in on:
                self.log("train/loss", loss)
            metrics: Any = self.metrics
            for name, metric in metrics.items():
                metric(logits, labels)
                self.log(f"train/{name}", metric)
            return loss

        def configure_optimizers(self) -> Any:
            if "scheduler" not in on:
                return self.optimizer
            return [self.optimizer], [{"scheduler": self.schedule.scheduler, "interval": "step"}]

    return Featured()


def by_hand(last: str, experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains with a loop by hand and the features up to `last`."""
    on = features_up_to(last)
    device = experiment.device
    net, optimizer, schedule = experiment.build()
    writer = None
    if "logger" in on:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(folder.path))
    metrics = accuracies() if "torchmetrics" in on else {}
    loader: Iterable[Batch] = experiment.loaders()[0]
    if "bar" in on:
        from tqdm import tqdm

        loader = tqdm(loader)
    for step, (images, labels) in enumerate(loader, start=1):
        images, labels = images.to(device), labels.to(device)
        with experiment.autocast():
            logits = net(normalise(images, experiment.model.channels_last))
            loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        values = {f"train/{name}": metric(logits, labels) for name, metric in metrics.items()}
        if writer is not None and step % experiment.trainer.log_every_n_steps == 0:
            if "logged_value" in on:
                values["train/loss"] = loss.detach()
            if "callbacks" in on:
                values.update(learning_rates(optimizer))
            for name, value in values.items():
                writer.add_scalar(name, float(value), step)
        if "scheduler" in on:
            schedule.scheduler.step()
    if "checkpoint" in on:
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, folder.checkpoints / "last.ckpt")
    if writer is not None:
        writer.close()


def accuracies() -> dict[str, Any]:
    """Returns top-1 and top-5 accuracy of torchmetrics."""
    from torchmetrics.classification import MulticlassAccuracy

    from woof_lightning.cost.ready import CLASSES

    return {f"acc{k}": MulticlassAccuracy(CLASSES, top_k=k, average="micro") for k in (1, 5)}


FEATURE_WAYS: dict[str, MeasuredWay] = {
    **{f"lightning:{name}": MeasuredWay(partial(with_lightning, name), WAYS["lightning"]) for name in FEATURES},
    **{f"hand:{name}": MeasuredWay(partial(by_hand, name), WAYS[REFERENCE]) for name in FEATURES},
}


def way_named(name: str) -> MeasuredWay:
    """Returns a way of the comparison or of the waterfall by its name.

    Raises:
        UserError: If there is no way of that name.
    """
    known = MEASURED | FEATURE_WAYS
    if name not in known:
        raise UserError(f"{name} is no way: expected one of {', '.join(known)}")
    return known[name]
