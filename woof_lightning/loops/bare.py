"""A plain PyTorch loop, kept as short as possible: the reference for all other ways to train."""

from __future__ import annotations

if __name__ == "__main__":
    raise SystemExit("this file is not a script; run it with: woof loop bare")

import torch

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
    device = experiment.device
    net, optimizer, schedule = experiment.build()
    train_loader, val_loader = experiment.loaders()
    run.restore(net, optimizer, schedule)
    run.log_to_tensorboard()

    step = run.first_step
    for epoch in range(run.first_epoch, experiment.trainer.max_epochs):
        run.epoch_started()
        net.train()
        experiment.freeze(net, epoch)
        train_loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for images, labels in train_loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with experiment.autocast():
                logits = net(experiment.normalise(images))
                loss = experiment.loss(logits, labels)
            optimizer.zero_grad()
            loss.backward()
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
            for images, labels in val_loader:
                images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
                with experiment.autocast():
                    logits = net(experiment.normalise(images))
                means.update(logits, labels)
        if schedule.interval == "epoch":
            schedule.scheduler.step()
        run.epoch_ended(epoch, step, means, net, optimizer, schedule)
