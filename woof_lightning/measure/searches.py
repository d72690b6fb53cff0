"""Counts how often a training step looks for NVIDIA's driver."""

from __future__ import annotations

import sys
from typing import Any

DRIVER = "libnvidia-ml"


class DriverSearches:
    """Counts the attempts to open NVIDIA's management library (NVML), per optimizer step.

    AdamW asks at each step whether there is a GPU. PyTorch then opens that library, if PYTORCH_NVML_BASED_CUDA_CHECK is
    set. Where there is none, this searches the disk.

    Args:
        steps: Number of steps to count in.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._searches = 0
        self._after_each_step: list[int] | None = None

    def start(self) -> None:
        """Counts from the end of the present step on. Python cannot stop it again, so it comes after the timing."""
        sys.addaudithook(self._heard)
        self._after_each_step = []

    def stepped(self, *_: Any) -> None:
        """Notes the end of an optimizer step."""
        if self._after_each_step is not None:
            self._after_each_step.append(self._searches)

    @property
    def a_step(self) -> float:
        """Searches per step.

        Raises:
            RuntimeError: If the training ended before the last of the steps.
        """
        found = self._after_each_step or []
        if len(found) <= self.steps:
            raise RuntimeError(f"the training ended {len(found) - 1} steps after the timed ones: expected {self.steps}")
        return (found[self.steps] - found[0]) / self.steps

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "ctypes.dlopen" and DRIVER in str(arguments[0]):
            self._searches += 1
