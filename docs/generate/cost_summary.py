"""Reads the summary that `woof cost` leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from woof_lightning.compare.tables import three_digits
from woof_lightning.cost.plan import LEAN, ONE_LOG
from woof_lightning.loops.ways import WOOF_FIT

Estimate = dict[str, Any]
# Fabric, and Lightning from the leanest to the way of its documentation.
COMPARED = ("fabric", WOOF_FIT, LEAN, ONE_LOG, "lightning")
NOT_MEASURED = "not measured"


def read_summary(folder: Path) -> dict[str, Any]:
    """What `woof cost` derived from its rows."""
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return found


def by_key(folder: Path) -> dict[tuple[str, str, str], Estimate]:
    """The estimates by way, condition and measure."""
    return {(e["way"], e["condition"], e["measure"]): e for e in read_summary(folder)["estimates"]}


def interval(estimate: Estimate | None) -> str:
    """An estimate's interval, three digits."""
    return f"{three_digits(estimate['low'])} to {three_digits(estimate['high'])}" if estimate else ""


def seconds(over: Estimate) -> str:
    """A difference in s, with its interval."""
    return f"{over['median']:+.2g} ({over['low']:.2g} to {over['high']:.2g})"
