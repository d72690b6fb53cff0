"""Checks parity: after the same training, every way has the same bits as `bare`.

Each way trains with its own command into its own run folder. The files in these folders are compared: weights,
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
from woof_lightning.recipe.model import build_net
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

# A verb of the command, called with its options. Every way is trained by the command that people use.
Verb = Callable[[Sequence[str]], None]
STEPS_PER_EPOCH = 10
# Above this many units in the last place two weights have nothing in common.
MOST_UNITS = 2**20
# The four experiments of configs/.
EXPERIMENTS: dict[str, dict[str, str | float]] = {
    "sgd_step": {"optimizer": "sgd", "schedule": "step", "lr": 0.1},
    "sgd_step_found_lr": {"optimizer": "sgd", "schedule": "step", "lr": 0.02},
    "sgd_onecycle": {"optimizer": "sgd", "schedule": "onecycle", "lr": 0.02},
    "adamw_onecycle": {"optimizer": "adamw", "schedule": "onecycle", "lr": 0.02},
}
# Every setting of fine-tuning at once, from weights that another run or file has.
FINE_TUNING = "fine_tuning"
TRAININGS: dict[str, dict[str, str | float]] = EXPERIMENTS | {
    FINE_TUNING: {
        **{"optimizer": "adamw", "schedule": "onecycle", "lr": 0.02, "freeze_epochs": 1},
        **{"label_smoothing": 0.1, "class_weights": "balanced"},
    }
}
# The known differences and their reasons, by (way, straight or resumed, schedule). Any other difference is a fault.
KNOWN = {
    ("hand_rolled", "resumed", "step"): (
        "schedule",
        "the post saves before an epoch-stepped schedule steps, so the resumed schedule is an epoch late",
    ),
    **{
        ("lightning", "resumed", schedule): (
            "weights",
            "Lightning's workers fetch the batches of a resumed run before it knows the epoch, in the order of epoch 0",
        )
        for schedule in ("step", "onecycle")
    },
}
# Lightning's logger writes TensorBoard events instead of metrics.csv.
WITHOUT_METRICS_FILE = ("lightning",)
# The reason in the verdict of a way that refuses a case, as fastai does with bf16.
NOT_OFFERED = "not offered"


class CutError(Exception):
    """Raised by `cut_after` to interrupt a training."""


@dataclass(frozen=True)
class Case:
    """A training that every way does.

    Args:
        experiment: Its name in TRAININGS.
        workers: Number of loading processes.
        precision: 32-true or bf16-mixed.
        cut_before: The epoch before which the run is interrupted and then resumed. None trains without interruption.
        options: Further options, which all verbs get.
    """

    experiment: str
    workers: int
    precision: str
    cut_before: int | None
    options: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name in the table."""
        cut = "" if self.cut_before is None else f", resumed at epoch {self.cut_before}"
        return f"{self.experiment}, {self.precision}, {self.workers} workers{cut}"

    @property
    def arguments(self) -> list[str]:
        """All options that a verb gets."""
        model = [part for key, value in TRAININGS[self.experiment].items() for part in (f"--model.{key}", str(value))]
        return [*model, f"--data.num_workers={self.workers}", f"--trainer.precision={self.precision}", *self.options]


@dataclass(frozen=True)
class Verdict:
    """The result of one comparison with the reference.

    Args:
        way: The way's name.
        case: The training.
        difference: The first difference; None if there is none.
        known: The reason if this difference is a known one; NOT_OFFERED if the way refuses the case.
    """

    way: str
    case: Case
    difference: str | None
    known: str | None = None


def compare_ways(
    cases: Sequence[Case], ways: Sequence[str], folder: Path, verbs: Mapping[str, Verb]
) -> Iterator[Verdict]:
    """Trains each case in every way and yields how each run compares with the reference.

    The reference is trained by `bare`, without workers and without interruption.

    Args:
        cases: The trainings.
        ways: The ways to compare.
        folder: The folder for the runs.
        verbs: The command that trains each way, by the way's name.
    """
    for number, case in enumerate(cases):
        straight = replace(case, workers=0, cut_before=None)
        reference = trained(straight, folder / f"{number}-reference", verbs[REFERENCE])
        for way in ways:
            try:
                run = trained(case, folder / f"{number}-{way}", verbs[way])
            except UserError as error:
                yield Verdict(way, case, f"{NOT_OFFERED}: {str(error).split(';')[0]}", NOT_OFFERED)
                continue
            difference = first_difference(reference, run, with_metrics=way not in WITHOUT_METRICS_FILE)
            yield Verdict(way, case, difference, known_reason(way, case, difference))


def trained(case: Case, folder: Path, verb: Verb) -> RunFolder:
    """Trains a case with a verb and returns the run. Interrupts and resumes it if the case says so."""
    args = [*case.arguments, "--runs_dir", str(folder.parent), "--name", folder.name]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if case.cut_before is not None:
            with cut_after(case.cut_before * STEPS_PER_EPOCH), contextlib.suppress(CutError):
                verb(args)
        verb([*args, "--resume"])
    return RunFolder(folder)


@contextlib.contextmanager
def cut_after(steps: int) -> Iterator[None]:
    """Raises a CutError during the block when an optimizer would take one more step than `steps`."""
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
    """Returns the first difference between two runs, as `part: what`; None if they are equal to the bit.

    Args:
        reference: The run that is right.
        other: The run to compare with it.
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
    """Returns where two nested values first differ, and how; None if they are equal."""
    if isinstance(one, Tensor):
        if torch.equal(one, two):
            return None
        units = units_in_the_last_place(one, two)
        return f"{place}: {'other values' if units > MOST_UNITS else f'up to {units} units in the last place'}"
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
    """Returns the largest distance between two tensors, counted in representable numbers.

    For other types than float32 it returns the largest difference, rounded up.
    """
    if one.dtype != torch.float32 or two.dtype != torch.float32:
        return int((one.double() - two.double()).abs().max().ceil())
    ordered = []
    for values in (one, two):
        bits = values.contiguous().view(torch.int32).long()
        # The bits of negative floats are in reverse order. Negated, they are in one order with the positive ones.
        ordered.append(torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits))
    return int((ordered[0] - ordered[1]).abs().max())


def known_reason(way: str, case: Case, difference: str | None) -> str | None:
    """Returns the reason for a known difference; None if it is not known."""
    how = "straight" if case.cut_before is None else "resumed"
    part, reason = KNOWN.get((way, how, str(TRAININGS[case.experiment]["schedule"])), ("", ""))
    return reason if part and difference is not None and difference.startswith(part) else None


def phrase(verdict: Verdict) -> str:
    """Returns a verdict as text for the table."""
    if verdict.difference is None:
        return "equal"
    if verdict.known is None:
        return f"DIFFERS: {verdict.difference}"
    return verdict.difference if verdict.known == NOT_OFFERED else f"known: {verdict.difference} ({verdict.known})"


def random_weights(file: Path, arch: str) -> tuple[str, ...]:
    """Writes a file of random weights with a head of 1000 outputs, and returns the options to start from it."""
    torch.save(build_net(arch, 1000, seed=1).state_dict(), file)
    return "--model.weights", str(file)


def small_training(root: Path, arch: str, image_size: int) -> tuple[str, ...]:
    """Returns the options of a short training: two epochs of ten steps, each validated, on the drawn images."""
    return (
        *("--data.root", str(root), "--data.variant", "synthetic", "--data.image_size", str(image_size)),
        *("--data.batch_size", "16", "--model.arch", arch, "--trainer.accelerator", "cpu"),
        *("--trainer.limit_train_batches", str(STEPS_PER_EPOCH), "--trainer.limit_val_batches", "2"),
        *("--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1"),
    )
