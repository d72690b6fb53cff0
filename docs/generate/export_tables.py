"""The tables of docs/export.md, from the rows of docs/results/export/measure.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.generate.change_tables import conditions
from docs.generate.result_tables import read_rows
from docs.results.export.measure import EACH, FILE, ONCE, TENSOR
from woof_lightning.compare.tables import markdown_table


def export_table(folder: Path) -> str:
    """How far each format's answers are from those of `woof predict`, a row for each."""
    rows = read_rows(folder / "rows.csv")
    found = {(row["format"], row["given"]): row for row in rows}
    table = []
    for to in dict.fromkeys(row["format"] for row in rows):
        by_tensor, by_file = found[to, TENSOR], found[to, FILE]
        table.append(
            [
                f"`{to}`",
                f"{int(by_file['size_bytes']) / 1e6:.1f} MB",
                by_tensor["largest_difference"],
                f"{by_file['same_top1']} of {by_file['images']}",
                by_file["largest_difference"],
                "in the graph" if by_file["preprocess_in_graph"] == "True" else "by the script",
            ]
        )
    header = ("format", "file", "same tensor: difference", "same file: same top-1", "difference", "preprocessing")
    return markdown_table(header, table)


def pixels_table(folder: Path) -> str:
    """How many pixels a resize in floats changes, a row for each size."""
    found = {(row["size_px"], row["rounded"]): row for row in read_rows(folder / "pixels.csv")}
    table = []
    for size_px in dict.fromkeys(size for size, _ in found):
        cells = [found[size_px, rounded] for rounded in (EACH, ONCE)]
        shares = [f"{float(row['share_that_differs']):.1%}, by at most {row['largest_levels']}" for row in cells]
        table.append([f"{size_px} px", *shares])
    return markdown_table(("crop", f"rounded {EACH}, as exported", f"rounded {ONCE}"), table)


EXPORT_TABLES: dict[str, Callable[[Path], str]] = {
    "export": export_table,
    "export-pixels": pixels_table,
    "export-conditions": conditions,
}
