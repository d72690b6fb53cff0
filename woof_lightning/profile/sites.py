"""Where in the user's code something is called, how often, and what it took."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

LIBRARIES = frozenset({"lightning", "pytorch_lightning", "lightning_fabric", "torch", "torchmetrics"})


@dataclass(eq=False, slots=True)
class Site:
    """A line that calls something.

    Args:
        place: The file and the line.
        calls: How often it was called.
        time_ns: What it took, without the parts within it.
        options: What it was called with, the first time.
    """

    place: str
    calls: int = 0
    time_ns: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


class Sites:
    """The lines that call one thing."""

    def __init__(self) -> None:
        self._sites: dict[tuple[str, int], Site] = {}

    def at(self, frame: FrameType) -> Site:
        """Returns the site of a frame, or of the nearest one around it that is in no library."""
        while frame.f_back is not None and is_library(frame):
            frame = frame.f_back
        key = (frame.f_code.co_filename, frame.f_lineno)
        if key not in self._sites:
            self._sites[key] = Site(place_of(frame))
        return self._sites[key]

    def all(self) -> list[Site]:
        """Returns them, the dearest first."""
        return sorted(self._sites.values(), key=lambda site: -site.time_ns)


def is_library(frame: FrameType) -> bool:
    """Returns whether a frame runs code of Lightning, PyTorch or torchmetrics."""
    return frame.f_globals.get("__name__", "").partition(".")[0] in LIBRARIES


def place_of(frame: FrameType) -> str:
    """Returns file:line of a frame, the file below the current folder or as it is imported."""
    file = Path(frame.f_code.co_filename)
    roots = [Path.cwd(), *(Path(entry) for entry in sys.path if entry)]
    inside = [file.relative_to(root) for root in roots if file.is_relative_to(root)]
    return f"{min(inside, key=lambda path: len(path.parts), default=file)}:{frame.f_lineno}"
