"""Tables as text: for a terminal, and in Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import zip_longest


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def printable(text: str) -> str:
    """A text on one line: what cannot be printed as its escape, so that two that differ still do."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def no_markdown(text: str) -> str:
    """A text that Markdown shows as it is; a pipe is up to the table."""
    return re.sub(r"([\\<*`])", r"\\\1", text)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in columns of equal width; a head of several words takes several lines where its column is narrower."""
    widths = [max(map(len, [*name.split(), *column])) for name, *column in zip(header, *rows, strict=True)]
    heads = [textwrap.wrap(name, width, break_on_hyphens=False) for name, width in zip(header, widths, strict=True)]
    lines = [*zip_longest(*heads, fillvalue=""), *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def three_digits(value: float, *, signed: bool = False) -> str:
    """A number with three significant digits, its thousands apart."""
    rounded = float(f"{value:.3g}")
    sign = "+" if signed else ""
    return f"{rounded:{sign},.0f}" if abs(rounded) >= 1000 else f"{rounded:{sign}.3g}"
