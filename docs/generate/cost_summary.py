"""Reads the summary that `woof cost` leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from woof_lightning.compare.tables import three_digits

Estimate = dict[str, Any]


def read_summary(folder: Path) -> dict[str, Any]:
    """What `woof cost` derived from its rows."""
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def by_key(folder: Path) -> dict[tuple[str, str, str], Estimate]:
    """The estimates by way, condition and measure."""
    return {(e["way"], e["condition"], e["measure"]): e for e in read_summary(folder)["estimates"]}


def interval(estimate: Estimate | None) -> str:
    """An estimate's interval, three digits."""
    return f"{three_digits(estimate['low'])} to {three_digits(estimate['high'])}" if estimate else ""
