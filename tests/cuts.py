"""Cuts a training of `woof fit` in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from woof_lightning.data.loading import Batch
from woof_lightning.lit.classifier import WoofClassifier


@contextmanager
def cut(when: Callable[[WoofClassifier, int], bool]) -> Iterator[None]:
    """Sends SIGTERM within each training step for which a condition of the module and its batch_idx holds."""
    real = WoofClassifier.training_step

    def step(self: WoofClassifier, batch: Batch, batch_idx: int) -> torch.Tensor:
        if when(self, batch_idx):
            signal.raise_signal(signal.SIGTERM)
        return real(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WoofClassifier, "training_step", step)
        yield
