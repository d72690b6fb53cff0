"""Trains a net with plain PyTorch."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, DistributedSampler
from torch.utils.tensorboard import SummaryWriter

from woof_lightning.changes.shared import EPOCHS, Trained, build_net, loaders, run_as_script

PROCESSES = 2


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    net = build_net()
    groups = [{"params": net.head.parameters()}, {"params": net.backbone.parameters(), "lr": 0.01}]
    optimizer = SGD(groups, lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    train_set, val_set = (loader.dataset for loader in loaders())
    train_loader = DataLoader(train_set, 4, sampler=DistributedSampler(train_set, shuffle=False))
    val_loader = DataLoader(val_set, 4, sampler=range(rank, len(val_set), PROCESSES))
    writer = SummaryWriter(folder) if rank == 0 else None
    first_epoch = step = 0
    if resume:
        checkpoint = torch.load(folder / "last.ckpt")
        net.load_state_dict(checkpoint["net"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler.load_state_dict(checkpoint["scheduler"])
        first_epoch, step = checkpoint["epoch"], checkpoint["step"]

    for epoch in range(first_epoch, EPOCHS):
        net.train()
        net.backbone.requires_grad_(epoch >= 2)
        if epoch in (first_epoch, 2):
            # It exchanges gradients of those weights alone that were to be trained when it was made.
            model = DistributedDataParallel(net)
        for images, labels in train_loader:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if writer and step % 10 == 0:
                writer.add_scalar("train/loss", loss, step)
        scheduler.step()

        net.eval()
        val_loss = val_hits = torch.tensor(0.0)
        with torch.no_grad():
            for images, labels in val_loader:
                logits = model(images)
                val_loss = val_loss + F.cross_entropy(logits, labels) * len(labels)
                val_hits = val_hits + (logits.argmax(1) == labels).sum()
        dist.all_reduce(val_loss)
        dist.all_reduce(val_hits)
        if writer:
            writer.add_scalar("val/loss", val_loss / len(val_loader.dataset), step)
            writer.add_scalar("val/acc1", val_hits / len(val_loader.dataset), step)
            checkpoint = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoint |= {"scheduler": scheduler.state_dict(), "epoch": epoch + 1, "step": step}
            torch.save(checkpoint, folder / "last.ckpt")
    if writer:
        writer.close()
    dist.destroy_process_group()
    return {"net": net, "optimizer": optimizer, "scheduler": scheduler}


if __name__ == "__main__":
    run_as_script(train, PROCESSES)
