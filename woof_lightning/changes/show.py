"""Shows a change as text: the differences to the base, beside each other."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from woof_lightning.changes.find import Cell

# Narrower columns would break most lines.
NARROWEST = 60
GAP = " | "
BETWEEN_PLACES = "..."


def diff_of(cell: Cell) -> list[str]:
    """Returns the lines that a change removes (-) and adds (+), with the line before and after each place."""
    before, after = (file.read_text(encoding="utf-8").splitlines() for file in (cell.base_file, cell.file))
    return difference(before, after, around=1)


def difference(before: Sequence[str], after: Sequence[str], *, around: int) -> list[str]:
    """Returns the lines that only one of two texts has, with three dots between their places.

    Args:
        before: The lines of one text.
        after: The lines of the other.
        around: Number of equal lines before and after each place.
    """
    lines = list(difflib.unified_diff(before, after, n=around, lineterm=""))[2:]
    places = [BETWEEN_PLACES if line.startswith("@@") else line for line in lines]
    return places[1:]


def beside(columns: Mapping[str, Sequence[str]], width: int) -> str:
    """Returns texts beside each other, as many as fit, and the rest below.

    Args:
        columns: The lines of each text, by its heading.
        width: The width of the terminal, in characters.
    """
    at_once = max(1, (width + len(GAP)) // (NARROWEST + len(GAP)))
    names = list(columns)
    blocks = []
    for first in range(0, len(names), at_once):
        shown = names[first : first + at_once]
        each = max(NARROWEST, (width + len(GAP)) // len(shown) - len(GAP))
        folded = [fold([name, "=" * len(name), *columns[name]], each) for name in shown]
        rows = zip_longest(*folded, fillvalue="")
        blocks.append("\n".join(GAP.join(f"{part:<{each}}" for part in row).rstrip() for row in rows))
    return "\n\n".join(blocks)


def fold(lines: Sequence[str], width: int) -> list[str]:
    """Returns lines of at most a width; the rest of a longer one goes below it, behind two spaces.

    Args:
        lines: The lines.
        width: The width, in characters.
    """
    folded: list[str] = []
    for line in lines:
        folded += textwrap.wrap(
            line, width, subsequent_indent="  ", drop_whitespace=False, replace_whitespace=False
        ) or [""]
    return folded
