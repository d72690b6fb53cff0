"""A device that computes on its own, beside Python: how long it is busy in a step, and which lines wait for it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from woof_lightning.profile.sites import Sites

# Devices with a queue, what PyTorch's profiler calls their work, and how it is told to look.
WATCHED = {"cuda": (DeviceType.CUDA, ProfilerActivity.CUDA)}
WINDOW_STEPS = 8
WAITS = "called a synchronizing CUDA operation"


@dataclass(frozen=True)
class DeviceUse:
    """What a device did in a step, and what the host had to do with it.

    Args:
        steps: The number of steps that were watched.
        busy_us: How long it computed or copied in a step, on average.
        waits: The lines that waited for it, and how often in a step.
    """

    steps: int
    busy_us: float
    waits: tuple[tuple[str, float], ...] = ()

    def idle_us(self, step_us: float) -> float:
        """Returns how long it idles in a step: all that can be had back on the host."""
        return max(0.0, step_us - self.busy_us)


def drain_of(device: torch.device) -> Callable[[], None] | None:
    """Returns what waits until a device has done all its work; None for one that has no queue."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else None


class Window:
    """Some steps in which PyTorch's profiler watches the device. They are slower, so they are not counted.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self._kind, activity = WATCHED[device.type]
        self._drain = drain_of(device)
        self._watch: Any = profile(activities=[activity])
        self.is_open = False

    def open(self) -> None:
        """Begins, between two steps."""
        self._finish()
        self._watch.__enter__()
        self.is_open = True

    def close(self) -> float:
        """Ends, between two steps, and returns how long the device was busy since, in us."""
        self._finish()
        self._watch.__exit__(None, None, None)
        self.is_open = False
        found = self._watch.events() or []
        return covered_us(
            (event.time_range.start, event.time_range.end) for event in found if event.device_type == self._kind
        )

    def _finish(self) -> None:
        if self._drain is not None:
            self._drain()


def covered_us(ranges: Iterable[tuple[float, float]]) -> float:
    """Returns how much time ranges cover, which may overlap: kernels of several streams run at once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(ranges):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


@contextmanager
def waits_noted(sites: Sites) -> Iterator[None]:
    """Notes the lines that make Python wait for a CUDA device within the block, as PyTorch warns of them.

    Args:
        sites: Where.
    """
    earlier = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=WAITS)
        shown = warnings.showwarning

        def noted(message: Any, *arguments: Any, **options: Any) -> None:
            if WAITS in str(message):
                sites.at(that_warned(sys._getframe(1))).calls += 1
            else:
                shown(message, *arguments, **options)

        warnings.showwarning = noted
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(earlier)


def that_warned(frame: FrameType) -> FrameType:
    """Returns the frame around those of Python's own module of warnings."""
    while frame.f_back is not None and frame.f_globals.get("__name__") == "warnings":
        frame = frame.f_back
    return frame
