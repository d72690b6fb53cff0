"""The rows of a plan's steps, and what is brought back: records alone, never a checkpoint, a cache or an image."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

DONE, FAILED, CUT = "done", "failed", "cut"
ROWS, RESULTS = "rows.csv", "results.tar.gz"
LOGS = "logs"
# What a record's name ends with. Figures can be drawn again from the others.
SUFFIXES = (".yaml", ".csv", ".json", ".md", ".txt", ".log")
EVENTS = "events.out.tfevents."
# The end of a log tells what failed; a progress bar can make it long.
MOST_LOG_BYTES = 40_000


@dataclass(frozen=True)
class Row:
    """How a step ended.

    Args:
        step: The step's name.
        part: The part of the plan.
        status: DONE, FAILED, or CUT when the call's time was over.
        seconds: How long it took.
        exit_code: Its exit code; negative for the signal that killed it.
        error: The last line that it printed, if it failed.
        note: What a reader must know.
        ended: When, in UTC.
    """

    step: str
    part: str
    status: str
    seconds: float
    exit_code: int
    error: str
    note: str
    ended: str


class Rows:
    """The rows of all calls, in a file to which each is appended at once.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> list[Row]:
        """Returns all rows, in the order in which they were written."""
        if not self.file.exists():
            return []
        with self.file.open(newline="", encoding="utf-8") as opened:
            return [
                Row(**{**row, "seconds": float(row["seconds"]), "exit_code": int(row["exit_code"])})  # type: ignore[arg-type]
                for row in csv.DictReader(opened)
            ]

    def latest(self) -> dict[str, Row]:
        """Returns the last row of each step, by its name."""
        return {row.step: row for row in self.read()}

    def add(self, row: Row) -> None:
        """Appends a row, and waits until it is on the disk."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self.file.exists():
            writer.writerow([field.name for field in fields(Row)])
        writer.writerow(asdict(row).values())
        with self.file.open("a", newline="", encoding="utf-8") as opened:
            opened.write(text.getvalue())
            opened.flush()
            os.fsync(opened.fileno())


def is_record(file: Path) -> bool:
    """Returns whether a file is brought back."""
    return "checkpoints" not in file.parts and (file.suffix in SUFFIXES or file.name.startswith(EVENTS))


def records(work: Path, kept: Iterable[str]) -> Iterator[Path]:
    """Yields the records among files and folders.

    Args:
        work: The work folder.
        kept: Their paths in it. Those that are not there are passed over.
    """
    for name in kept:
        place = work / name
        found = [place] if place.is_file() else sorted(place.rglob("*"))
        yield from (file for file in found if file.is_file() and not file.is_symlink() and is_record(file))


def bring_back(work: Path, out: Path, kept: Iterable[str]) -> None:
    """Writes rows.csv and results.tar.gz, which has the rows and all records, in one step each.

    Two files, since not every way to copy results takes folders.

    Args:
        work: The work folder.
        out: The folder that is brought back.
        kept: What to take, as `records` takes it.
    """
    out.mkdir(parents=True, exist_ok=True)
    temporary = work / RESULTS
    with tarfile.open(temporary, "w:gz") as archive:
        for file in records(work, (ROWS, *kept, LOGS)):
            name = file.relative_to(work).as_posix()
            if file.parent.name == LOGS:
                _add_end(archive, file, name)
            else:
                archive.add(file, name)
    for file in (temporary, work / ROWS):
        if file.exists():
            beside = out / f".{file.name}"
            shutil.copyfile(file, beside)
            beside.replace(out / file.name)


def _add_end(archive: tarfile.TarFile, file: Path, name: str) -> None:
    content = file.read_bytes()[-MOST_LOG_BYTES:]
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(content), int(file.stat().st_mtime)
    archive.addfile(member, io.BytesIO(content))


def restore(brought: Path, work: Path) -> bool:
    """Puts the records of an earlier call back, so that this one goes on after it. Does nothing if there are rows.

    What was cut is left out: its checkpoints were not brought back, so it begins anew.

    Args:
        brought: results.tar.gz of that call.
        work: The work folder.

    Returns:
        Whether something was restored.
    """
    if (work / ROWS).exists() or not brought.is_file():
        return False
    with tarfile.open(brought) as archive:
        archive.extractall(work, filter="data")
    return True
