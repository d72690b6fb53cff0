"""Trains a net with Lightning Fabric."""

from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from woof_lightning.changes.shared import EPOCHS, Trained, build_net, loaders, run_as_script


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    fabric = Fabric(
        accelerator="cpu", devices=1, precision="bf16-mixed", loggers=TensorBoardLogger(folder, name="", version="")
    )
    net = build_net()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    net, optimizer = fabric.setup(net, optimizer)
    train_loader, val_loader = fabric.setup_dataloaders(*loaders())
    state = {"net": net, "optimizer": optimizer, "scheduler": scheduler, "epoch": 0, "step": 0}
    if resume:
        fabric.load(folder / "last.ckpt", state)

    for epoch in range(state["epoch"], EPOCHS):
        net.train()
        for batch, (images, labels) in enumerate(train_loader, start=1):
            accumulating = batch % 4 != 0 and batch < len(train_loader)
            with fabric.no_backward_sync(net, enabled=accumulating):
                loss = F.cross_entropy(net(images), labels)
                fabric.backward(loss / 4)
            if accumulating:
                continue
            fabric.clip_gradients(net, optimizer, max_norm=0.1)
            optimizer.step()
            optimizer.zero_grad()
            state["step"] += 1
            if state["step"] % 10 == 0:
                fabric.log("train/loss", loss, state["step"])
        scheduler.step()

        net.eval()
        val_loss = val_hits = torch.tensor(0.0, device=fabric.device)
        with torch.no_grad():
            for images, labels in val_loader:
                logits = net(images)
                val_loss = val_loss + F.cross_entropy(logits, labels) * len(labels)
                val_hits = val_hits + (logits.argmax(1) == labels).sum()
        fabric.log("val/loss", val_loss / len(val_loader.dataset), state["step"])
        fabric.log("val/acc1", val_hits / len(val_loader.dataset), state["step"])
        state["epoch"] = epoch + 1
        fabric.save(folder / "last.ckpt", state)
    fabric.logger.finalize("success")
    return {"net": net, "optimizer": optimizer, "scheduler": scheduler}


if __name__ == "__main__":
    run_as_script(train)
