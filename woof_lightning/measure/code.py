"""Counts code: logical lines, and the names of a framework that a source text uses."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Container, Iterable

from woof_lightning.measure.names import NameFinder

SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}


def logical_lines(text: str) -> int:
    """Returns the number of logical lines of a source text, which are its NEWLINE tokens, without docstrings."""
    return len(logical_line_starts(text))


def logical_line_starts(text: str) -> list[int]:
    """Returns the number of the line in which each logical line of a source text starts, without docstrings."""
    starts, current = list[int](), list[tokenize.TokenInfo]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            if not all(part.type == tokenize.STRING for part in current):
                starts.append(current[0].start[0])
            current = []
        elif token.type not in SKIPPED:
            current.append(token)
    return starts


def framework_names(text: str, packages: Iterable[str], lines: Container[int] | None = None) -> set[str]:
    """Returns the names of a framework that a source text uses.

    These are:

    - What the text imports from the framework.
    - Attributes that the framework's own code defines, where the type of their object is known: from an import, an
      annotation, a call, or a base class. Attributes that come from other packages, such as those of every torch
      module, do not count. If nothing tells the type, an attribute counts if a class that the text imports has it.
    - Methods which the framework calls, of classes that derive from its own.
    - Keyword arguments in calls of the framework, and the keys of a dict all of which are arguments of one imported
      class.
    - Keys which the framework reads from what a method returns, as the annotation of the overridden method lists them.

    Args:
        text: The source text.
        packages: The import names of the framework's packages.
        lines: The lines whose names count; by default all.
    """
    return NameFinder(text, packages, lines).used
