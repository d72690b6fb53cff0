"""Figures in the docs, written from committed results: `python -m woof_lightning.runs.pages PAGE…`."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

BLOCK = re.compile(r"(<!-- generated: (\S+) from (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def regenerated(page: Path) -> str:
    """The text of a Markdown page with each of its generated blocks written anew.

    A block stands between `<!-- generated: TABLE from FOLDER -->` and `<!-- end -->`; the folder is
    relative to the page.
    """

    def block(match: re.Match[str]) -> str:
        return match[1] + TABLES[match[2]](page.parent / match[3]) + match[4]

    return BLOCK.sub(block, page.read_text())


def runs_table(folder: Path) -> str:
    """A row per run below the folder: its seed, best and final metrics."""
    rows = []
    for file in sorted(folder.glob("*/result.json")):
        result = json.loads(file.read_text())
        best, final = result["best"], result["final"]
        cells = [f"{values[f'val/{name}']:.3f}" for values in (best, final) for name in ("acc1", "acc5")]
        rows.append([str(result["seed"]), str(result["epochs"]), *cells, str(best["epoch"] + 1)])
    header = ("seed", "epochs", "best top-1", "its top-5", "final top-1", "its top-5", "epoch of the best")
    return markdown_table(header, rows)


def epoch_times_table(folder: Path) -> str:
    """The times of a plain script's epochs and of `woof fit`'s, taken in turns."""
    with (folder / "rows.csv").open(newline="") as file:
        rows = {(row["arm"], int(row["repeat"])): row for row in csv.DictReader(file)}
    times = {key: float(row["two_epochs_s"]) for key, row in rows.items()}
    repeats = sorted({repeat for _, repeat in rows})
    table = [
        [
            str(repeat),
            f"{times['plain', repeat]:.0f} s",
            f"{times['fit', repeat]:.0f} s",
            f"{times['fit', repeat] / times['plain', repeat]:.2f}",
            *(f"{float(rows[arm, repeat]['val_acc1']):.3f}" for arm in ("plain", "fit")),
        ]
        for repeat in repeats
    ]
    return markdown_table(("repeat", "plain script", "`woof fit`", "ratio", "top-1, plain", "top-1, fit"), table)


TABLES: dict[str, Callable[[Path], str]] = {"runs": runs_table, "epoch-times": epoch_times_table}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(pages: Sequence[str]) -> None:
    """Rewrites the generated blocks of each page."""
    for page in map(Path, pages):
        page.write_text(regenerated(page))


if __name__ == "__main__":
    main(sys.argv[1:])
