"""A callback for `woof fit` that times validations, and afterwards their forward passes alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from woof_lightning.data.transforms import normalise


class Clock(Callback):
    """Times the validations, and the forward passes on the same batches in memory, which are normalised before.

    Args:
        file: Where the times are written: first_s, kept_s (of the last validation) and forward_s.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.batches: list[Tensor] = []
        self.times_s: list[float] = []
        self.start_s = 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self.batches = []
        self.start_s = time.perf_counter()

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *place: int) -> None:
        """Keeps the images."""
        self.batches.append(batch[0])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self.times_s.append(time.perf_counter() - self.start_s)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Times the forward passes and writes the file."""
        batches = [normalise(images, channels_last=True) for images in self.batches]
        net: Any = pl_module.net
        net.eval()
        with torch.inference_mode(), trainer.precision_plugin.forward_context():
            net(batches[0])
            start_s = time.perf_counter()
            for images in batches:
                net(images)
            forward_s = time.perf_counter() - start_s
        times = {"first_s": self.times_s[0], "kept_s": self.times_s[-1], "forward_s": forward_s}
        self.file.write_text(json.dumps(times), encoding="utf-8")
