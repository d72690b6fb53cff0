"""Counts and breaks the changes of the gallery, and keeps the rows of both."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from woof_lightning.changes.broken import Break, Found, Right, breaks_of, sorted_out
from woof_lightning.changes.count import count
from woof_lightning.changes.find import PACKAGES, ROADS, Cell, Change, pairs
from woof_lightning.changes.merge import judge, reference_of, try_merged
from woof_lightning.errors import UserError
from woof_lightning.measure.conditions import add_call

COUNTS, BROKEN, PAIRS, JUDGED = "counts.csv", "broken.csv", "pairs.csv", "reported_pairs.csv"
CONDITIONS = "conditions.json"
# Changed programs are counted in one file each; none needs another.
FILES = 1
COUNT_COLUMNS = ("change", "way", "added", "removed", "places", "functions", "files", "names", "torch_names")
JUDGED_COLUMNS = ("first", "second", "way", "put_together", "outcome", "detail")
PAIR_COLUMNS = ("way", "first", "second", "outcome", "detail")
BROKEN_COLUMNS = ("change", "way", "kind", "line", "what", "outcome", "detail")


@dataclass(frozen=True)
class BrokenRow:
    """What one broken program did.

    Args:
        change: The change.
        way: The way.
        kind: How it was broken.
        line: The number of the line in the program.
        what: The line, or the argument and its line.
        outcome: One of broken.OUTCOMES.
        detail: The error, the warning, or what differs.
    """

    change: str
    way: str
    kind: str
    line: int
    what: str
    outcome: str
    detail: str


def write_counts(changes: Sequence[Change], file: Path) -> None:
    """Counts every cell and writes the rows. Names are separated by spaces."""
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COUNT_COLUMNS)
        for cell in cells_of(changes):
            found = count(cell)
            numbers = (found.added, found.removed, found.places, found.functions, FILES)
            writer.writerow((cell.change, cell.way, *numbers, " ".join(found.names), " ".join(found.torch_names)))


def break_all(changes: Sequence[Change], file: Path) -> None:
    """Breaks every cell in every way, and appends a row for each that is not there yet.

    Args:
        changes: The changes.
        file: The rows.

    Raises:
        UserError: If a program fails that nobody broke.
    """
    todo = [(cell, list(breaks_of(cell))) for cell in cells_of(changes)]
    done = {key_of(row.change, row.way, row) for row in read_broken(file)} if file.exists() else set()
    if not file.exists():
        append(file, BROKEN_COLUMNS)
    with tqdm(total=sum(len(breaks) for _, breaks in todo), desc="broken programs", disable=None) as bar:
        for cell, breaks in todo:
            missing = [one for one in breaks if key_of(cell.change, cell.way, one) not in done]
            bar.update(len(breaks) - len(missing))
            for one, found in outcomes(cell, missing):
                append(file, (cell.change, cell.way, one.kind, one.line, one.what, found.outcome, found.detail))
                bar.update()
    put_in_order(file, [key_of(cell.change, cell.way, one) for cell, breaks in todo for one in breaks])


def put_in_order(file: Path, keys: Sequence[tuple[str, str, str, int, str]]) -> None:
    """Sorts rows of broken programs, which a resumed call has appended.

    Args:
        file: The rows.
        keys: What tells one from all others, in the order of the programs. Other rows come last.
    """
    place = {key: number for number, key in enumerate(keys)}
    rows = sorted(read_broken(file), key=lambda row: place.get(key_of(row.change, row.way, row), len(place)))
    ordered = file.with_suffix(".new")
    for row in (BROKEN_COLUMNS, *(astuple(row) for row in rows)):
        append(ordered, row)
    ordered.replace(file)


def key_of(change: str, way: str, one: Break | BrokenRow) -> tuple[str, str, str, int, str]:
    """Returns what tells one broken program from all others."""
    return change, way, one.kind, one.line, one.what


def outcomes(cell: Cell, breaks: Sequence[Break]) -> Iterator[tuple[Break, Found]]:
    """Yields what a cell does if it is broken.

    Args:
        cell: The cell.
        breaks: The ways to break it.

    Raises:
        UserError: If it fails without being broken.
    """
    if not breaks:
        return
    with TemporaryDirectory(prefix="woof-change-") as place:
        right = Right.of(cell, Path(place, "right"))
        if right.whole.error or right.resumed.error:
            raise UserError(f"{cell.file} fails by itself: {right.whole.error or right.resumed.error}")
        for one in breaks:
            yield one, sorted_out(one.text, right, Path(place, "brok"))


def write_pairs(changes: Sequence[Change], file: Path) -> None:
    """Merges the changes of each way in pairs, tries the programs, and writes the rows."""
    todo = [(way, *pair) for way in PACKAGES for pair in combinations(roads_of(changes, way), 2)]
    with file.open("w", newline="", encoding="utf-8") as out, TemporaryDirectory(prefix="woof-change-") as place:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(PAIR_COLUMNS)
        for number, (way, first, second) in enumerate(tqdm(todo, desc="pairs of changes", disable=None)):
            found = try_merged(first, second, Path(place, str(number)))
            writer.writerow((way, first.change, second.change, found.outcome, found.detail))


def write_judged(file: Path) -> None:
    """Trains with the reported pairs of changes, compares with the programs by hand, and writes the rows."""
    with file.open("w", newline="", encoding="utf-8") as out, TemporaryDirectory(prefix="woof-change-") as place:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(JUDGED_COLUMNS)
        for pair in tqdm(pairs(), desc="reported pairs", disable=None):
            reference = reference_of(pair, Path(place, pair.name, "reference"))
            for way in (*PACKAGES, *ROADS):
                found = judge(pair, way, reference, Path(place, pair.name, way))
                if found is not None:
                    row = (found.put_together, found.outcome, found.detail)
                    writer.writerow((pair.first.name, pair.second.name, way, *row))


def roads_of(changes: Sequence[Change], way: str) -> list[Cell]:
    """Returns the programs of a way, on the next of its roads where the first does not lead to a change."""
    return [cell for change in changes if (cell := change.road(way)) is not None]


def cells_of(changes: Sequence[Change]) -> Iterator[Cell]:
    """Yields the cells of changes."""
    for change in changes:
        yield from change.cells.values()


def append(file: Path, row: Sequence[object]) -> None:
    """Appends a row to a CSV file."""
    with file.open("a", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerow(row)


def read_broken(file: Path) -> list[BrokenRow]:
    """Returns the rows of broken programs."""
    with file.open(newline="", encoding="utf-8") as rows:
        return [
            BrokenRow(r["change"], r["way"], r["kind"], int(r["line"]), r["what"], r["outcome"], r["detail"])
            for r in csv.DictReader(rows)
        ]


def note_conditions(
    folder: Path, command: str, files: Sequence[str], versions: dict[str, str], machine: dict[str, object]
) -> None:
    """Writes under which conditions a command made rows, beside those of commands whose rows are still there.

    Args:
        folder: The folder of the rows.
        command: The command.
        files: The names of the files with its rows.
        versions: The versions of the libraries.
        machine: The machine.
    """
    call: dict[str, object] = {"command": command, "files": [*files], "date": time.strftime("%Y-%m-%d")}
    call |= {"machine": machine, "versions": versions}
    add_call(folder / CONDITIONS, call, replaces=lambda earlier: set(earlier["files"]) <= set(files))
