"""Trains a net with PyTorch Ignite."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, EMAHandler, TensorboardLogger
from ignite.metrics import Accuracy, Loss
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from woof_lightning.changes.shared import EPOCHS, Trained, build_net, loaders, run_as_script


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    net = build_net()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    train_loader, val_loader = loaders()
    trainer = create_supervised_trainer(net, optimizer, F.cross_entropy)
    ema = EMAHandler(net, momentum=0.1, handle_buffers="update")
    ema.attach(trainer)
    evaluator = create_supervised_evaluator(ema.ema_model, {"loss": Loss(F.cross_entropy), "acc1": Accuracy()})
    logger = TensorboardLogger(log_dir=folder)

    @trainer.on(Events.ITERATION_COMPLETED(every=10))
    def report(engine: Any) -> None:
        logger.writer.add_scalar("train/loss", engine.state.output, engine.state.iteration)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: scheduler.step())

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine: Any) -> None:
        metrics = evaluator.run(val_loader).metrics
        logger.writer.add_scalar("val/loss", metrics["loss"], engine.state.iteration)
        logger.writer.add_scalar("val/acc1", metrics["acc1"], engine.state.iteration)

    to_save = {"net": net, "ema": ema.ema_model, "optimizer": optimizer, "scheduler": scheduler, "trainer": trainer}
    saver = Checkpoint(to_save, str(folder), filename_pattern="last.ckpt", include_self=False)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, saver)
    if resume:
        Checkpoint.load_objects(to_save, torch.load(folder / "last.ckpt"))
    if trainer.state.epoch < EPOCHS:  # Ignite would begin a finished training anew.
        trainer.run(train_loader, max_epochs=EPOCHS)
    logger.close()
    return {"net": net, "ema": ema.ema_model, "optimizer": optimizer, "scheduler": scheduler}


if __name__ == "__main__":
    run_as_script(train)
