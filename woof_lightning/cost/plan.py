"""What is measured: the cases of each group, in which ways are compared with each other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from woof_lightning.cost.features import FEATURE_WAYS
from woof_lightning.cost.job import Job
from woof_lightning.loops.ways import LOOPS, REFERENCE, WAYS, WOOF_FIT

AGAIN = "bare_again"
NEVER = sys.maxsize
# Every way but the reference.
OTHERS = tuple(name for name in WAYS if name != REFERENCE)
# Those whose bar and logs can be switched off.
BY_HAND = tuple(name for name in LOOPS if name not in (REFERENCE, "lightning"))
# Conditions. Off: no bar, no log, no checkpoint where that can be had. On: what the way has as its users run it.
OFF, ON, WATERFALL, START, IN_A_STEP = "off", "on", "waterfall", "start", "step"
REAL_CONDITIONS = {"resnet18 64 px": 64, "resnet18 128 px": 128}
# Images per batch at real work: fewer than the recipe's 128, so that a loop's share of the step is larger.
REAL_BATCH_SIZE = 16
# Steps between reports, as in the configs.
LOG_EVERY = 10
# Each starts up in an environment of its own.
STARTED = tuple(WAYS)


@dataclass(frozen=True)
class Case:
    """An way under a condition.

    Args:
        way: Its name.
        condition: Its condition.
        job: What its worker does.
        terminal: Whether the worker is given a terminal, so that bars are drawn.
    """

    way: str
    condition: str
    job: Job
    terminal: bool = False


def tiny(way: str, condition: str) -> Case:
    """A case on the smallest net."""
    job = Job(way=way, log_every_n_steps=LOG_EVERY if condition != OFF else NEVER)
    return Case(way, condition, job, terminal=condition != OFF)


def fixed_cases() -> list[Case]:
    """Every loop on a net so small that only the loop is left."""
    off = (REFERENCE, AGAIN, *BY_HAND, "lightning_off", "lightning_barebones", "lightning_barebones_no_search")
    on = (REFERENCE, *OTHERS)
    return [*(tiny(way, OFF) for way in off), *(tiny(way, ON) for way in on)]


def quick_cases() -> list[Case]:
    """The ten ways of the fixed cost, each as its users run it."""
    off = (REFERENCE, AGAIN, "lightning_barebones")
    on = OTHERS
    return [*(tiny(way, OFF) for way in off), *(tiny(way, ON) for way in on)]


def waterfall_cases() -> list[Case]:
    """Lightning's features one after the other, and the same by hand."""
    return [tiny(way, WATERFALL) for way in FEATURE_WAYS]


def real_cases() -> list[Case]:
    """ResNet-18 at two sizes; each loop with what its users have on."""
    cases = []
    for condition, size_px in REAL_CONDITIONS.items():
        for way in (REFERENCE, AGAIN, "bare_early_zero_grad", "hand_rolled", WOOF_FIT, "lightning"):
            plain = way.startswith(REFERENCE)
            job = Job(
                way=way,
                arch="resnet18",
                image_size=size_px,
                batch_size=REAL_BATCH_SIZE,
                warmup=2,
                steps=1,
                # Ten steps in a row hold one report, as a training's do.
                slices=LOG_EVERY,
                lead=0,
                log_every_n_steps=NEVER if plain else LOG_EVERY,
            )
            cases.append(Case(way, condition, job, terminal=not plain))
    return cases


def start_cases() -> list[Case]:
    """One step from a cold process, each way in its own environment."""
    jobs = (Job(way=way, measure="start", entry=WAYS[way].entry) for way in STARTED)
    return [Case(job.way, START, job, terminal=True) for job in jobs]


def indirection_cases() -> list[Case]:
    """The calls of a training step, counted."""
    jobs = (Job(way=way, measure="indirection", warmup=20, steps=100, slices=1, lead=0) for way in STARTED)
    return [Case(job.way, IN_A_STEP, job, terminal=True) for job in jobs]


# The timed groups of a full run; a repeat of a group is a block, in which all its cases are interleaved.
GROUPS: dict[str, Callable[[], list[Case]]] = {
    "fixed": fixed_cases,
    "real": real_cases,
    "waterfall": waterfall_cases,
    "start": start_cases,
}


def on_cuda(cases: list[Case]) -> list[Case]:
    """The same cases on a GPU, without and with a wait for it at each step."""
    moved = [replace(case, job=replace(case.job, accelerator="cuda")) for case in cases]
    waiting = [replace(case, condition=f"{case.condition}, sync", job=replace(case.job, sync=True)) for case in moved]
    return [*moved, *waiting]
