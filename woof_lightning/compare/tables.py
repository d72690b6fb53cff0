"""Tables as text: for a terminal, and in Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import zip_longest


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table. Pipes in the cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def printable(text: str) -> str:
    """Returns a text on one line. Characters that cannot be printed are escaped, so different texts stay different."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def no_markdown(text: str) -> str:
    """Returns a text with Markdown and HTML escaped, except pipes, which `markdown_table` escapes."""
    return re.sub(r"([\\<*`])", r"\\\1", text)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table for a terminal. A header of several words is wrapped if its column is narrower."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, [*name.split(), *column])) for name, *column in zip(header, *rows, strict=True)]
    heads = [textwrap.wrap(name, width, break_on_hyphens=False) for name, width in zip(header, widths, strict=True)]
    lines = [*zip_longest(*heads, fillvalue=""), *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def three_digits(value: float, *, signed: bool = False) -> str:
    """Returns a number with three significant digits and commas between the thousands."""
    rounded = float(f"{value:.3g}")
    sign = "+" if signed else ""
    return f"{rounded:{sign},.0f}" if abs(rounded) >= 1000 else f"{rounded:{sign}.3g}"
