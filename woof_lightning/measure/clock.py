"""A clock that ticks after each optimizer step, in any loop, without changes to the loop."""

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
    """Times slices of a training, each from the end of one optimizer step to the end of another.

    A slice contains everything that a loop does between two steps: loading, forward and backward pass, logging,
    progress bars, callbacks.

    Args:
        warmup: Number of steps before the first slice.
        steps: Number of timed steps per slice.
        slices: Number of slices.
        lead: Number of steps at the beginning of each slice that are not timed.
        cuda: Whether to use the clock of the CUDA device, with events in its queue, beside the processor's.
        turn: Called before each slice and after the last one. It may wait.
        at_start: Called just before the clock is read at the start of the first slice.
        at_end: Called just after the clock is read at the end of the last slice.
    """

    warmup: int
    steps: int
    slices: int = 1
    lead: int = 0
    cuda: bool = False
    turn: Callable[[], None] | None = None
    at_start: Callable[[], None] | None = None
    at_end: Callable[[], None] | None = None
    count: int = 0
    marks: list[float] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)

    @property
    def total_steps(self) -> int:
        """Number of optimizer steps up to the end of the last slice."""
        return self.warmup + self.slices * (self.lead + self.steps)

    def __call__(self, *_: Any) -> None:
        """Counts a step. PyTorch calls this after each optimizer step."""
        self.count += 1
        if not self.warmup <= self.count <= self.total_steps:
            return
        place = (self.count - self.warmup) % (self.lead + self.steps)
        if place == 0:
            if self.count > self.warmup:
                self._mark()
            if self.count == self.total_steps and self.at_end is not None:
                self.at_end()
            if self.turn is not None:
                self.turn()
        if place == self.lead and self.count < self.total_steps:
            if self.count == self.warmup + self.lead and self.at_start is not None:
                self.at_start()
            self._mark()

    @property
    def step_us(self) -> float:
        """Mean time of a timed step, in microseconds; on a CUDA device by the device's clock.

        Raises:
            RuntimeError: If the training ended before the last slice did.
        """
        if not self.cuda:
            return self.host_us
        starts, ends = self._pairs(self.events)
        ends[-1].synchronize()
        total_ms = sum(float(start.elapsed_time(end)) for start, end in zip(starts, ends, strict=True))
        return 1e3 * total_ms / (self.slices * self.steps)

    @property
    def host_us(self) -> float:
        """Mean time of a timed step by the processor's clock, in microseconds. A device may still work after it.

        Raises:
            RuntimeError: If the training ended before the last slice did.
        """
        starts, ends = self._pairs(self.marks)
        total_s: float = sum(end - start for start, end in zip(starts, ends, strict=True))
        return 1e6 * total_s / (self.slices * self.steps)

    def _pairs(self, found: list[Any]) -> tuple[list[Any], list[Any]]:
        if len(found) != 2 * self.slices:
            raise RuntimeError(f"the training ended after {self.count} steps, in or before the timed slices")
        return found[::2], found[1::2]

    def _mark(self) -> None:
        if self.cuda:
            event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self.events.append(event)
        self.marks.append(time.perf_counter())


@contextmanager
def ticking(clock: StepClock) -> Iterator[StepClock]:
    """Makes the clock tick with every optimizer of the process during the block."""
    handle = register_optimizer_step_post_hook(clock)
    try:
        yield clock
    finally:
        handle.remove()
