"""What is measured in one process, and what all ways share."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

TRAINING, LOADING, VALIDATION, START = "training", "loading", "validation", "start"
# In START: the libraries alone, with one step.
IMPORTS = "imports"
BATCH_SIZE, CLASSES, RATE = 128, 10, 0.02


@dataclass(frozen=True)
class Job:
    """What to measure.

    Args:
        measured: TRAINING, LOADING, VALIDATION or START.
        way: A key of one.py's TRAINED, or IMPORTS.
        folder: The data set's folder, with train/ and val/.
        size_px: Side of the square images that the net sees.
        precision: As in the settings of a run: bf16-mixed or 32-true.
        warm_up: The number of steps before the clock starts.
        batches: The number of timed steps; or of batches to load or to validate.
    """

    measured: str
    way: str
    folder: str
    size_px: int
    precision: str
    warm_up: int
    batches: int

    @property
    def all_steps(self) -> int:
        """The number of steps to train."""
        return self.warm_up + self.batches

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns the context for forward pass and loss."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16-mixed")
