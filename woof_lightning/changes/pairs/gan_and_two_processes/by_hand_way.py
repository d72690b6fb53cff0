"""Trains a net with plain PyTorch."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler
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

PROCESSES = 2


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    generator, critic = build_generator(), build_critic()
    generator_model, critic_model = DistributedDataParallel(generator), DistributedDataParallel(critic)
    optimizer = SGD(generator.parameters(), lr=0.1, momentum=0.9)
    critic_optimizer = SGD(critic.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    critic_scheduler = StepLR(critic_optimizer, step_size=1, gamma=0.5)
    train_set, val_set = (loader.dataset for loader in loaders())
    train_loader = DataLoader(train_set, 4, sampler=DistributedSampler(train_set, shuffle=False))
    val_loader = DataLoader(val_set, 4, sampler=range(rank, len(val_set), PROCESSES))
    writer = SummaryWriter(folder) if rank == 0 else None
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
        for images, _ in train_loader:
            # Each process makes its own share of the fakes.
            noise = draw_noise(PROCESSES * len(images), step)[rank::PROCESSES]
            fakes = generator_model(noise)
            critic_loss = realness_loss(critic_model(images), 1) + realness_loss(critic_model(fakes.detach()), 0)
            critic_optimizer.zero_grad()
            critic_loss.backward()
            critic_optimizer.step()
            loss = realness_loss(critic(fakes), 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if writer and step % 10 == 0:
                writer.add_scalar("train/loss", loss, step)
                writer.add_scalar("train/critic_loss", critic_loss, step)
        scheduler.step()
        critic_scheduler.step()

        critic.eval()
        val_loss = torch.tensor(0.0)
        with torch.no_grad():
            for images, _ in val_loader:
                val_loss = val_loss + realness_loss(critic(images), 1) * len(images)
        dist.all_reduce(val_loss)
        if writer:
            writer.add_scalar("val/loss", val_loss / len(val_loader.dataset), step)
            checkpoint = {"generator": generator.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoint |= {"critic": critic.state_dict(), "critic_optimizer": critic_optimizer.state_dict()}
            checkpoint |= {"critic_scheduler": critic_scheduler.state_dict()}
            checkpoint |= {"scheduler": scheduler.state_dict(), "epoch": epoch + 1, "step": step}
            torch.save(checkpoint, folder / "last.ckpt")
    if writer:
        writer.close()
    dist.destroy_process_group()
    return {
        "net": generator,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "critic": critic,
        "critic_optimizer": critic_optimizer,
        "critic_scheduler": critic_scheduler,
    }


if __name__ == "__main__":
    run_as_script(train, PROCESSES)
