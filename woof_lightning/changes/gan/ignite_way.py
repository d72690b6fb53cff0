"""Trains a net with PyTorch Ignite."""

from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events, create_supervised_evaluator
from ignite.handlers import Checkpoint, TensorboardLogger
from ignite.metrics import Loss
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from woof_lightning.changes.shared import (
    EPOCHS,
    Trained,
    build_critic,
    build_generator,
    draw_noise,
    loaders,
    realness_loss,
    run_as_script,
)


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    generator, critic = build_generator(), build_critic()
    optimizer = SGD(generator.parameters(), lr=0.1, momentum=0.9)
    critic_optimizer = SGD(critic.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    critic_scheduler = StepLR(critic_optimizer, step_size=1, gamma=0.5)
    train_loader, val_loader = loaders()

    def update(engine: Any, batch: Any) -> Any:
        images, _ = batch
        generator.train()
        critic.train()
        fakes = generator(draw_noise(len(images), engine.state.iteration - 1))
        critic_loss = realness_loss(critic(images), 1) + realness_loss(critic(fakes.detach()), 0)
        critic_optimizer.zero_grad()
        critic_loss.backward()
        critic_optimizer.step()
        loss = realness_loss(critic(fakes), 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, critic_loss

    trainer = Engine(update)
    realness = Loss(lambda logits, _: realness_loss(logits, 1))
    evaluator = create_supervised_evaluator(critic, {"loss": realness})
    logger = TensorboardLogger(log_dir=folder)

    @trainer.on(Events.ITERATION_COMPLETED(every=10))
    def report(engine: Any) -> None:
        loss, critic_loss = engine.state.output
        logger.writer.add_scalar("train/loss", loss, engine.state.iteration)
        logger.writer.add_scalar("train/critic_loss", critic_loss, engine.state.iteration)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: scheduler.step())
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: critic_scheduler.step())

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine: Any) -> None:
        metrics = evaluator.run(val_loader).metrics
        logger.writer.add_scalar("val/loss", metrics["loss"], engine.state.iteration)

    to_save = {"generator": generator, "optimizer": optimizer, "scheduler": scheduler, "trainer": trainer}
    to_save |= {"critic": critic, "critic_optimizer": critic_optimizer, "critic_scheduler": critic_scheduler}
    saver = Checkpoint(to_save, str(folder), filename_pattern="last.ckpt", include_self=False)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, saver)
    if resume:
        Checkpoint.load_objects(to_save, torch.load(folder / "last.ckpt"))
    if trainer.state.epoch < EPOCHS:  # Ignite would begin a finished training anew.
        trainer.run(train_loader, max_epochs=EPOCHS)
    logger.close()
    return {
        "net": generator,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "critic": critic,
        "critic_optimizer": critic_optimizer,
        "critic_scheduler": critic_scheduler,
    }


if __name__ == "__main__":
    run_as_script(train)
