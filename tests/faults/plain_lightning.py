"""The same training as a tutorial has it: Lightning's own parts, resumed from last.ckpt where there is one."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from woof_lightning.lit.quiet import quieten_libraries
from woof_lightning.loops.lightning import LightningClassifier
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import build_net

BATCH_SIZE, SIZE_PX = 32, 32


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    quieten_libraries()
    seed_everything(0, workers=True)
    shared = [v2.ToImage(), v2.Resize((SIZE_PX, SIZE_PX))]
    train = ImageFolder(str(options.data / "train"), v2.Compose([*shared, v2.RandomHorizontalFlip()]))
    val = ImageFolder(str(options.data / "val"), v2.Compose(shared))
    folder = options.run / "checkpoints"
    trainer = Trainer(
        max_epochs=options.epochs,
        limit_train_batches=options.steps,
        limit_val_batches=3,
        accelerator="cpu",
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=CSVLogger(options.run.parent, name="", version=options.run.name, flush_logs_every_n_steps=1),
        callbacks=[ModelCheckpoint(folder, "best", monitor="val/acc1", mode="max", save_last=True)],
    )
    last = folder / "last.ckpt"
    torch.manual_seed(0)
    trainer.fit(
        LightningClassifier(build_net("shufflenet_v2_x0_5", 10), ModelConfig(lr=0.005, num_classes=10), {}),
        DataLoader(train, BATCH_SIZE, shuffle=True, num_workers=options.workers),
        DataLoader(val, BATCH_SIZE, num_workers=options.workers),
        ckpt_path=last if last.exists() else None,
    )
    trainer.save_checkpoint(options.run / "final.ckpt")


if __name__ == "__main__":
    main()
