"""Puts two changes into one program, as git merges two branches, and says whether that runs."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from woof_lightning.changes.broken import first_line
from woof_lightning.changes.find import Cell
from woof_lightning.changes.trial import run_program
from woof_lightning.errors import UserError

CONFLICT, FAILS, RUNS = "conflict", "merges, and fails", "merges, and runs"
MERGED = (CONFLICT, FAILS, RUNS)


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
    done = subprocess.run(["git", "merge-file", "-p", *files], capture_output=True, text=True, check=False)
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
    folder.mkdir(parents=True)
    file = folder / "merged_way.py"
    file.write_text(text)
    done = run_program(file, folder / "training", processes=max(first.processes, second.processes))
    return Merged(FAILS, first_line(done.error)) if done.error or not done.ended else Merged(RUNS)
