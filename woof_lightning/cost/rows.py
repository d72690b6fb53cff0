"""Measured values and their file, rows.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from woof_lightning.measure.machine import machine_id

# The name in place of a way's for values of a whole block.
ALL = "all"
# The measure that most tables are about.
STEP = "step_us"
# The unit of each measure.
UNITS = {
    "step_us": "us",
    "host_us": "us",
    "driver_searches": "searches",
    "train_step_us": "us",
    "val_batch_us": "us",
    "epoch_us": "us",
    "checkpoint_us": "us",
    "files_per_epoch": "files",
    "rest_s": "s",
    "environment_id": "id",
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
    "lines_loop": "lines",
    "lines_bar": "lines",
    "lines_logs": "lines",
    "lines_checkpoints": "lines",
    "lines_resume": "lines",
    "framework_names": "names",
}
# A variable of the environment that a way's own imports or its training changed: the measure is this and its name.
CHANGES = "changes "


@dataclass(frozen=True)
class Row:
    """A measured value.

    Args:
        way: The way's name, or ALL.
        measure: A key of UNITS.
        condition: The condition, or for ALL the group.
        machine: The machine, as `machine_id` names it.
        repeat: The number of the repeat, counted from 0.
        value: The value.
        unit: Its unit.
    """

    way: str
    measure: str
    condition: str
    machine: str
    repeat: int
    value: float
    unit: str


HEADER = tuple(Row.__dataclass_fields__)


class RowsFile:
    """Reads and appends the rows of rows.csv.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Row]:
        """Returns the rows; none if there is no file."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return [
                Row(
                    r["way"], r["measure"], r["condition"], r["machine"], int(r["repeat"]), float(r["value"]), r["unit"]
                )
                for r in csv.DictReader(file)
            ]

    def append(self, rows: Sequence[Row]) -> None:
        """Appends rows."""
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([HEADER] if new else [])
            writer.writerows([*astuple(row)[:5], f"{row.value:.6g}", row.unit] for row in rows)


def rows_of(
    way: str, condition: str, repeat: int, values: Mapping[str, float], *, machine: str | None = None
) -> list[Row]:
    """Returns values, given by measure, as rows; of this machine, unless another one is named."""
    where = machine or machine_id()
    return [
        Row(way, name, condition, where, repeat, value, "variables" if name.startswith(CHANGES) else UNITS[name])
        for name, value in values.items()
    ]
