"""Trains a net with PyTorch Ignite."""

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
import torch.nn.functional as F
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, TensorboardLogger
from ignite.metrics import Accuracy, Loss
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from woof_lightning.changes.shared import EPOCHS, Trained, build_net, loaders, run_as_script

PROCESSES = 2


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    idist.initialize("gloo")
    rank = idist.get_rank()
    net = idist.auto_model(build_net())
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    train_set, val_set = (loader.dataset for loader in loaders())
    train_loader = idist.auto_dataloader(train_set, batch_size=8, shuffle=False)
    val_loader = DataLoader(val_set, 4, sampler=range(rank, len(val_set), PROCESSES))
    trainer = create_supervised_trainer(net, optimizer, F.cross_entropy)
    evaluator = create_supervised_evaluator(net, {"loss": Loss(F.cross_entropy), "acc1": Accuracy()})
    logger = TensorboardLogger(log_dir=folder) if rank == 0 else None

    @trainer.on(Events.ITERATION_COMPLETED(every=10))
    def report(engine: Any) -> None:
        if logger:
            logger.writer.add_scalar("train/loss", engine.state.output, engine.state.iteration)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: scheduler.step())

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine: Any) -> None:
        metrics = evaluator.run(val_loader).metrics
        if logger:
            logger.writer.add_scalar("val/loss", metrics["loss"], engine.state.iteration)
            logger.writer.add_scalar("val/acc1", metrics["acc1"], engine.state.iteration)

    to_save = {"net": net, "optimizer": optimizer, "scheduler": scheduler, "trainer": trainer}
    saver = Checkpoint(to_save, str(folder), filename_pattern="last.ckpt", include_self=False)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, saver)
    if resume:
        Checkpoint.load_objects(to_save, torch.load(folder / "last.ckpt"))
    if trainer.state.epoch < EPOCHS:  # Ignite would begin a finished training anew.
        trainer.run(train_loader, max_epochs=EPOCHS)
    if logger:
        logger.close()
    idist.finalize()
    return {"net": net, "optimizer": optimizer, "scheduler": scheduler}


if __name__ == "__main__":
    run_as_script(train, PROCESSES)
