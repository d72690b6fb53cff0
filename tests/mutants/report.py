"""Counts what became of the mutants, and lists those that nobody noticed: `python -m tests.mutants.report FOLDER`."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

import yaml

from tests.mutants.draw import ROOMS

# A mutant that changes nothing anybody can observe counts as noticed if its reason is written here, by its key.
EQUIVALENT = "equivalent.yaml"
MOST_EQUIVALENT_SHARE = 0.1
FEWEST_KILLED_SHARE = 0.85


def read_rows(file: Path) -> list[dict[str, str]]:
    """Returns the rows of a sample."""
    with file.open(newline="", encoding="utf-8") as rows:
        return list(csv.DictReader(rows))


def report(folder: Path) -> str:
    """Returns the tables of all samples in a folder as Markdown.

    Args:
        folder: Holds `seed-N.csv` of each sample, and the reasons for equivalent mutants.
    """
    reasons: dict[str, str] = yaml.safe_load((folder / EQUIVALENT).read_text(encoding="utf-8")) or {}
    parts = []
    for file in sorted(folder.glob("seed-*.csv")):
        rows = read_rows(file)
        parts.append(f"## {file.stem}\n\n{_table(rows, reasons)}\n\n{_alive(rows, reasons)}")
    return "\n\n".join(parts) + "\n"


def _table(rows: list[dict[str, str]], reasons: dict[str, str]) -> str:
    lines = ["| room | mutants | noticed | of them by time | equivalent | share |", "|---|---|---|---|---|---|"]
    for room in ROOMS:
        found = Counter(_outcome(row, reasons) for row in rows if row["room"] == room)
        if count := found.total():
            noticed = found["killed"] + found["timeout"]
            share = (noticed + found["equivalent"]) / count
            lines.append(f"| {room} | {count} | {noticed} | {found['timeout']} | {found['equivalent']} | {share:.0%} |")
    return "\n".join(lines)


def _alive(rows: list[dict[str, str]], reasons: dict[str, str]) -> str:
    lines = ["| not noticed | was | became | why |", "|---|---|---|---|"]
    for row in rows:
        if row["outcome"] == "alive":
            before, after = (row[name].replace("|", "\\|") for name in ("before", "after"))
            place = f"{row['file']}:{row['line']}"
            lines.append(f"| {place} | `{before}` | `{after}` | {reasons.get(row['key'], '')} |")
    return "\n".join(lines)


def _outcome(row: dict[str, str], reasons: dict[str, str]) -> str:
    return "equivalent" if row["outcome"] == "alive" and row["key"] in reasons else row["outcome"]


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "survivors.md").write_text(report(place), encoding="utf-8")
    print(report(place))
