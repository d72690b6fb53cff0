"""Times the phases of a whole training from its optimizer steps, its validation batches and its saved files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import nn

STEP, VALIDATED = "step", "validated"


@dataclass(frozen=True)
class Mark:
    """The end of an optimizer step, or the begin of a forward pass in validation.

    Args:
        kind: STEP or VALIDATED.
        came_s: When it was reached.
        saved_s: Time spent on saving up to now, in s.
        files: Number of files saved up to now.
    """

    kind: str
    came_s: float
    saved_s: float
    files: int


@dataclass
class PhaseClock:
    """Notes the phases of a training of several epochs, each of `steps` steps and a validation.

    Args:
        steps: Number of optimizer steps per epoch.
    """

    steps: int
    marks: list[Mark] = field(default_factory=list)
    count: int = 0
    saved_s: float = 0.0
    files: int = 0
    _saving: bool = False

    def stepped(self, *_: Any) -> None:
        """Notes the end of an optimizer step. PyTorch calls this after each."""
        self.count += 1
        self._mark(STEP)

    def forward(self, net: nn.Module, *_: Any) -> None:
        """Notes the begin of a forward pass of validation. The net calls this before each pass."""
        # A sanity validation comes before the first step.
        if not net.training and self.count:
            self._mark(VALIDATED)

    @contextmanager
    def noting_saves(self) -> Iterator[None]:
        """Notes within the block the time in torch.save and in the flushes and moves of files."""
        with ExitStack() as undo:
            for place, name in ((torch, "save"), (os, "fsync"), (os, "replace"), (os, "rename")):
                work = getattr(place, name)
                undo.callback(setattr, place, name, work)
                setattr(place, name, self._timed(work, counts=name == "save"))
            yield

    def parts(self) -> dict[str, float]:
        """Returns what each phase takes: a step, a validation batch, an epoch's end, a saved file, in us.

        Returns:
            train_step_us: Mean time of a step within an epoch.
            val_batch_us: Mean time of a validation batch.
            epoch_us: Mean time from an epoch's last step to the next one's first, without validation batches, saved
                files and that first step.
            checkpoint_us: Mean time of a saved file.
            files_per_epoch: Number of files saved between two epochs.
        """
        steps = [mark for mark in self.marks if mark.kind == STEP]
        timed = [
            after.came_s - before.came_s
            for number, (before, after) in enumerate(pairwise(steps), start=1)
            if number % self.steps
        ]
        validations = list(self._validations())
        batches = [
            after.came_s - before.came_s for validation in validations for before, after in pairwise(validation[1:-1])
        ]
        step_s, batch_s = mean(timed), mean(batches)
        ends, saved_s, files = [], 0.0, 0
        for validation in validations:
            last, first = validation[0], validation[-1]
            saved_s += first.saved_s - last.saved_s
            files += first.files - last.files
            between_s = first.came_s - last.came_s - (first.saved_s - last.saved_s)
            ends.append(between_s - batch_s * (len(validation) - 2) - step_s)
        found_s = {"train_step": step_s, "val_batch": batch_s, "epoch": mean(ends), "checkpoint": saved_s / files}
        return {f"{name}_us": 1e6 * value_s for name, value_s in found_s.items()} | {
            "files_per_epoch": files / len(validations)
        }

    def _validations(self) -> Iterator[list[Mark]]:
        """Yields the marks of each validation between the step before and the step after it."""
        between: list[Mark] = []
        for mark in self.marks:
            between.append(mark)
            if mark.kind == STEP:
                if len(between) > 2:
                    yield between
                between = [mark]

    def _mark(self, kind: str) -> None:
        self.marks.append(Mark(kind, time.perf_counter(), self.saved_s, self.files))

    def _timed(self, work: Callable[..., Any], *, counts: bool) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            self.files += counts
            # A flush within torch.save is counted with it.
            if self._saving:
                return work(*arguments, **options)
            self._saving, start_s = True, time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                self._saving = False
                self.saved_s += time.perf_counter() - start_s

        return timed


def mean(values: Sequence[float]) -> float:
    """Returns the mean.

    Raises:
        RuntimeError: If there are no values: the training was too short.
    """
    if not values:
        raise RuntimeError("the training was too short: expected two epochs of several steps and validation batches")
    return sum(values) / len(values)
