"""`woof compare`: runs beside each other, as tables, figures and a page."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from woof_lightning.compare.curves import FIGURES, draw_curves
from woof_lightning.compare.find import NOT_COMPARED, find_runs
from woof_lightning.compare.page import page_of
from woof_lightning.compare.read import TOP1, TOP5, Run, differences, read_runs
from woof_lightning.compare.tables import markdown_table, no_markdown, printable, text_table
from woof_lightning.errors import UserError, raise_together
from woof_lightning.runs.folder import exists, made_folder, write_text_durably
from woof_lightning.runs.metrics import read_columns

MISSING = ""
COLUMNS = (
    *("run", "state", "best top-1", "its epoch", "its top-5", "final top-1", "final top-5"),
    *("seconds with validation", "images/s in training"),
)
RESULTS, SETTINGS = "results.csv", "settings.csv"
WRITTEN = (RESULTS, SETTINGS, "results.md", "index.html", *(f"{figure.name}.png" for figure in FIGURES))


@dataclass(frozen=True)
class Table:
    """A table, a row a run.

    Args:
        title: What it shows.
        file_name: Its CSV file's name.
        header: Its columns' names.
        rows: Its cells.
    """

    title: str
    file_name: str
    header: tuple[str, ...]
    rows: list[list[str]]

    def as_text(self) -> str:
        """For a terminal."""
        return text_table(self.header, self.rows)

    def as_markdown(self) -> str:
        """For a page, where no name is Markdown or HTML."""
        header, *rows = ([no_markdown(cell) for cell in line] for line in [self.header, *self.rows])
        return markdown_table(header, rows)

    def as_csv(self) -> str:
        """For a spreadsheet."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.header, *self.rows])
        return out.getvalue()


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other.

    Args:
        tables: What they reached, and the settings in which they differ.
        notes: What a reader should know of some of them.
    """

    tables: list[Table]
    notes: list[str]

    def lines(self) -> list[str]:
        """For a terminal."""
        return [*(table.as_text() for table in self.tables), *(f"note: {note}" for note in self.notes)]

    def as_markdown(self) -> str:
        """The tables, and the notes below them."""
        notes = "".join(f"- {no_markdown(note)}\n" for note in self.notes)
        parts = [f"## {table.title}\n\n{table.as_markdown()}" for table in self.tables]
        return "\n".join([*parts, *([notes] if notes else [])])


def compare(folders: Sequence[Path], out: Path | None) -> Comparison:
    """Compares runs, and writes tables, figures and a page where a folder for them is given.

    Args:
        folders: The runs' folders, or folders that hold runs.
        out: Gets results.md, results.csv, settings.csv, one PNG a figure, and index.html.

    Raises:
        UserError: When a folder holds nothing that can be compared, or `out` what no comparison wrote.
    """
    if out is not None:
        _check_out(out)
    runs, problems = read_runs(find_runs(folders))
    # Among the runs of a folder one that has just begun, or is none, hides no other; one that was named is missed.
    raise_together([text for place, text in problems.items() if place in folders or not runs], NOT_COMPARED)
    found = Comparison(tables_of(runs), [*notes_of(runs), *problems.values()])
    if out is not None:
        with made_folder(out, "--out"):
            _write(found, runs, out)
    return found


def _check_out(out: Path) -> None:
    """Raises a UserError where files would be replaced that no comparison wrote."""
    there = [name for name in WRITTEN if exists(out / name)]
    if there and read_columns(out / RESULTS)[: len(COLUMNS)] != list(COLUMNS):
        raise UserError(f"--out is {out}: {there[0]} in it was not written by woof compare; choose another folder")


def _write(found: Comparison, runs: Sequence[Run], out: Path) -> None:
    for table in found.tables:
        write_text_durably(out / table.file_name, table.as_csv())
    if len(found.tables) == 1:  # There are no differences now.
        (out / SETTINGS).unlink(missing_ok=True)
    write_text_durably(out / "results.md", found.as_markdown())
    contents = [(table.title, table.header, table.rows) for table in found.tables]
    write_text_durably(out / "index.html", page_of(contents, draw_curves(runs, out), found.notes))


def tables_of(runs: Sequence[Run]) -> list[Table]:
    """The runs' results, and the settings in which they differ, where any do."""
    tables = [Table("Results", RESULTS, COLUMNS, [result_row(run) for run in runs])]
    differing = differences(runs)
    if differing:
        rows = [[run.name, *(values[place] for values in differing.values())] for place, run in enumerate(runs)]
        tables.append(Table("Settings", SETTINGS, ("run", *map(printable, differing)), rows))
    return tables


def result_row(run: Run) -> list[str]:
    """A run's best and last validation, its time and its speed."""
    top1, top5 = run.series.get(TOP1), run.series.get(TOP5)
    cells = [MISSING] * 5
    if top1 is not None:
        epochs = run.epochs(TOP1)
        # The first of equals, as in the run itself.
        best = max(range(len(top1.value)), key=lambda place: (math.isfinite(top1.value[place]), top1.value[place]))
        of_step = {} if top5 is None else dict(zip(top5.step, top5.value, strict=True))
        cells = [
            accuracy(top1.value[best]),
            # A validation within an epoch belongs to that one.
            MISSING if epochs is None else f"{math.ceil(round(epochs[best], 6))}",
            accuracy(of_step.get(top1.step[best])),
            accuracy(top1.value[-1]),
            accuracy(of_step.get(top1.step[-1])),
        ]
    elapsed_s = run.result.get("train_s") or (top1.elapsed_s[-1] if top1 is not None and top1.elapsed_s else None)
    speed = run.result.get("images_per_s")
    return [
        *(run.name, run.state, *cells),
        MISSING if elapsed_s is None else plain_three_digits(elapsed_s),
        MISSING if speed is None else plain_three_digits(speed),
    ]


def accuracy(fraction: float | None) -> str:
    """An accuracy as a fraction, three digits."""
    return MISSING if fraction is None else f"{fraction:.3f}"


def plain_three_digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{float(f'{value:.3g}'):.12g}"


def notes_of(runs: Sequence[Run]) -> list[str]:
    """What a reader should know of some runs."""
    return [f"{run.name}: {note}" for run in runs for note in run.notes]
