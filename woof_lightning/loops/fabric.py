"""Lightning Fabric: a hand-written loop on Lightning's devices, precision and loggers."""

from __future__ import annotations

if __name__ == "__main__":
    raise SystemExit("this file is not a script; run it with: woof loop fabric")

from typing import Any, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from tqdm import tqdm

from woof_lightning.data.sampling import sampler_of
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.run import LoopRun
from woof_lightning.recipe.metrics import SplitMeans, training_report
from woof_lightning.recipe.optim import optimizer_report


def train(experiment: Experiment, run: LoopRun) -> None:
    """Trains an experiment and validates it after each epoch.

    Args:
        experiment: What to train.
        run: Where the results go, and where a resumed run starts.
    """
    fabric = Fabric(
        accelerator=experiment.device.type,
        devices=experiment.trainer.device_count,
        precision=cast(Any, experiment.trainer.precision),
        loggers=TensorBoardLogger(run.folder.path.parent, name=run.folder.path.name, version=""),
    )
    fabric.launch()
    net, optimizer, schedule = experiment.build()
    train_loader, val_loader = experiment.loaders()
    run.restore(net, optimizer, schedule)
    run.loggers.append(lambda values, step: fabric.log_dict(values, step))
    net, optimizer = fabric.setup(net, optimizer)
    # Not fabric.setup_dataloaders: it sets the sampler's epoch to its own count of rounds, which is 0 after a resume.
    # None draws a bar if there is a terminal.
    no_bar = None if fabric.is_global_zero else True

    step = run.first_step
    for epoch in range(run.first_epoch, experiment.trainer.max_epochs):
        run.epoch_started()
        net.train()
        experiment.freeze(net.module, epoch)
        sampler_of(train_loader).set_epoch(epoch)
        for batch in tqdm(train_loader, desc=f"epoch {epoch + 1}", disable=no_bar, leave=False):
            images, labels = fabric.to_device(batch)
            with fabric.autocast():
                logits = net(experiment.normalise(images))
                loss = experiment.loss(logits, labels)
            optimizer.zero_grad()
            fabric.backward(experiment.weighted(loss, step))
            optimizer.step()
            step += 1
            if step % experiment.report_every_n_steps == 0:
                run.report(epoch, step, training_report(loss, logits, labels) | optimizer_report(optimizer))
            if schedule.interval == "step":
                schedule.scheduler.step()

        run.validation_started()
        net.eval()
        means = SplitMeans()
        with torch.no_grad():
            for batch in val_loader:
                images, labels = fabric.to_device(batch)
                with fabric.autocast():
                    logits = net(experiment.normalise(images))
                means.update(logits, labels)
        if schedule.interval == "epoch":
            schedule.scheduler.step()
        run.epoch_ended(epoch, step, means, net, optimizer, schedule)
    fabric.logger.finalize("success")
