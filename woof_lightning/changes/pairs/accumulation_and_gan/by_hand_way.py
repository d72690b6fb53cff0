"""Trains a net with plain PyTorch."""

from pathlib import Path

import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.tensorboard import SummaryWriter

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
    writer = SummaryWriter(folder)
    first_epoch = step = 0
    if resume:
        checkpoint = torch.load(folder / "last.ckpt")
        generator.load_state_dict(checkpoint["generator"])
        critic.load_state_dict(checkpoint["critic"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        critic_optimizer.load_state_dict(checkpoint["critic_optimizer"])
        scheduler.load_state_dict(checkpoint["scheduler"])
        critic_scheduler.load_state_dict(checkpoint["critic_scheduler"])
        first_epoch, step = checkpoint["epoch"], checkpoint["step"]

    for epoch in range(first_epoch, EPOCHS):
        generator.train()
        critic.train()
        for batch, (images, _) in enumerate(train_loader, start=1):
            fakes = generator(draw_noise(len(images), epoch * len(train_loader) + batch - 1))
            critic_loss = realness_loss(critic(images), 1) + realness_loss(critic(fakes.detach()), 0)
            (critic_loss / 4).backward()
            # The generator's loss must not reach the gradients that the critic gathers.
            critic.requires_grad_(False)
            loss = realness_loss(critic(fakes), 1)
            (loss / 4).backward()
            critic.requires_grad_(True)
            if batch % 4 and batch < len(train_loader):
                continue
            critic_optimizer.step()
            critic_optimizer.zero_grad()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step % 10 == 0:
                writer.add_scalar("train/loss", loss, step)
                writer.add_scalar("train/critic_loss", critic_loss, step)
        scheduler.step()
        critic_scheduler.step()

        critic.eval()
        val_loss = torch.tensor(0.0)
        with torch.no_grad():
            for images, _ in val_loader:
                val_loss = val_loss + realness_loss(critic(images), 1) * len(images)
        writer.add_scalar("val/loss", val_loss / len(val_loader.dataset), step)
        checkpoint = {"generator": generator.state_dict(), "optimizer": optimizer.state_dict()}
        checkpoint |= {"critic": critic.state_dict(), "critic_optimizer": critic_optimizer.state_dict()}
        checkpoint |= {"critic_scheduler": critic_scheduler.state_dict()}
        checkpoint |= {"scheduler": scheduler.state_dict(), "epoch": epoch + 1, "step": step}
        torch.save(checkpoint, folder / "last.ckpt")
    writer.close()
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
