"""Hugging Face Accelerate: a hand-written loop on parts that Accelerate has prepared for the device."""

from __future__ import annotations

if __name__ == "__main__":
    raise SystemExit("this file is not a script; run it with: woof loop accelerate")

import sys

import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, tqdm

from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.run import LoopRun
from woof_lightning.recipe.metrics import SplitMeans, training_report
from woof_lightning.recipe.optim import Schedule, optimizer_report


def train(experiment: Experiment, run: LoopRun) -> None:
    """Trains an experiment and validates it after each epoch.

    Args:
        experiment: What to train.
        run: Where the results go, and where a resumed run starts.
    """
    # Accelerate keeps precision and device in a process-wide state, which refuses another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=experiment.device.type == "cpu",
        mixed_precision="bf16" if experiment.trainer.precision == "bf16-mixed" else "no",
        # data.batch_size is that of all devices together, so the schedule steps once for each of its batches.
        dataloader_config=DataLoaderConfiguration(split_batches=True),
        log_with="tensorboard",
        project_dir=run.folder.path.parent,
    )
    accelerator.init_trackers(run.folder.path.name)
    net, optimizer, schedule = experiment.build()
    # Not accelerator.prepare: the loaders have the shares of this device already.
    train_loader, val_loader = (
        prepare_data_loader(loader, accelerator.device, num_processes=1, put_on_device=True)
        for loader in experiment.loaders()
    )
    run.restore(net, optimizer, schedule)
    run.loggers.append(lambda values, step: accelerator.log(dict(values), step))
    net, optimizer, scheduler = accelerator.prepare(net, optimizer, schedule.scheduler)
    schedule = Schedule(scheduler, schedule.interval)

    step = run.first_step
    for epoch in range(run.first_epoch, experiment.trainer.max_epochs):
        run.epoch_started()
        net.train()
        experiment.freeze(accelerator.unwrap_model(net), epoch)
        # The prepared loader sets the sampler's epoch to its own count of rounds, which is 0 after a resume.
        train_loader.set_epoch(epoch)
        # Not disable=None: Accelerate's tqdm would draw a bar without a terminal too.
        for images, labels in tqdm(
            train_loader, desc=f"epoch {epoch + 1}", disable=not sys.stderr.isatty(), leave=False
        ):
            with accelerator.autocast():
                logits = net(experiment.normalise(images))
                loss = experiment.loss(logits, labels)
            optimizer.zero_grad()
            accelerator.backward(experiment.weighted(loss, step))
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
                with accelerator.autocast():
                    logits = net(experiment.normalise(images))
                means.update(logits, labels)
        if schedule.interval == "epoch":
            schedule.scheduler.step()
        run.epoch_ended(epoch, step, means, accelerator.unwrap_model(net), optimizer, schedule)
    accelerator.end_training()
