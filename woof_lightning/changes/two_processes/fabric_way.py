"""Trains a net with Lightning Fabric."""

from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from woof_lightning.changes.shared import EPOCHS, Trained, build_net, loaders, run_as_script

PROCESSES = 2


def train(folder: Path, resume: bool = False) -> Trained:
    """Trains, reports each tenth step, validates and saves after each epoch."""
    logger = TensorBoardLogger(folder, name="", version="")
    fabric = Fabric(accelerator="cpu", devices=PROCESSES, strategy="ddp", loggers=logger)
    fabric.launch()
    net = build_net()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    net, optimizer = fabric.setup(net, optimizer)
    train_set, val_set = (loader.dataset for loader in loaders())
    train_loader = fabric.setup_dataloaders(DataLoader(train_set, 4))
    val_loader = DataLoader(val_set, 4, sampler=range(fabric.global_rank, len(val_set), PROCESSES))
    val_loader = fabric.setup_dataloaders(val_loader, use_distributed_sampler=False)
    state = {"net": net, "optimizer": optimizer, "scheduler": scheduler, "epoch": 0, "step": 0}
    if resume:
        fabric.load(folder / "last.ckpt", state)

    for epoch in range(state["epoch"], EPOCHS):
        net.train()
        for images, labels in train_loader:
            loss = F.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
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
        val_loss, val_hits = (fabric.all_reduce(total, reduce_op="sum") for total in (val_loss, val_hits))
        fabric.log("val/loss", val_loss / len(val_loader.dataset), state["step"])
        fabric.log("val/acc1", val_hits / len(val_loader.dataset), state["step"])
        state["epoch"] = epoch + 1
        fabric.save(folder / "last.ckpt", state)
    fabric.logger.finalize("success")
    return {"net": net, "optimizer": optimizer, "scheduler": scheduler}


if __name__ == "__main__":
    run_as_script(train, PROCESSES)
