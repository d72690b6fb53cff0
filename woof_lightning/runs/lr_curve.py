"""The curve of a learning-rate sweep: `curve.csv`."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from woof_lightning.runs.folder import write_text_durably

COLUMNS = ("lr", "loss", "raw_loss")


@dataclass(frozen=True)
class LRCurve:
    """The losses of a sweep over increasing learning rates.

    Args:
        lr: The learning rates, increasing.
        loss: The smoothed loss at each learning rate, in nats, corrected for the bias of starting at 0.
        raw_loss: The loss of the batch at each learning rate, in nats.
    """

    lr: tuple[float, ...]
    loss: tuple[float, ...]
    raw_loss: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.lr)

    def finite(self) -> LRCurve:
        """Returns the part before the first loss that is NaN or infinite."""
        bad = (place for place, values in enumerate(zip(self.loss, self.raw_loss, strict=True)) if not _finite(values))
        end = next(bad, len(self))
        return LRCurve(self.lr[:end], self.loss[:end], self.raw_loss[:end])

    def write(self, file: Path) -> None:
        """Writes the curve as CSV with every digit."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([repr(value) for value in row] for row in zip(self.lr, self.loss, self.raw_loss, strict=True))
        write_text_durably(file, out.getvalue())


def read_lr_curve(file: Path) -> LRCurve:
    """Reads a curve.csv.

    Raises:
        KeyError: If a column is missing.
        ValueError: If a cell is not a number.
        TypeError: If a row is too short.
        csv.Error: If the file is not CSV.
    """
    with file.open(newline="", encoding="utf-8") as text:
        rows = [[float(row[name]) for name in COLUMNS] for row in csv.DictReader(text)]
    lr, loss, raw_loss = zip(*rows, strict=True) if rows else ((), (), ())
    return LRCurve(lr, loss, raw_loss)


def _finite(values: tuple[float, ...]) -> bool:
    return all(map(math.isfinite, values))
