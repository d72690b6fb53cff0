"""PyTorch Ignite: engines that call a function for each batch, and handlers of their events."""

from __future__ import annotations

if __name__ == "__main__":
    raise SystemExit("this file is not a script; run it with: woof loop ignite")

from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar, TensorboardLogger

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
    events = TensorboardLogger(log_dir=str(run.folder.path))

    def update(_: Engine, batch: Any) -> dict[str, Any]:
        images, labels = (part.to(device, non_blocking=True) for part in batch)
        # Not create_supervised_trainer: its amp_mode autocasts for CUDA only.
        with experiment.autocast():
            logits = net(experiment.normalise(images))
            loss = experiment.loss(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach(), "logits": logits.detach(), "labels": labels}

    def evaluate(engine: Any, batch: Any) -> None:
        images, labels = (part.to(device, non_blocking=True) for part in batch)
        with torch.no_grad(), experiment.autocast():
            logits = net(experiment.normalise(images))
        engine.state.means.update(logits, labels)

    trainer, evaluator = Engine(update), Engine(evaluate)
    ProgressBar(persist=False, disable=None).attach(trainer)

    @trainer.on(Events.EPOCH_STARTED)
    def start_epoch(engine: Any) -> None:
        run.epoch_started()
        net.train()
        # Engines count epochs from 1.
        experiment.freeze(net, engine.state.epoch - 1)
        train_loader.sampler.set_epoch(engine.state.epoch - 1)  # type: ignore[attr-defined]

    @trainer.on(Events.ITERATION_COMPLETED(every=experiment.report_every_n_steps))
    def report(engine: Any) -> None:
        values = training_report(**engine.state.output) | optimizer_report(optimizer)
        run.report(engine.state.epoch - 1, engine.state.iteration, values)

    # Added after `report`, which reports the learning rate that the step used.
    if schedule.interval == "step":
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: schedule.scheduler.step())

    @evaluator.on(Events.STARTED)
    def start_validation(engine: Any) -> None:
        run.validation_started()
        net.eval()
        engine.state.means = SplitMeans()

    @trainer.on(Events.EPOCH_COMPLETED)
    def end_epoch(engine: Any) -> None:
        state: Any = evaluator.run(val_loader)
        if schedule.interval == "epoch":
            schedule.scheduler.step()
        run.epoch_ended(engine.state.epoch - 1, engine.state.iteration, state.means, net, optimizer, schedule)

    def log(values: Any, step: int) -> None:
        for name, value in values.items():
            events.writer.add_scalar(name, value, step)

    run.loggers.append(log)
    epochs, epoch_length = experiment.trainer.max_epochs, experiment.train_batches
    trainer.load_state_dict({"epoch": run.first_epoch, "max_epochs": epochs, "epoch_length": epoch_length})
    if run.first_epoch < epochs:  # Ignite would start a finished engine over.
        trainer.run(train_loader, max_epochs=epochs, epoch_length=epoch_length)
    events.close()
