"""Parity: after the same training every loop holds the same bits as `bare`.

Each loop trains through its own verb into a run folder of its own; what is compared is what lies there: weights and
BatchNorm buffers, optimizer state, schedule state, the metrics of every reported step, and the checkpoints.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from woof_lightning.errors import UserError
from woof_lightning.lit.cli import fit
from woof_lightning.loops.run import LoopRun
from woof_lightning.loops.verb import LOOPS, loop
from woof_lightning.recipe.checkpoint import read_checkpoint
from woof_lightning.runs.command_line import Parser
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

REFERENCE = "bare"
ARMS = (*LOOPS, "lightning")
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
}


class StoppedError(Exception):
    """Ends a training where it is to be cut."""


class StopBefore(Callback):
    """Cuts a Lightning run before an epoch.

    Args:
        epoch: The epoch that is not begun.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops at the epoch."""
        if trainer.current_epoch == self.epoch:
            raise StoppedError("cut")


@dataclass(frozen=True)
class Case:
    """One training that every loop does.

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
    """Whether a loop's run equals the reference's.

    Args:
        arm: The loop.
        case: The training.
        difference: The first thing that differs; None when nothing does.
        known: Why it is known to differ.
    """

    arm: str
    case: Case
    difference: str | None
    known: str | None = None


def compare_loops(cases: Sequence[Case], arms: Sequence[str], folder: Path) -> Iterator[Verdict]:
    """Trains each case with every arm and compares with the reference, trained in one go without workers."""
    for number, case in enumerate(cases):
        straight = Case(case.experiment, 0, case.precision, None, case.options)
        reference = trained(REFERENCE, straight, folder / f"{number}-reference")
        for arm in arms:
            try:
                run = trained(arm, case, folder / f"{number}-{arm}")
            except UserError as error:
                yield Verdict(arm, case, f"not offered: {str(error).split(';')[0]}", "not offered")
                continue
            difference = first_difference(reference, run)
            known = known_reason(arm, case, difference)
            yield Verdict(arm, case, difference, known)


def trained(arm: str, case: Case, folder: Path) -> RunFolder:
    """A run of an arm; cut and resumed where the case says so."""
    place = ["--runs_dir", str(folder.parent), "--name", folder.name]
    verb = fit if arm == "lightning" else loop
    name = [] if arm == "lightning" else [arm]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if case.cut_before is not None:
            stop = [
                *("--trainer.callbacks+", "woof_lightning.cost.parity.StopBefore"),
                *("--trainer.callbacks.epoch", str(case.cut_before)),
            ]
            with loops_stopped_before(case.cut_before), contextlib.suppress(StoppedError):
                verb([*name, *case.arguments, *place, *(stop if arm == "lightning" else [])])
        verb([*name, *case.arguments, *place, "--resume"])
    return RunFolder(folder)


@contextlib.contextmanager
def loops_stopped_before(epoch: int) -> Iterator[None]:
    """Inside, every loop of `woof loop` stops when it would begin the epoch."""
    started = LoopRun.epoch_started

    def stopping(self: LoopRun) -> None:
        if self.record.epochs == epoch:
            raise StoppedError("cut")
        started(self)

    LoopRun.epoch_started = stopping  # type: ignore[method-assign]
    try:
        yield
    finally:
        LoopRun.epoch_started = started  # type: ignore[method-assign]


def first_difference(reference: RunFolder, other: RunFolder) -> str | None:
    """The first thing in which two runs differ, as `part: what`; None when they are equal to the bit."""
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
    mine, yours = read_metrics(reference.metrics), read_metrics(other.metrics)
    if len(mine) != len(yours):
        return f"metrics: {len(yours)} rows, {REFERENCE} has {len(mine)}"
    found = next((text for one, two in zip(mine, yours, strict=True) if (text := differing(one, two, "row"))), None)
    return f"metrics: {found}" if found else None


def differing(one: Any, two: Any, place: str) -> str | None:
    """Where two nested values differ first, and how; None when they do not."""
    if isinstance(one, Tensor):
        if torch.equal(one, two):
            return None
        return f"{place}: up to {units_in_the_last_place(one, two)} units in the last place"
    if isinstance(one, dict):
        if missing := [key for key in one if key not in two]:
            return f"{place}.{missing[0]} is missing"
        if more := [key for key in two if key not in one]:
            return f"{place}.{more[0]} is not in {REFERENCE}"
        pairs = ((f"{place}.{key}", one[key], two[key]) for key in one)
    elif isinstance(one, (list, tuple)):
        if len(one) != len(two):
            return f"{place} has {len(two)} entries, {REFERENCE} {len(one)}"
        pairs = ((f"{place}.{number}", *pair) for number, pair in enumerate(zip(one, two, strict=True)))
    else:
        return None if one == two else f"{place} is {two}, {REFERENCE} has {one}"
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


def known_reason(arm: str, case: Case, difference: str | None) -> str | None:
    """Why this difference is known; None when it is not."""
    how = "straight" if case.cut_before is None else "resumed"
    part, reason = KNOWN.get((arm, how, str(EXPERIMENTS[case.experiment]["schedule"])), ("", ""))
    return reason if part and difference is not None and difference.startswith(part) else None


def check(args: Sequence[str]) -> None:
    """Runs `woof loop --check`: the parity table for a person.

    Args:
        args: The options.

    Raises:
        UserError: When loops differ in a way that is not known.
    """
    parser = Parser(prog="woof loop --check", description="Train with every loop and compare the results to the bit.")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="the loops to compare")
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--precision", nargs="+", choices=("32-true", "bf16-mixed"), default=["32-true", "bf16-mixed"])
    parser.add_argument("--arch", default="shufflenet_v2_x0_5", help="a torchvision classifier")
    parser.add_argument("--image_size", type=int, default=32, help="px")
    parser.add_argument("--data_root", type=Path, default=Path("data"), help="where the drawn images lie or go")
    options = parser.parse_args(list(args))
    shared = small_training(options.data_root, options.arch, options.image_size)
    cases = [
        Case(experiment, workers, precision, cut, shared)
        for precision, experiment, (workers, cut) in itertools.product(
            options.precision, options.experiments, ((0, None), (2, 1))
        )
    ]
    failed = 0
    with TemporaryDirectory(prefix="woof-parity-") as folder:
        for verdict in compare_loops(cases, options.arms, Path(folder)):
            failed += verdict.difference is not None and verdict.known is None
            print(f"{verdict.arm:<12}{verdict.case.name:<58}{told(verdict)}", flush=True)
    if failed:
        raise UserError(f"{failed} trainings differ from {REFERENCE}: see the table")


def told(verdict: Verdict) -> str:
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
        *("--trainer.limit_train_batches", "10", "--trainer.limit_val_batches", "2", "--trainer.max_epochs", "2"),
        *("--trainer.log_every_n_steps", "1"),
    )
