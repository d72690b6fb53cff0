"""What is measured: the cases of each group, in which arms are compared with each other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from woof_lightning.cost.arms import ARMS
from woof_lightning.cost.features import FEATURE_ARMS
from woof_lightning.cost.job import Job

REFERENCE = "bare"
AGAIN = "bare_again"
NEVER = sys.maxsize
LOOPS = ("hand_rolled", "fabric", "accelerate", "ignite", "fastai")
# Conditions. Off: no bar, no log, no checkpoint where that can be had. On: what the arm has as its users run it.
OFF, ON, WATERFALL, START, IN_A_STEP = "off", "on", "waterfall", "start", "step"
REAL_CONDITIONS = {"resnet18 64 px": 64, "resnet18 128 px": 128}
# Images per batch at real work: fewer than the recipe's 128, so that a loop's share of the step is larger.
REAL_BATCH_SIZE = 16
# Steps between reports, as in the configs.
LOG_EVERY = 10
# The arms with frameworks of their own, and the style of tutorials; each starts up in an environment of its own.
STARTED = (REFERENCE, *LOOPS, "lightning", "lightning_usual")


@dataclass(frozen=True)
class Case:
    """An arm under a condition.

    Args:
        arm: Its name.
        condition: Its condition.
        job: What its worker does.
        terminal: Whether the worker is given a terminal, so that bars are drawn.
    """

    arm: str
    condition: str
    job: Job
    terminal: bool = False


def tiny(arm: str, condition: str) -> Case:
    """A case on the smallest net."""
    job = Job(arm=arm, log_every_n_steps=LOG_EVERY if condition != OFF else NEVER)
    return Case(arm, condition, job, terminal=condition != OFF)


def fixed_cases() -> list[Case]:
    """Every loop on a net so small that only the loop is left."""
    off = (REFERENCE, AGAIN, *LOOPS, "lightning_off", "lightning_barebones", "lightning_barebones_no_search")
    on = (REFERENCE, *LOOPS, "lightning", "lightning_usual")
    return [*(tiny(arm, OFF) for arm in off), *(tiny(arm, ON) for arm in on)]


def quick_cases() -> list[Case]:
    """The ten arms of the fixed cost, each as its users run it."""
    off = (REFERENCE, AGAIN, "lightning_barebones")
    on = (*LOOPS, "lightning", "lightning_usual")
    return [*(tiny(arm, OFF) for arm in off), *(tiny(arm, ON) for arm in on)]


def waterfall_cases() -> list[Case]:
    """Lightning's features one after the other, and the same by hand."""
    return [tiny(arm, WATERFALL) for arm in FEATURE_ARMS]


def real_cases() -> list[Case]:
    """ResNet-18 at two sizes; each loop with what its users have on."""
    cases = []
    for condition, size_px in REAL_CONDITIONS.items():
        for arm in (REFERENCE, AGAIN, "bare_early_zero_grad", "hand_rolled", "lightning", "lightning_usual"):
            plain = arm.startswith(REFERENCE)
            job = Job(
                arm=arm,
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
            cases.append(Case(arm, condition, job, terminal=not plain))
    return cases


def start_cases() -> list[Case]:
    """One step from a cold process, each arm in its own environment."""
    return [Case(arm, START, Job(arm=arm, measure="start", entry=ARMS[arm].entry), terminal=True) for arm in STARTED]


def indirection_cases() -> list[Case]:
    """The calls of a training step, counted."""
    jobs = (Job(arm=arm, measure="indirection", warmup=20, steps=100, slices=1, lead=0) for arm in STARTED)
    return [Case(job.arm, IN_A_STEP, job, terminal=True) for job in jobs]


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
