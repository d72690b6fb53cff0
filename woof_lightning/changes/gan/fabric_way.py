"""Trains a net with Lightning Fabric."""

from pathlib import Path

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
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
    fabric = Fabric(accelerator="cpu", devices=1, loggers=TensorBoardLogger(folder, name="", version=""))
    generator, critic = build_generator(), build_critic()
    optimizer = SGD(generator.parameters(), lr=0.1, momentum=0.9)
    critic_optimizer = SGD(critic.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    critic_scheduler = StepLR(critic_optimizer, step_size=1, gamma=0.5)
    generator, optimizer = fabric.setup(generator, optimizer)
    critic, critic_optimizer = fabric.setup(critic, critic_optimizer)
    train_loader, val_loader = fabric.setup_dataloaders(*loaders())
    state = {"generator": generator, "optimizer": optimizer, "scheduler": scheduler, "epoch": 0, "step": 0}
    state |= {"critic": critic, "critic_optimizer": critic_optimizer, "critic_scheduler": critic_scheduler}
    if resume:
        fabric.load(folder / "last.ckpt", state)

    for epoch in range(state["epoch"], EPOCHS):
        generator.train()
        critic.train()
        for images, _ in train_loader:
            fakes = generator(draw_noise(len(images), state["step"]).to(fabric.device))
            critic_loss = realness_loss(critic(images), 1) + realness_loss(critic(fakes.detach()), 0)
            critic_optimizer.zero_grad()
            fabric.backward(critic_loss)
            critic_optimizer.step()
            loss = realness_loss(critic(fakes), 1)
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            state["step"] += 1
            if state["step"] % 10 == 0:
                fabric.log("train/loss", loss, state["step"])
                fabric.log("train/critic_loss", critic_loss, state["step"])
        scheduler.step()
        critic_scheduler.step()

        critic.eval()
        val_loss = torch.tensor(0.0, device=fabric.device)
        with torch.no_grad():
            for images, _ in val_loader:
                val_loss = val_loss + realness_loss(critic(images), 1) * len(images)
        fabric.log("val/loss", val_loss / len(val_loader.dataset), state["step"])
        state["epoch"] = epoch + 1
        fabric.save(folder / "last.ckpt", state)
    fabric.logger.finalize("success")
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
