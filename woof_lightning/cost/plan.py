"""Plans what is measured: the cases of each group, within which ways are compared."""

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
# The ways whose bar and logs can be switched off.
BY_HAND = tuple(name for name in LOOPS if name not in (REFERENCE, "lightning"))
# Conditions. Off: no bar, no log and no checkpoint, if they can be switched off. On: as users run it.
OFF, ON, WATERFALL, START, IN_A_STEP = "off", "on", "waterfall", "start", "step"
REAL_CONDITIONS = {"resnet18 64 px": 64, "resnet18 128 px": 128}
# Images per batch of real work. Fewer than the recipe's 128, so that the loop's share of the step is larger.
REAL_BATCH_SIZE = 16
# Steps between reports, as in the configs.
LOG_EVERY = 10
# The ways whose start-up is measured, each in its own environment.
STARTED = tuple(WAYS)


@dataclass(frozen=True)
class Case:
    """A way under a condition.

    Args:
        way: The way's name.
        condition: The condition's name.
        job: The job of its worker.
        terminal: Whether the worker gets a terminal, so that it draws bars.
    """

    way: str
    condition: str
    job: Job
    terminal: bool = False


def tiny(way: str, condition: str) -> Case:
    """Returns a case on the smallest net."""
    job = Job(way=way, log_every_n_steps=LOG_EVERY if condition != OFF else NEVER)
    return Case(way, condition, job, terminal=condition != OFF)


def fixed_cases() -> list[Case]:
    """Returns every way on a net so small that only the cost of the loop remains."""
    off = (REFERENCE, AGAIN, *BY_HAND, "lightning_off", "lightning_barebones", "lightning_barebones_no_search")
    on = (REFERENCE, *OTHERS)
    return [*(tiny(way, OFF) for way in off), *(tiny(way, ON) for way in on)]


def quick_cases() -> list[Case]:
    """Returns the cases of --quick: the ways as users run them, the bare loop twice, and the barebones Trainer."""
    off = (REFERENCE, AGAIN, "lightning_barebones")
    on = OTHERS
    return [*(tiny(way, OFF) for way in off), *(tiny(way, ON) for way in on)]


def waterfall_cases() -> list[Case]:
    """Returns the features one by one, in Lightning's Trainer and by hand."""
    return [tiny(way, WATERFALL) for way in FEATURE_WAYS]


def real_cases() -> list[Case]:
    """Returns ResNet-18 at two image sizes, each loop with the features that its users switch on."""
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
                # Ten consecutive steps contain one report, as in a training.
                slices=LOG_EVERY,
                lead=0,
                log_every_n_steps=NEVER if plain else LOG_EVERY,
            )
            cases.append(Case(way, condition, job, terminal=not plain))
    return cases


def start_cases() -> list[Case]:
    """Returns one training step in a fresh process, each way in its own environment."""
    jobs = (Job(way=way, measure="start", entry=WAYS[way].entry) for way in STARTED)
    return [Case(job.way, START, job, terminal=True) for job in jobs]


def indirection_cases() -> list[Case]:
    """Returns the cases that count the calls of a training step."""
    jobs = (Job(way=way, measure="indirection", warmup=20, steps=100, slices=1, lead=0) for way in STARTED)
    return [Case(job.way, IN_A_STEP, job, terminal=True) for job in jobs]


# The timed groups of a full run. A repeat of a group is a block, in which all cases of the group are interleaved.
GROUPS: dict[str, Callable[[], list[Case]]] = {
    "fixed": fixed_cases,
    "real": real_cases,
    "waterfall": waterfall_cases,
    "start": start_cases,
}


def on_cuda(cases: list[Case]) -> list[Case]:
    """Returns the same cases on a CUDA device, without and with waiting for it at each step."""
    moved = [replace(case, job=replace(case.job, accelerator="cuda")) for case in cases]
    waiting = [replace(case, condition=f"{case.condition}, sync", job=replace(case.job, sync=True)) for case in moved]
    return [*moved, *waiting]
