"""Faults of torchmetrics that this project works around: a test fails on the day its fault is fixed."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torchmetrics import MeanMetric

from tests.upstream.helpers import QUIET, Tiny


def test_a_moved_metric_forgets_its_type(tmp_path: Path) -> None:
    """See WoofClassifier.on_validation_epoch_start."""

    class Measuring(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.mean = MeanMetric()

        def setup(self, stage: str) -> None:
            self.mean.set_dtype(torch.float64)

    model = Measuring()
    Trainer(max_epochs=1, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET).fit(model)
    assert model.mean.dtype == torch.float32
