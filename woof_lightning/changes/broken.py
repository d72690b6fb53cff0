"""Breaks a change in every way that one forgotten line can, and sorts what happens then.

The rules, written before the first count:

- A line that the change adds is left out. A `with` is left out alone, any other block with all that is in it.
- A line that the change alters is left as it was in the base. Lines of one function belong together if they are alike.
- A keyword argument that the change adds is left out, and so is an item that it adds to a dict, if its key is a text.
- Imports are broken, too, and counted apart: an editor finds them before anybody runs the program.
- What `train` returns is not broken: only the comparison needs it.
- Two ways to break a change that give the same program count once.

Each broken program trains as the right one does: once through, and once killed in its last epoch and resumed.
"""

from __future__ import annotations

import ast
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from woof_lightning.changes.count import Line, lines_of, matched
from woof_lightning.changes.equal import KILLED_BEFORE_END, differences_of_states, last_metrics_differ
from woof_lightning.changes.find import Cell, Mistake
from woof_lightning.changes.trial import Outcome, run_program

LEFT_OUT, AS_BEFORE, ARGUMENT, IMPORT = "line left out", "line as before", "argument left out", "import"
REFUSED = "refused before the first step"
RAISED = "raised later"
WARNED = "warned"
SILENT = "silent and wrong"
NOT_REPORTED = "a report is missing"
NO_EFFECT = "no effect"
OUTCOMES = (REFUSED, RAISED, WARNED, SILENT, NOT_REPORTED, NO_EFFECT)
# Lines of one function that are at least so much alike are the same line, altered.
ALIKE = 0.5
# A checkpoint whose size differs by less has the same content: paths in it may be longer.
SAME_BYTES = 1000
LARGER, SMALLER = "the checkpoint is larger", "the checkpoint is smaller"


@dataclass(frozen=True)
class Break:
    """A change with one thing forgotten.

    Args:
        kind: LEFT_OUT, AS_BEFORE, ARGUMENT or IMPORT.
        line: The number of the line in the file, from 1.
        what: The line, or the argument and its line.
        text: The program.
    """

    kind: str
    line: int
    what: str
    text: str


@dataclass(frozen=True)
class Found:
    """What a broken program did.

    Args:
        outcome: One of OUTCOMES.
        detail: The error, the warning, or what differs.
    """

    outcome: str
    detail: str


def breaks_of(cell: Cell) -> Iterator[Break]:
    """Yields every way to break a change by forgetting one thing."""
    base, text = cell.base_file.read_text(encoding="utf-8"), cell.file.read_text(encoding="utf-8")
    seen = {ast.dump(ast.parse(text))}
    for one in _all_breaks(base, text):
        try:
            program = ast.dump(ast.parse(one.text))
        except SyntaxError:  # Python refuses it before anything runs; an editor does so before that.
            continue
        if program not in seen:
            seen.add(program)
            yield one


def _all_breaks(base: str, text: str) -> Iterator[Break]:
    old, new = base.splitlines(), text.splitlines()
    before, after = list(lines_of(base)), list(lines_of(text))
    places = [code[1:] for code in matched(before, after) if code[0] != "equal"]
    gone = [line for first, last, _, _ in places for line in before[first:last]]
    come = [line for _, _, first, last in places for line in after[first:last]]
    altered = pairs(gone, come)
    for line in come:
        shown = " ".join(part.strip() for part in new[line.first : line.end])
        is_import = line.text.startswith(("import ", "from "))
        if line in altered:
            was = old[altered[line].first : altered[line].end]
            yield Break(IMPORT if is_import else AS_BEFORE, line.first + 1, shown, replaced(new, line, was))
        else:
            yield Break(IMPORT if is_import else LEFT_OUT, line.first + 1, shown, left_out(new, line))
        if not is_import:
            yield from without_arguments(new, line, altered.get(line), old)


def pairs(before: Sequence[Line], after: Sequence[Line]) -> dict[Line, Line]:
    """Returns the lines that were altered, each with what it was before; the most alike first.

    A line that only moved was not altered.

    Args:
        before: The lines that are gone.
        after: The lines that have come.
    """
    alike = sorted(
        (
            (SequenceMatcher(None, ours.text, theirs.text, False).ratio(), place, ours, theirs)
            for place, ours in enumerate(after)
            for theirs in before
            if ours.function == theirs.function and ours.text != theirs.text
        ),
        key=lambda one: (-one[0], one[1]),
    )
    found: dict[Line, Line] = {}
    for ratio, _, ours, theirs in alike:
        if ratio >= ALIKE and ours not in found and theirs not in found.values():
            found[ours] = theirs
    return found


def indent_of(line: str) -> int:
    """Returns the number of spaces before a line."""
    return len(line) - len(line.lstrip())


def replaced(lines: list[str], line: Line, by: Sequence[str]) -> str:
    """Returns a program with a logical line replaced by others, at its indentation."""
    spaces = " " * indent_of(lines[line.first])
    inner = textwrap.indent(textwrap.dedent("\n".join(by)), spaces).splitlines()
    return "\n".join([*lines[: line.first], *inner, *lines[line.end :]]) + "\n"


def left_out(lines: list[str], line: Line) -> str:
    """Returns a program without a logical line; a block goes with it, but for that of a `with`."""
    indent = indent_of(lines[line.first])
    end = line.end
    while end < len(lines) and (not lines[end].strip() or indent_of(lines[end]) > indent):
        end += 1
    while end > line.end and not lines[end - 1].strip():
        end -= 1
    block = lines[line.end : end]
    kept = textwrap.dedent("\n".join(block)).splitlines() if line.text.startswith("with ") else []
    # `pass`: Otherwise the block around it may be empty.
    inner = [" " * indent + part if part else part for part in kept] or [" " * indent + "pass"]
    return "\n".join([*lines[: line.first], *inner, *lines[end:]]) + "\n"


def without_arguments(new: list[str], line: Line, was: Line | None, old: list[str]) -> Iterator[Break]:
    """Yields a program without each keyword argument, or text key of a dict, that a line has and had not before.

    Args:
        new: The lines of the changed program.
        line: A line of it.
        was: What that line was before; None if it was not there.
        old: The lines of the base.
    """
    tree = parsed(new[line.first : line.end])
    had = set() if was is None else {name for _, _, name in arguments_of(parsed(old[was.first : was.end]))}
    for parts, place, name in list(arguments_of(tree)):
        if name not in had:
            kept = [part.pop(place) for part in parts]
            changed = ast.unparse(tree).removesuffix("\n    pass")
            for part, item in zip(parts, kept, strict=True):
                part.insert(place, item)
            what = f"{name} in {ast.unparse(tree).splitlines()[0]}"
            yield Break(ARGUMENT, line.first + 1, what, replaced(new, line, [changed]))


def parsed(lines: Sequence[str]) -> ast.Module:
    """Returns the syntax tree of a logical line; an empty one if it cannot stand alone, as an `else:`."""
    text = textwrap.dedent("\n".join(lines))
    try:
        return ast.parse(text + " pass" if text.endswith(":") else text)
    except SyntaxError:
        return ast.Module([], [])


def arguments_of(tree: ast.Module) -> Iterator[tuple[list[list[Any]], int, str]]:
    """Yields keyword arguments of calls and text keys of dicts: the lists they are in, their place, their name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for place, keyword in enumerate(node.keywords):
                if keyword.arg is not None:
                    yield [node.keywords], place, keyword.arg
        elif isinstance(node, ast.Dict):
            for place, key in enumerate(node.keys):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield [node.keys, node.values], place, repr(key.value)


@dataclass(frozen=True)
class Right:
    """What the program does that nobody broke.

    Args:
        whole: Once through.
        resumed: Killed and resumed.
        processes: The number of processes that train together.
    """

    whole: Outcome
    resumed: Outcome
    processes: int

    @classmethod
    def of(cls, cell: Cell, folder: Path) -> Right:
        """Trains with the program of a cell.

        Args:
            cell: The cell.
            folder: An empty folder.
        """
        whole = run_program(cell.file, folder / "whole", processes=cell.processes)
        resumed = resumed_after(cell.file, folder / "cut", whole.steps - KILLED_BEFORE_END, cell.processes)
        return cls(whole, resumed, cell.processes)


def resumed_after(file: Path, folder: Path, steps: int, processes: int) -> Outcome:
    """Returns what a program does that was killed after some steps and resumes."""
    run_program(file, folder, kill_after=steps, processes=processes)
    return run_program(file, folder, resume=True, processes=processes)


def sorted_out(program: str, right: Right, folder: Path) -> Found:
    """Trains with a broken program and sorts what happens.

    Args:
        program: The broken program.
        right: What the right one does.
        folder: A folder that is emptied first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = folder / "broken_way.py"
    file.write_text(program, encoding="utf-8")
    whole = run_program(file, folder / "whole", processes=right.processes)
    if whole.error or not whole.ended:
        return Found(RAISED if whole.steps else REFUSED, first_line(whole.error))
    warned = [text for text in whole.warnings if text not in right.whole.warnings]
    wrong = wrong_in(whole, right.whole)
    if wrong in ([], [LARGER], [SMALLER]):  # A resume may notice what a checkpoint lacks.
        steps = right.whole.steps - KILLED_BEFORE_END
        resumed = resumed_after(file, folder / "cut", steps, right.processes)
        if resumed.error or not resumed.ended:
            return Found(RAISED, f"resumed: {first_line(resumed.error)}")
        warned += [text for text in resumed.warnings if text not in right.resumed.warnings]
        wrong += [f"resumed {text}" for text in wrong_in(resumed, right.resumed)]
    if warned:
        return Found(WARNED, first_line(warned[0]))
    missing = [text for text in wrong if text.startswith("report ")]
    if wrong and len(missing) == len(wrong):
        return Found(NOT_REPORTED, "; ".join(wrong))
    return Found(SILENT, "; ".join(wrong)) if wrong else Found(NO_EFFECT, "")


def of_mistake(cell: Cell, mistake: Mistake, folder: Path) -> Found:
    """Makes a mistake in a cell and sorts what happens.

    Args:
        cell: The cell.
        mistake: The mistake.
        folder: An empty folder.
    """
    text = mistake.program(cell.file.read_text(encoding="utf-8"))
    return sorted_out(text, Right.of(cell, folder / "right"), folder / "brok")


def wrong_in(ours: Outcome, right: Outcome) -> list[str]:
    """Returns what is wrong with what a program trained, reported and saved."""
    found = list(differences_of_states(ours, right))
    for tag in right.metrics:
        if tag not in ours.metrics:
            found.append(f"report {tag} is missing")
    found += [text for text in last_metrics_differ(ours, right) if text.removeprefix("metric ") in ours.metrics]
    if len(ours.metrics) == len(right.metrics) and not found and ours.metrics != right.metrics:
        found += [f"metric {tag}" for tag, values in right.metrics.items() if ours.metrics[tag] != values]
    if abs(ours.saved_bytes - right.saved_bytes) > SAME_BYTES and not found:
        found.append(LARGER if ours.saved_bytes > right.saved_bytes else SMALLER)
    return found


def first_line(text: str) -> str:
    """Returns the first line of a message, cut to what a table can show."""
    return text.strip().splitlines()[0][:200] if text.strip() else ""
