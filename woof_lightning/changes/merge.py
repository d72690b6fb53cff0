"""Puts two changes into one program, as git merges two branches, and says whether that runs and does both."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from woof_lightning.changes.broken import first_line
from woof_lightning.changes.equal import compare_file, folded
from woof_lightning.changes.find import BY_HAND, Cell, Pair
from woof_lightning.changes.trial import Outcome, run_program
from woof_lightning.errors import UserError

CONFLICT, FAILS, RUNS = "conflict", "merges, and fails", "merges, and runs"
MERGED = (CONFLICT, FAILS, RUNS)
RIGHT, WRONG, UNTOLD = "right", "silent and wrong", "not to be told"
BY_GIT, BY_PEOPLE = "by git", "by hand"
# How a difference begins that says nothing of the result.
TRACED = "trace "
RESUMED = "resumed "
# What is known of a change whose result cannot be compared to the bit.
WEIGHTS_DIFFER = "net: weights"


@dataclass(frozen=True)
class Merged:
    """What becomes of two changes in one program.

    Args:
        outcome: CONFLICT, FAILS or RUNS. That it runs does not say that it does both.
        detail: The error.
    """

    outcome: str
    detail: str = ""


def merged_text(first: Cell, second: Cell) -> str | None:
    """Returns the program with both changes; None if they change the same lines.

    Args:
        first: A change.
        second: Another one, of the same base.

    Raises:
        UserError: If there is no git.
    """
    if shutil.which("git") is None:
        raise UserError("--merge needs git, which is not on the PATH: install it")
    files = [str(file) for file in (first.file, first.base_file, second.file)]
    # Its exit code is the number of conflicts.
    done = subprocess.run(["git", "merge-file", "-p", *files], capture_output=True, encoding="utf-8", check=False)
    if done.returncode < 0 or done.returncode > 127:
        raise RuntimeError(f"git merge-file: {done.stderr.strip()}")
    return done.stdout if done.returncode == 0 else None


def try_merged(first: Cell, second: Cell, folder: Path) -> Merged:
    """Merges two changes and trains once with the program.

    Args:
        first: A change.
        second: Another one, of the same base.
        folder: An empty folder.
    """
    text = merged_text(first, second)
    if text is None:
        return Merged(CONFLICT)
    file = written(text, folder)
    done = run_program(file, folder / "training", processes=max(first.processes, second.processes))
    return Merged(FAILS, first_line(done.error)) if done.error or not done.ended else Merged(RUNS)


def written(text: str, folder: Path) -> Path:
    """Writes a program into a new folder and returns its file."""
    folder.mkdir(parents=True)
    file = folder / "merged_way.py"
    file.write_text(text, encoding="utf-8")
    return file


@dataclass(frozen=True)
class Judged:
    """Whether two changes in one program do what they should.

    Args:
        put_together: BY_GIT, BY_PEOPLE, or CONFLICT if git cannot and nobody has.
        outcome: RIGHT if weights, metrics and a resume equal those of the program by hand to the bit, but for what is
            known to differ; WRONG; FAILS; UNTOLD if a change differs in its weights already alone. Empty after a
            conflict.
        detail: The error, or what differs.
    """

    put_together: str
    outcome: str = ""
    detail: str = ""


def reference_of(pair: Pair, folder: Path) -> Outcome:
    """Trains with the program by hand that has both changes.

    Args:
        pair: The changes.
        folder: An empty folder.
    """
    return run_program(pair.file(BY_HAND), folder, processes=pair.processes)


def judge(pair: Pair, way: str, reference: Outcome, folder: Path) -> Judged | None:
    """Trains with both changes in one program of a way and compares with the one by hand.

    Args:
        pair: The changes.
        way: The way.
        reference: What the program by hand does.
        folder: An empty folder.

    Returns:
        What came of it; None if the way does not offer both.
    """
    first, second = pair.first.road(way), pair.second.road(way)
    if first is None or second is None:
        return None
    text, put_together = merged_text(first, second), BY_GIT
    if text is None and way != BY_HAND and pair.file(way).exists():
        text, put_together = pair.file(way).read_text(encoding="utf-8"), BY_PEOPLE
    if text is None:
        return Judged(CONFLICT)
    file = written(text, folder)
    known = first.known | second.known
    found = {folded(one, known) for one in compare_file(file, pair.processes, reference, folder / "training")}
    errors = sorted(one for one in found if "error " in one)
    if errors:
        return Judged(put_together, FAILS, first_line(errors[0]))
    if WEIGHTS_DIFFER in known:
        return Judged(put_together, UNTOLD)
    resumed_differs = RESUMED + WEIGHTS_DIFFER in known
    wrong = [
        one
        for one in sorted(found - known.keys())
        if not one.startswith(TRACED) and not (resumed_differs and one.startswith(RESUMED))
    ]
    return Judged(put_together, WRONG if wrong else RIGHT, "; ".join(wrong))
