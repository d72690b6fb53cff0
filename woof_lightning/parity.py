"""Parity: after the same training every way holds the same bits as `bare`.

Each way trains through its own command into a run folder of its own. What is compared is what lies there: weights and
BatchNorm buffers, optimizer state, schedule state, and the metrics of every reported step.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from woof_lightning.errors import UserError
from woof_lightning.loops.ways import REFERENCE
from woof_lightning.recipe.checkpoint import read_checkpoint
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

# A verb of the command, which takes its options: every way is trained by the command that people use.
Verb = Callable[[Sequence[str]], None]
STEPS_PER_EPOCH = 10
# The four experiments of configs/.
EXPERIMENTS: dict[str, dict[str, str | float]] = {
    "sgd_step": {"optimizer": "sgd", "schedule": "step", "lr": 0.1},
    "sgd_step_found_lr": {"optimizer": "sgd", "schedule": "step", "lr": 0.02},
    "sgd_onecycle": {"optimizer": "sgd", "schedule": "onecycle", "lr": 0.02},
    "adamw_onecycle": {"optimizer": "adamw", "schedule": "onecycle", "lr": 0.02},
}
# What is known to differ, and why; a difference here is stated, any other is a fault.
KNOWN = {
    ("hand_rolled", "resumed", "step"): (
        "schedule",
        "the post saves before an epoch-stepped schedule steps, so a resumed one is an epoch late",
    ),
    **{
        ("lightning", "resumed", schedule): (
            "weights",
            "with workers Lightning fetches a resumed run's batches before it knows the epoch, so in epoch 0's order",
        )
        for schedule in ("step", "onecycle")
    },
}
# Its logger writes events instead.
WITHOUT_METRICS_FILE = ("lightning",)


class CutError(Exception):
    """Ends a training where it is to be cut."""


@dataclass(frozen=True)
class Case:
    """One training that is done in every way.

    Args:
        experiment: Its name.
        workers: Loading processes.
        precision: 32-true or bf16-mixed.
        cut_before: The epoch before which the run is cut and then resumed; None trains in one go.
        options: Further options of all verbs.
    """

    experiment: str
    workers: int
    precision: str
    cut_before: int | None
    options: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the table calls it."""
        cut = "" if self.cut_before is None else f", resumed at epoch {self.cut_before}"
        return f"{self.experiment}, {self.precision}, {self.workers} workers{cut}"

    @property
    def arguments(self) -> list[str]:
        """The options of a verb."""
        model = [part for key, value in EXPERIMENTS[self.experiment].items() for part in (f"--model.{key}", str(value))]
        return [*model, f"--data.num_workers={self.workers}", f"--trainer.precision={self.precision}", *self.options]


@dataclass(frozen=True)
class Verdict:
    """Whether a way's run equals the reference's.

    Args:
        way: Its name.
        case: The training.
        difference: The first thing that differs; None if nothing does.
        known: Why it is known to differ.
    """

    way: str
    case: Case
    difference: str | None
    known: str | None = None


def compare_ways(
    cases: Sequence[Case], ways: Sequence[str], folder: Path, verbs: Mapping[str, Verb]
) -> Iterator[Verdict]:
    """Trains each case in every way and compares with the reference, trained in one go without workers.

    Args:
        cases: The trainings.
        ways: The ways to compare.
        folder: Where the runs go.
        verbs: The command that trains each way.
    """
    for number, case in enumerate(cases):
        straight = replace(case, workers=0, cut_before=None)
        reference = trained(straight, folder / f"{number}-reference", verbs[REFERENCE])
        for way in ways:
            try:
                run = trained(case, folder / f"{number}-{way}", verbs[way])
            except UserError as error:
                yield Verdict(way, case, f"not offered: {str(error).split(';')[0]}", "not offered")
                continue
            difference = first_difference(reference, run, with_metrics=way not in WITHOUT_METRICS_FILE)
            yield Verdict(way, case, difference, known_reason(way, case, difference))


def trained(case: Case, folder: Path, verb: Verb) -> RunFolder:
    """A run of a verb; cut and resumed if the case says so."""
    args = [*case.arguments, "--runs_dir", str(folder.parent), "--name", folder.name]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if case.cut_before is not None:
            with cut_after(case.cut_before * STEPS_PER_EPOCH), contextlib.suppress(CutError):
                verb(args)
        verb([*args, "--resume"])
    return RunFolder(folder)


@contextlib.contextmanager
def cut_after(steps: int) -> Iterator[None]:
    """Inside, a training ends when its optimizer would make one step more than these, whichever way trains."""
    done = itertools.count()

    def cut(*_: Any) -> None:
        if next(done) == steps:
            raise CutError(f"cut after {steps} steps")

    handle = register_optimizer_step_pre_hook(cut)
    try:
        yield
    finally:
        handle.remove()


def first_difference(reference: RunFolder, other: RunFolder, *, with_metrics: bool = True) -> str | None:
    """The first thing in which two runs differ, as `part: what`; None if they are equal to the bit.

    Args:
        reference: A run.
        other: The run that is compared with it.
        with_metrics: Whether to compare metrics.csv too.
    """
    for name in ("last", "best"):
        files = [getattr(run, name) for run in (reference, other)]
        if not files[1].is_file():
            return f"checkpoints: no {name}.ckpt"
        ours, theirs = map(read_checkpoint, files)
        parts = {
            "weights": ("state_dict",),
            "optimizer": ("optimizer_states",),
            "schedule": ("lr_schedulers",),
            "progress": ("epoch", "global_step"),
        }
        for part, keys in parts.items():
            for key in keys:
                found = differing(ours[key], theirs[key], key)
                if found:
                    return f"{part} of {name}.ckpt: {found}"
    if not with_metrics:
        return None
    mine, yours = read_metrics(reference.metrics), read_metrics(other.metrics)
    if len(mine) != len(yours):
        return f"metrics: {len(yours)} rows, expected {len(mine)}"
    found = next((text for one, two in zip(mine, yours, strict=True) if (text := differing(one, two, "row"))), None)
    return f"metrics: {found}" if found else None


def differing(one: Any, two: Any, place: str) -> str | None:
    """Where two nested values differ first, and how; None if they do not."""
    if isinstance(one, Tensor):
        if torch.equal(one, two):
            return None
        return f"{place}: up to {units_in_the_last_place(one, two)} units in the last place"
    if isinstance(one, dict):
        if missing := [key for key in one if key not in two]:
            return f"{place}.{missing[0]} is missing"
        if more := [key for key in two if key not in one]:
            return f"{place}.{more[0]} is not expected"
        pairs = ((f"{place}.{key}", one[key], two[key]) for key in one)
    elif isinstance(one, (list, tuple)):
        if len(one) != len(two):
            return f"{place} has {len(two)} entries, expected {len(one)}"
        pairs = ((f"{place}.{number}", *pair) for number, pair in enumerate(zip(one, two, strict=True)))
    else:
        return None if one == two else f"{place} is {two}, expected {one}"
    return next((text for name, left, right in pairs if (text := differing(left, right, name))), None)


def units_in_the_last_place(one: Tensor, two: Tensor) -> int:
    """The largest distance between two float tensors, counted in representable numbers."""
    if one.dtype != torch.float32 or two.dtype != torch.float32:
        return int((one.double() - two.double()).abs().max().ceil())
    ordered = []
    for values in (one, two):
        bits = values.contiguous().view(torch.int32).long()
        # The bits of negative floats count down: turned round they are in one order with the positive ones.
        ordered.append(torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits))
    return int((ordered[0] - ordered[1]).abs().max())


def known_reason(way: str, case: Case, difference: str | None) -> str | None:
    """Why this difference is known; None if it is not."""
    how = "straight" if case.cut_before is None else "resumed"
    part, reason = KNOWN.get((way, how, str(EXPERIMENTS[case.experiment]["schedule"])), ("", ""))
    return reason if part and difference is not None and difference.startswith(part) else None


def phrase(verdict: Verdict) -> str:
    """A verdict as one phrase."""
    if verdict.difference is None:
        return "equal"
    if verdict.known in (None, "not offered"):
        return verdict.difference if verdict.known else f"DIFFERS: {verdict.difference}"
    return f"known: {verdict.difference} ({verdict.known})"


def small_training(root: Path, arch: str, image_size: int) -> tuple[str, ...]:
    """Options of a training of two epochs of ten steps, each validated, on the drawn images."""
    return (
        *("--data.root", str(root), "--data.variant", "synthetic", "--data.image_size", str(image_size)),
        *("--data.batch_size", "16", "--model.arch", arch, "--trainer.accelerator", "cpu"),
        *(
            "--trainer.limit_train_batches",
            str(STEPS_PER_EPOCH),
            "--trainer.limit_val_batches",
            "2",
            "--trainer.max_epochs",
            "2",
        ),
        *("--trainer.log_every_n_steps", "1"),
    )
