"""`woof compare`: compares runs in tables, figures and an HTML page."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from woof_lightning.compare.curves import draw_curves
from woof_lightning.compare.figures import FIGURES, equal_runs, shown_figures
from woof_lightning.compare.find import NOT_COMPARED, find_runs
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
    """A table with one row per run.

    Args:
        title: What it shows.
        file_name: The name of its CSV file.
        header: The names of its columns.
        rows: Its cells, row by row.
    """

    title: str
    file_name: str
    header: tuple[str, ...]
    rows: list[list[str]]

    def as_text(self) -> str:
        """Returns the table for a terminal."""
        return text_table(self.header, self.rows)

    def as_markdown(self) -> str:
        """Returns the table in Markdown. Markdown and HTML in the cells are escaped."""
        header, *rows = ([no_markdown(cell) for cell in line] for line in [self.header, *self.rows])
        return markdown_table(header, rows)

    def as_csv(self) -> str:
        """Returns the table as CSV."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.header, *self.rows])
        return out.getvalue()


@dataclass(frozen=True)
class Comparison:
    """The result of comparing runs.

    Args:
        tables: The runs' results, and the settings in which they differ.
        notes: Remarks on single runs, such as damaged files.
    """

    tables: list[Table]
    notes: list[str]

    def lines(self) -> list[str]:
        """Returns the tables and notes for a terminal."""
        return [*(table.as_text() for table in self.tables), *(f"note: {note}" for note in self.notes)]

    def as_markdown(self) -> str:
        """Returns the tables in Markdown, with the notes below them."""
        notes = "".join(f"- {no_markdown(note)}\n" for note in self.notes)
        parts = [f"## {table.title}\n\n{table.as_markdown()}" for table in self.tables]
        return "\n".join([*parts, *([notes] if notes else [])])


def compare(folders: Sequence[Path], out: Path | None) -> Comparison:
    """Compares runs. If a folder for the results is given, writes tables, figures and a page there.

    Args:
        folders: Folders of runs, or folders that contain runs.
        out: The folder for results.md, results.csv, settings.csv, index.html and one PNG per figure; None writes
            nothing.

    Raises:
        UserError: If a folder contains nothing that can be compared, or `out` contains files of the same names that
            `woof compare` did not write.
    """
    if out is not None:
        _check_out(out)
    runs, problems = read_runs(find_runs(folders))
    # A folder that the user named must be a run. Among the runs found below a folder, others are only noted.
    raise_together([text for place, text in problems.items() if place in folders or not runs], NOT_COMPARED)
    found = Comparison(tables_of(runs), [*notes_of(runs), *problems.values()])
    if out is not None:
        with made_folder(out, "--out"):
            _write(found, runs, out)
    return found


def _check_out(out: Path) -> None:
    """Raises a UserError if a file would be replaced that `woof compare` did not write."""
    there = [name for name in WRITTEN if exists(out / name)]
    if there and read_columns(out / RESULTS)[: len(COLUMNS)] != list(COLUMNS):
        raise UserError(f"--out is {out}: {there[0]} in it was not written by woof compare; choose another folder")


def _write(found: Comparison, runs: Sequence[Run], out: Path) -> None:
    # Here, because importing Bokeh takes longer than comparing runs on a terminal.
    from woof_lightning.compare.charts import charts_of
    from woof_lightning.compare.page import Page, PageTable

    for table in found.tables:
        write_text_durably(out / table.file_name, table.as_csv())
    if len(found.tables) == 1:  # An earlier comparison had differing settings, this one has none.
        (out / SETTINGS).unlink(missing_ok=True)
    write_text_durably(out / "results.md", found.as_markdown())
    shown = shown_figures(runs)
    drawn = draw_curves(runs, shown, out)
    for figure in FIGURES:  # Those of an earlier comparison that no run has points for now.
        if out / f"{figure.name}.png" not in drawn:
            (out / f"{figure.name}.png").unlink(missing_ok=True)
    tables = [PageTable(table.title, table.header, table.rows) for table in found.tables]
    page = Page(tables, found.notes, [run.name for run in runs], equal_runs(shown, len(runs)), charts_of(shown, runs))
    write_text_durably(out / "index.html", page.html())


def tables_of(runs: Sequence[Run]) -> list[Table]:
    """Returns the table of the runs' results and, if settings differ, a table of those."""
    tables = [Table("Results", RESULTS, COLUMNS, [result_row(run) for run in runs])]
    differing = differences(runs)
    if differing:
        rows = [[run.name, *(values[place] for values in differing.values())] for place, run in enumerate(runs)]
        tables.append(Table("Settings", SETTINGS, ("run", *map(printable, differing)), rows))
    return tables


def result_row(run: Run) -> list[str]:
    """Returns a run's cells of the results table."""
    top1, top5 = run.series.get(TOP1), run.series.get(TOP5)
    cells = [MISSING] * 5
    if top1 is not None:
        epochs = run.epochs(TOP1)
        # The first of several equal values, as in the run's own result.json.
        best = max(range(len(top1.value)), key=lambda place: (math.isfinite(top1.value[place]), top1.value[place]))
        of_step = {} if top5 is None else dict(zip(top5.step, top5.value, strict=True))
        cells = [
            accuracy(top1.value[best]),
            # A validation in the middle of an epoch belongs to that epoch.
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
    """Returns an accuracy as a fraction with three digits; empty if there is none."""
    return MISSING if fraction is None else f"{fraction:.3f}"


def plain_three_digits(value: float) -> str:
    """Returns a number with three significant digits and without an exponent."""
    return f"{float(f'{value:.3g}'):.12g}"


def notes_of(runs: Sequence[Run]) -> list[str]:
    """Returns the notes on all runs, each with the name of its run."""
    return [f"{run.name}: {note}" for run in runs for note in run.notes]
