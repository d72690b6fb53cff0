"""Measured values, and the file that keeps them: rows.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

# The way under which a block's own values stand.
ALL = "all"
# The unit of each measure.
UNITS = {
    "step_us": "us",
    "peak_rss_mb": "MB",
    "peak_gpu_mb": "MB",
    "first_step_s": "s",
    "trained_s": "s",
    "import_s": "s",
    "imported_modules": "modules",
    "packages": "packages",
    "installed_mb": "MB",
    "others_share": "cores",
    "block_s": "s",
    "calls": "calls",
    "framework_files": "files",
    "frames_to_step": "frames",
    "frames_to_optimizer": "frames",
    "traceback_frames": "frames",
    "traceback_user_frames": "frames",
    "logical_lines": "lines",
    "framework_names": "names",
}


@dataclass(frozen=True)
class Row:
    """One measured value."""

    way: str
    measure: str
    condition: str
    repeat: int
    value: float
    unit: str


HEADER = tuple(Row.__dataclass_fields__)


class RowsFile:
    """The rows of rows.csv; a block of them is written at once.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Row]:
        """The rows so far."""
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return [
                Row(r["way"], r["measure"], r["condition"], int(r["repeat"]), float(r["value"]), r["unit"])
                for r in csv.DictReader(file)
            ]

    def append(self, rows: Sequence[Row]) -> None:
        """Adds rows."""
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([HEADER] if new else [])
            writer.writerows([*astuple(row)[:4], f"{row.value:.6g}", row.unit] for row in rows)


def rows_of(way: str, condition: str, repeat: int, values: Mapping[str, float]) -> list[Row]:
    """Values as rows."""
    return [Row(way, name, condition, repeat, value, UNITS[name]) for name, value in values.items()]
