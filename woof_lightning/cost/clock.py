"""A clock that every loop carries without knowing: it ticks when an optimizer has stepped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


@dataclass
class StepClock:
    """Times a window of training steps, from the end of one optimizer step to the end of another.

    Whatever a loop does between two steps lies in the window: loading, forward and backward pass,
    logging, bars, callbacks.

    Args:
        warmup: Steps before the window.
        steps: Steps in it.
        sync: Whether to wait for the CUDA device at both ends.
        at_start: Called when the window opens, before its clock is read.
        at_end: Called when it has closed.
    """

    warmup: int
    steps: int
    sync: bool = False
    at_start: Callable[[], None] | None = None
    at_end: Callable[[], None] | None = None
    count: int = 0
    marks_s: list[float] = field(default_factory=list)

    def __call__(self, *_: Any) -> None:
        """Counts a step; PyTorch calls it after each."""
        self.count += 1
        if self.count == self.warmup:
            if self.at_start is not None:
                self.at_start()
            self._mark()
        elif self.count == self.warmup + self.steps:
            self._mark()
            if self.at_end is not None:
                self.at_end()

    @property
    def step_us(self) -> float:
        """Mean time of a step in the window, in microseconds.

        Raises:
            RuntimeError: When the training ended before the window did.
        """
        if len(self.marks_s) != 2:
            raise RuntimeError(f"the training ended after {self.count} steps, in or before the timed window")
        return (self.marks_s[1] - self.marks_s[0]) / self.steps * 1e6

    def _mark(self) -> None:
        if self.sync:
            torch.cuda.synchronize()
        self.marks_s.append(time.perf_counter())


@contextmanager
def ticking(clock: StepClock) -> Iterator[StepClock]:
    """Inside, the clock ticks with every optimizer of the process."""
    handle = register_optimizer_step_post_hook(clock)
    try:
        yield clock
    finally:
        handle.remove()
