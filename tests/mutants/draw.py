"""Draws mutants: source files with one small error each, as mutmut makes them, or with one call left out."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

PACKAGE = Path(__file__).parents[2] / "woof_lightning"
# Where the files of a room lie. The instruments of `woof cost` count as its room.
ROOMS = {
    "lit": ("lit",),
    "recipe": ("recipe",),
    "data": ("data",),
    "runs": ("runs",),
    "cost": ("cost", "measure", "parity.py"),
}
# A mutant within one of these calls changes what a user reads, and tests do not hold wording; or it changes a type.
SAYS = {
    "print",
    "raise_together",
    "append",
    "warn",
    "filterwarnings",
    "did_you_mean",
    "add_argument",
    "cast",
    "dataclass",
}


@dataclass(frozen=True)
class Mutant:
    """A small error in a file.

    Args:
        room: The room of the file.
        file: The file, relative to the package.
        line: The line of the error, from 1.
        before: The part that is replaced, on one line.
        after: What replaces it.
        key: A short name that stays the same while the line does.
    """

    room: str
    file: str
    line: int
    before: str
    after: str
    key: str

    def code(self) -> str:
        """Returns the whole file with the error."""
        (place,) = (place for place in places_of(PACKAGE / self.file) if place.key == self.key)
        return place.module.deep_replace(place.node, place.changed).code


@dataclass(frozen=True)
class Place:
    """Where a file can be changed, and how.

    Args:
        file: The file.
        module: Its parsed content.
        node: The node that is replaced.
        changed: What replaces it.
        line: The line of the node.
        key: The mutant's.
    """

    file: Path
    module: cst.Module
    node: Any
    changed: Any
    line: int
    key: str

    def mutant(self, room: str) -> Mutant | None:
        """Returns the mutant; None if it is no Python, or no change."""
        code = self.module.deep_replace(self.node, self.changed).code
        if code == self.module.code or not _compiles(code):
            return None
        before, after = (_one_line(self.module.code_for_node(part)) for part in (self.node, self.changed))
        return Mutant(room, str(self.file.relative_to(PACKAGE)), self.line, before, after, self.key)


def drawn(room: str, count: int, seed: int) -> list[Mutant]:
    """Returns a sample of the mutants of a room.

    The sample of a seed hardly changes when the package does: each mutant has a rank of its own.

    Args:
        room: A key of ROOMS.
        count: The size of the sample.
        seed: The seed of the draw.
    """
    places = [place for file in files_of(room) for place in places_of(file)]
    places.sort(key=lambda place: _digest(f"{seed} {place.key}"))
    return list(islice((mutant for place in places if (mutant := place.mutant(room))), count))


def files_of(room: str) -> list[Path]:
    """Returns the source files of a room."""
    places = [PACKAGE / name for name in ROOMS[room]]
    return [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*.py")))]


def places_of(file: Path) -> list[Place]:
    """Returns every place of a file, without those in messages, docstrings, annotations and imports."""
    text = file.read_text(encoding="utf-8")
    wrapper = MetadataWrapper(cst.parse_module(text))
    finder = _Finder()
    wrapper.visit(finder)
    lines, seen, found = text.splitlines(), Counter[str](), []
    for node, changed, line in finder.found:
        before, after = (wrapper.module.code_for_node(part) for part in (node, changed))
        named = "\n".join((str(file.relative_to(PACKAGE)), lines[line - 1].strip(), before, after))
        seen[named] += 1
        found.append(Place(file, wrapper.module, node, changed, line, _digest(f"{named}\n{seen[named]}")[:10]))
    return found


class _Finder(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[Any, Any, int]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, (cst.Annotation, cst.Import, cst.ImportFrom, cst.Raise, cst.Assert, cst.FormattedString)):
            return False
        if isinstance(node, cst.Call) and _name_of(node.func) in SAYS | {"UserError", "UnreadableImageError"}:
            return False
        if isinstance(node, cst.If) and m.matches(node.test, m.Name("TYPE_CHECKING")):
            return False
        if isinstance(node, cst.SimpleString) and not _is_a_name(node):
            return False
        for changed in _changes(node):
            self.found.append((node, changed, self.get_metadata(PositionProvider, node).start.line))
        return True


def _changes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            yield from operator(node)
    # What mutmut has no operator for: a forgotten call, such as a flush.
    if m.matches(node, m.SimpleStatementLine(body=[m.Expr(value=m.Call())])):
        yield cst.SimpleStatementLine([cst.Pass()])


def _name_of(function: cst.BaseExpression) -> str:
    return function.attr.value if isinstance(function, cst.Attribute) else getattr(function, "value", "")


def _is_a_name(text: cst.SimpleString) -> bool:
    """Returns whether a text is a key, a file name or the like, and no sentence."""
    return bool(re.fullmatch(r"[\w./\-*%]+", str(text.evaluated_value)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _one_line(code: str) -> str:
    return " ".join(code.split())[:200]


def _compiles(code: str) -> bool:
    try:
        compile(code, "mutant", "exec")
    except SyntaxError:
        return False
    return True
