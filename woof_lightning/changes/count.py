"""Counts what a change takes to write, against the program before it.

The rules, written before the first count:

- Lines are logical lines after `ruff format`: a statement that spans several lines is one. Comments, blank lines and
  docstrings are none. Indentation does not count, so a block that moves into a `with` adds the `with` alone.
- What `train` returns does not count: only the comparison of the ways needs it.
- A line that is changed, such as a call with one more argument, is one removed and one added.
- A place is a run of changed lines without an unchanged one between them.
- A function is touched if a line of its own was added to it or removed from it. A method counts as a function, a class
  body and the top of the file as one each.
- New names are those of the way's libraries that the changed program uses and the base does not: what is imported,
  attributes, methods that the library calls, keyword arguments, and keys that the library reads. PyTorch's own are
  counted apart.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from woof_lightning.changes.find import Cell
from woof_lightning.measure.code import SKIPPED, framework_names

TORCH = ("torch",)
# The function that each program is.
PROGRAM = "train"


@dataclass(frozen=True)
class Count:
    """What a change takes to write.

    Args:
        added: Logical lines added.
        removed: Logical lines removed.
        places: Runs of changed lines.
        functions: Functions touched.
        names: New names of the way's libraries.
        torch_names: New names of PyTorch.
    """

    added: int
    removed: int
    places: int
    functions: int
    names: tuple[str, ...]
    torch_names: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """A logical line.

    Args:
        text: Its tokens, with a space between them.
        function: The dotted name of the function or class around it; empty at the top of the file.
        first: The number of the first line of the file that it stands on, from 0.
        end: The number of the line after its last.
    """

    text: str
    function: str
    first: int
    end: int


def count(cell: Cell) -> Count:
    """Counts a change. Imports the libraries that the cell needs."""
    base, changed = cell.base_file.read_text(encoding="utf-8"), cell.file.read_text(encoding="utf-8")
    added, removed, places = changed_lines(cell)
    return Count(
        len(added),
        len(removed),
        places,
        len({line.function for line in added + removed}),
        new_names(base, changed, cell.packages),
        new_names(base, changed, TORCH),
    )


def changed_lines(cell: Cell) -> tuple[list[Line], list[Line], int]:
    """Returns the lines that a change adds, those that it removes, and the number of places."""
    before, after = (list(lines_of(file.read_text(encoding="utf-8"))) for file in (cell.base_file, cell.file))
    added, removed = list[Line](), list[Line]()
    places = 0
    for kind, first, last, new_first, new_last in matched(before, after):
        if kind != "equal":
            places += 1
            removed += before[first:last]
            added += after[new_first:new_last]
    return added, removed, places


def matched(before: list[Line], after: list[Line]) -> Sequence[tuple[str, int, int, int, int]]:
    """Returns the opcodes of difflib between the texts of two programs' lines."""
    ours, theirs = ([line.text for line in lines] for lines in (before, after))
    return SequenceMatcher(None, ours, theirs, False).get_opcodes()


def new_names(base: str, changed: str, packages: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names of some packages that a program uses and its base does not."""
    if not packages:
        return ()
    return tuple(sorted(framework_names(changed, packages) - framework_names(base, packages)))


def lines_of(text: str) -> Iterator[Line]:
    """Yields the logical lines of a program, without docstrings."""
    functions = list(functions_of(ast.parse(text)))
    tokens = list[tokenize.TokenInfo]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            around = ["", *(name for name, lines in functions if tokens[0].start[0] in lines)][-1]
            is_docstring = all(part.type == tokenize.STRING for part in tokens)
            if not is_docstring and not (around == PROGRAM and tokens[0].string == "return"):
                text_of_line = " ".join(part.string for part in without_magic_commas(tokens))
                yield Line(text_of_line, around, tokens[0].start[0] - 1, tokens[-1].end[0])
            tokens = []
        elif token.type not in SKIPPED:
            tokens.append(token)


def without_magic_commas(tokens: list[tokenize.TokenInfo]) -> Iterator[tokenize.TokenInfo]:
    """Yields tokens without the commas that a formatter adds where it breaks a line after the last argument."""
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if not (token.string == "," and following is not None and following.string in ")]}"):
            yield token


def functions_of(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, range]]:
    """Yields functions and classes with the lines of each, outer ones first."""
    for part in ast.iter_child_nodes(node):
        if isinstance(part, (ast.FunctionDef, ast.ClassDef)):
            name = f"{prefix}{part.name}"
            first = min(one.lineno for one in (part, *part.decorator_list))
            yield name, range(first, (part.end_lineno or first) + 1)
            yield from functions_of(part, f"{name}.")
