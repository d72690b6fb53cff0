"""metrics.csv: one row for each optimizer step that reports metrics."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from woof_lightning.runs.folder import write_text_durably

REPORT_COLUMNS = ("train/loss", "train/acc1", "train/acc5", "lr", "momentum")
EPOCH_COLUMNS = ("train/loss_epoch", "train/acc1_epoch", "train/acc5_epoch", "val/loss", "val/acc1", "val/acc5")
COLUMNS = ("epoch", "step", *REPORT_COLUMNS, *EPOCH_COLUMNS)
Row = dict[str, float]
# Larger numbers are not exact as floats.
MOST_STEPS = 2**53


class MetricsFile:
    """A CSV file with the columns epoch, step (optimizer steps done) and one column per metric.

    All values of a step share a row, so a row is written when the next one begins.

    Args:
        path: The file. Rows that it already has are kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: Row = {}
        self._written: Row = {}
        self._replaces = False

    @cached_property
    def _columns(self) -> list[str]:
        # Not read earlier: a run with --overwrite removes the old file after this object was created.
        columns = read_columns(self.path)
        return columns if columns[: len(COLUMNS)] == list(COLUMNS) else list(COLUMNS)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Adds values to the row of a step.

        Args:
            values: Metrics by name, and the epoch as `epoch`.
            step: The number of optimizer steps done.
        """
        if self._pending and self._pending["step"] != step:
            self.flush()
        if not self._pending and self._written.get("step") == step:
            self._pending, self._replaces = dict(self._written), True
        self._pending |= {**values, "step": step}

    def flush(self) -> None:
        """Writes the row that is still in memory."""
        if not self._pending:
            return
        row, self._pending, replaces, self._replaces = self._pending, {}, self._replaces, False
        self._written = row
        new = [name for name in row if name not in self._columns]
        if new or replaces or not self.path.exists():
            self._columns.extend(new)
            before = read_metrics(self.path)
            write_text_durably(self.path, _as_csv([*(before[:-1] if replaces else before), row], self._columns))
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerow(_as_text(row))

    def sync(self) -> None:
        """Writes the row that is still in memory and flushes the file to the disk."""
        self.flush()
        if self.path.exists():
            with self.path.open("a", encoding="utf-8") as file:
                os.fsync(file.fileno())

    def cut_after(self, step: int) -> str | None:
        """Removes the rows after a step, which a resumed run writes again, and everything from a damaged row on.

        Args:
            step: The last step to keep.

        Returns:
            A message if rows up to that step are lost, otherwise None.
        """
        self._pending, self._written = {}, {}
        rows, damage = read_rows(self.path)
        kept = [row for row in rows if row["step"] <= step]
        if self.path.exists():
            write_text_durably(self.path, _as_csv(kept, self._columns))
        last = int(kept[-1]["step"]) if kept else 0
        if damage is None or last == step or len(kept) < len(rows):
            return None
        return f"{damage}; its rows of steps {last + 1} to {step} are lost"


def read_metrics(path: Path) -> list[Row]:
    """Returns the rows of a metrics.csv up to the first incomplete or damaged one, without their empty cells."""
    return read_rows(path)[0]


def read_rows(path: Path) -> tuple[list[Row], str | None]:
    """Returns the rows of a metrics.csv up to the first incomplete or damaged one, and what is wrong with that one."""
    if not path.exists():
        return [], None
    text = path.read_text(errors="replace", encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    rows: list[Row] = []
    try:
        for row in csv.DictReader(io.StringIO(whole)):
            rows.append(_as_numbers(row))
    except (ValueError, TypeError, csv.Error):  # A power cut can leave zeros, and an extra cell has no column.
        return rows, f"row {len(rows) + 1} of {path.name} cannot be read"
    return rows, None if text == whole else f"{path.name} ends in the middle of a row"


def read_columns(path: Path) -> list[str]:
    """Returns the column names in the first line of a CSV file, even a damaged one; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(errors="replace", encoding="utf-8") as file:
        return file.readline().rstrip("\n").split(",")


def in_a_line(values: Mapping[str, float]) -> str:
    """Returns metrics as one line of text with four digits, without the momentum."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items() if name != "momentum")


def _as_numbers(row: Mapping[str, str]) -> Row:
    whole = ("epoch", "step")
    if not row.get("step"):
        raise ValueError("a row without a step")
    numbers = {name: int(cell) if name in whole else float(cell) for name, cell in row.items() if cell}
    if not all(0 <= numbers[name] < MOST_STEPS for name in whole if name in numbers):
        raise ValueError("a row with an impossible step or epoch")
    return numbers


def _as_text(row: Row) -> dict[str, str]:
    whole = {name: str(int(row[name])) for name in ("epoch", "step") if name in row}
    # repr keeps every digit, so that two runs can be compared bit for bit.
    return {name: repr(float(value)) for name, value in row.items()} | whole


def _as_csv(rows: Iterable[Row], columns: list[str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_as_text, rows))
    return out.getvalue()
