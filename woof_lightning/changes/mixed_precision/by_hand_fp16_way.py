"""Trains a net with plain PyTorch."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.tensorboard import SummaryWriter

from woof_lightning.changes.shared import EPOCHS, Trained, build_net, loaders, run_as_script


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    net = build_net()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    scaler = torch.amp.GradScaler("cpu")
    train_loader, val_loader = loaders()
    writer = SummaryWriter(folder)
    first_epoch = step = 0
    if resume:
        checkpoint = torch.load(folder / "last.ckpt")
        net.load_state_dict(checkpoint["net"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler.load_state_dict(checkpoint["scheduler"])
        scaler.load_state_dict(checkpoint["scaler"])
        first_epoch, step = checkpoint["epoch"], checkpoint["step"]

    for epoch in range(first_epoch, EPOCHS):
        net.train()
        for images, labels in train_loader:
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            step += 1
            if step % 10 == 0:
                writer.add_scalar("train/loss", loss, step)
        scheduler.step()

        net.eval()
        val_loss = val_hits = torch.tensor(0.0)
        with torch.no_grad(), torch.autocast("cpu", torch.float16):
            for images, labels in val_loader:
                logits = net(images)
                val_loss = val_loss + F.cross_entropy(logits, labels) * len(labels)
                val_hits = val_hits + (logits.argmax(1) == labels).sum()
        writer.add_scalar("val/loss", val_loss / len(val_loader.dataset), step)
        writer.add_scalar("val/acc1", val_hits / len(val_loader.dataset), step)
        checkpoint = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
        checkpoint |= {"scheduler": scheduler.state_dict(), "epoch": epoch + 1, "step": step}
        checkpoint |= {"scaler": scaler.state_dict()}
        torch.save(checkpoint, folder / "last.ckpt")
    writer.close()
    return {"net": net, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}


if __name__ == "__main__":
    run_as_script(train)
