"""Compares a change made in some way with the same change by hand, to the bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from woof_lightning.changes import trace
from woof_lightning.changes.find import BY_HAND, Cell, Change
from woof_lightning.changes.trial import Outcome, run_program

# A program is killed so many steps before its end, and resumes from the last epoch's checkpoint.
KILLED_BEFORE_END = 5
WEIGHTS = "weights"
# A known difference that ends so stands for all that begin as it does.
ALL = " *"


@dataclass(frozen=True)
class Comparison:
    """How a cell differs from the change by hand.

    Args:
        cell: The cell.
        differences: What differs: `net: weights`, `scheduler: base_lrs`, `metric val/loss`, `trace +evaluate`,
            `resumed net: weights` (a resumed training from one that was not cut), `error` with its text.
    """

    cell: Cell
    differences: frozenset[str]

    @property
    def unexplained(self) -> list[str]:
        """What differs and is not known to."""
        return sorted(self.differences - self.cell.known.keys())

    @property
    def gone(self) -> list[str]:
        """What is known to differ and does not."""
        known = self.cell.known
        return sorted(one for one in known if folded(one, known) not in self.differences)


def compare(change: Change, folder: Path, ways: list[str] | None = None) -> Iterator[Comparison]:
    """Trains the cells of a change, each once through and once killed and resumed, and yields how they differ.

    Args:
        change: The change.
        folder: An empty folder for the files of the trainings.
        ways: The ways to compare; all if None.
    """
    by_hand = change.cells[BY_HAND]
    reference = run_program(by_hand.file, folder / "reference", processes=by_hand.processes)
    for way, cell in change.cells.items():
        if ways is None or way in ways:
            found = compare_file(cell.file, cell.processes, reference, folder / way)
            yield Comparison(cell, frozenset(folded(text, cell.known) for text in found))


def compare_file(file: Path, processes: int, reference: Outcome, folder: Path) -> Iterator[str]:
    """Trains with a program, once through and once killed and resumed, and yields what differs.

    Args:
        file: The program.
        processes: The number of processes that train together.
        reference: What the program by hand did.
        folder: An empty folder for the files of the trainings.
    """
    whole = run_program(file, folder, processes=processes)
    yield from differences(whole, reference)
    cut = folder / "cut"
    killed = run_program(file, cut, kill_after=whole.steps - KILLED_BEFORE_END, processes=processes)
    if killed.error:
        yield f"error before it was killed: {killed.error}"
    resumed = run_program(file, cut, resume=True, processes=processes)
    yield from (f"resumed {text}" for text in differences_of_states(resumed, whole))
    yield from (f"resumed {text}" for text in last_metrics_differ(resumed, whole))


def folded(difference: str, known: Iterable[str]) -> str:
    """Returns the known difference that stands for all of a kind, if there is one for this; else the difference."""
    kinds = (one for one in known if one.endswith(ALL) and difference.startswith(one.removesuffix(ALL) + " "))
    return next(kinds, difference)


def differences(ours: Outcome, reference: Outcome) -> Iterator[str]:
    """Yields what differs between two outcomes of whole trainings."""
    yield from differences_of_states(ours, reference)
    for tag, values in reference.metrics.items():
        if ours.metrics.get(tag) != values:
            yield f"metric {tag}"
    for difference in trace.differences(ours.events, reference.events):
        yield f"trace {difference}"


def differences_of_states(ours: Outcome, reference: Outcome) -> Iterator[str]:
    """Yields what differs between the objects that two programs trained."""
    if ours.error or not ours.ended:
        yield f"error {ours.error or 'it did not end'}"
        return
    for name, state in reference.states.items():
        if name not in ours.states:
            yield f"{name}: missing"
            continue
        paths = list(unequal(ours.states[name], state))
        if any(is_tensor for _, is_tensor in paths):
            yield f"{name}: {WEIGHTS}"
        else:
            yield from (f"{name}: {path}" for path, _ in paths)


def last_metrics_differ(ours: Outcome, reference: Outcome) -> Iterator[str]:
    """Yields the tags whose last values differ. A resumed training has some earlier ones twice."""
    for tag, values in reference.metrics.items():
        if ours.metrics.get(tag, [])[-1:] != values[-1:]:
            yield f"metric {tag}"


def unequal(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """Yields the paths at which two states are not equal to the bit, and whether there is a tensor.

    Args:
        ours: A state.
        theirs: What it is compared with.
        path: Where both are in the states around them.
    """
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        if not torch.equal(ours, theirs):
            yield path, True
    elif isinstance(ours, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*theirs, *ours]):
            inner = f"{path}.{key}" if path else str(key)
            if key in ours and key in theirs:
                yield from unequal(ours[key], theirs[key], inner)
            else:
                yield inner, isinstance(ours.get(key, theirs.get(key)), torch.Tensor)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for place, (our_part, their_part) in enumerate(zip(ours, theirs, strict=True)):
            yield from unequal(our_part, their_part, f"{path}.{place}" if path else str(place))
    elif ours != theirs:
        yield path, False
