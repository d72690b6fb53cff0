"""Plans what is measured: the cases of each group, within which ways are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from woof_lightning.cost.features import FEATURE_WAYS
from woof_lightning.cost.job import Job
from woof_lightning.cost.ready import NEVER
from woof_lightning.loops.ways import LOOPS, REFERENCE, WAYS, WOOF_FIT

AGAIN = "bare_again"
BAREBONES, BAREBONES_NO_SEARCH = "lightning_barebones", "lightning_barebones_no_search"
ONE_LOG, LEAN = "lightning_one_log", "lightning_lean"
# The ways whose bar and logs can be switched off.
BY_HAND = tuple(name for name in LOOPS if name not in (REFERENCE, "lightning"))
# Conditions. Off: no bar, no log and no checkpoint, if they can be switched off. On: as users run it.
OFF, ON, WATERFALL, START, IN_A_STEP, COUNTED = "off", "on", "waterfall", "start", "step", "counted"
WHOLE = "whole"
# Steps between reports, as in the configs.
LOG_EVERY = 10
# The ways whose start-up is measured, each in its own environment.
STARTED = tuple(WAYS)
# The ways as users have them, with the variants of Lightning.
WITH_VARIANTS = (*WAYS, ONE_LOG, LEAN)
# A small whole training.
EPOCH_STEPS, EPOCH_VAL_BATCHES, WHOLE_EPOCHS = 60, 60, 4


@dataclass(frozen=True)
class Net:
    """A net whose steps are timed beside those of the smallest one.

    Args:
        arch: convN, or a torchvision classifier.
        image_size: Side of the images, in px.
        batch_size: Images per batch.
        steps: Number of timed steps per slice.
        slices: Number of slices. All slices together contain a whole number of reports.
    """

    arch: str
    image_size: int
    batch_size: int
    steps: int
    slices: int = 10


# By condition. Their steps take about 1, 4, 15, 90 and 600 ms on a core of 2023.
NETS = {
    "conv4 8 px": Net("conv4", 8, 2, 50),
    "conv16 32 px": Net("conv16", 32, 16, 20),
    "conv32 48 px": Net("conv32", 48, 24, 10),
    "conv48 64 px": Net("conv48", 64, 40, 3),
    # Fewer images than the recipe's 128, so that the loop's share of the step is larger.
    "resnet18 128 px": Net("resnet18", 128, 16, 1),
}
# A small batch, whose kernels a device finishes sooner than the host starts them, and the recipe's own.
NETS_ON_CUDA = {
    "resnet18 128 px, 16 images": Net("resnet18", 128, 16, 20),
    "resnet18 128 px, 128 images": Net("resnet18", 128, 128, 10),
}
REAL_WAYS = (REFERENCE, AGAIN, "fabric", "lightning", WOOF_FIT)
# So many that the processes of a block fit into the memory of one machine, and a measurement into minutes.
CUDA_WAYS = (REFERENCE, AGAIN, "fabric", "accelerate", "lightning", ONE_LOG, LEAN, WOOF_FIT)


@dataclass(frozen=True)
class Case:
    """A way under a condition.

    Args:
        way: The way's name.
        condition: The condition's name.
        job: The job of its worker.
        terminal: Whether the worker gets a terminal, so that it draws bars.
        variables: Environment variables that its worker gets in addition to the listed ones, to measure what they do.
    """

    way: str
    condition: str
    job: Job
    terminal: bool = False
    variables: tuple[tuple[str, str], ...] = ()


def tiny(way: str, condition: str) -> Case:
    """Returns a case on the smallest net."""
    job = Job(way=way, log_every_n_steps=LOG_EVERY if condition != OFF else NEVER)
    return Case(way, condition, job, terminal=condition != OFF)


def fixed_cases() -> list[Case]:
    """Returns every way on a net so small that only the cost of the loop remains."""
    off = (REFERENCE, AGAIN, *BY_HAND, LEAN, BAREBONES, BAREBONES_NO_SEARCH)
    return [*(tiny(way, OFF) for way in off), *(tiny(way, ON) for way in WITH_VARIANTS)]


def quick_cases() -> list[Case]:
    """Returns the cases of --quick: the ways as users run them, the bare loop twice, and the barebones Trainer."""
    off = (REFERENCE, AGAIN, BAREBONES_NO_SEARCH)
    return [*(tiny(way, OFF) for way in off), *(tiny(way, ON) for way in WITH_VARIANTS)]


def fixed_on_cuda_cases() -> list[Case]:
    """Returns ways with reports on the smallest net, the bare loop twice."""
    return [tiny(way, ON) for way in CUDA_WAYS]


def waterfall_cases() -> list[Case]:
    """Returns the features one by one, in Lightning's Trainer and by hand."""
    return [tiny(way, WATERFALL) for way in FEATURE_WAYS]


def real_cases(nets: dict[str, Net] = NETS) -> list[Case]:
    """Returns nets whose steps take from 1 ms to more than 100 ms, each way as its users run it.

    Args:
        nets: The nets, by condition.
    """
    cases = []
    for condition, net in nets.items():
        for way in REAL_WAYS:
            job = Job(
                way=way,
                arch=net.arch,
                image_size=net.image_size,
                batch_size=net.batch_size,
                warmup=2 if net.steps == 1 else LOG_EVERY,
                steps=net.steps,
                slices=net.slices,
                lead=0 if net.steps == 1 else 1,
                log_every_n_steps=LOG_EVERY,
            )
            cases.append(Case(way, condition, job, terminal=True))
    return cases


def whole_cases() -> list[Case]:
    """Returns a small whole training in every way, and after it another one whose parts are timed."""
    return [Case(way, WHOLE, whole_job(way), terminal=True) for way in WITH_VARIANTS]


def whole_job(way: str) -> Job:
    """Returns the job of a small whole training on the smallest net."""
    return Job(
        way=way,
        measure="whole",
        steps=EPOCH_STEPS,
        epochs=WHOLE_EPOCHS,
        val_batches=EPOCH_VAL_BATCHES,
        log_every_n_steps=LOG_EVERY,
    )


def start_cases() -> list[Case]:
    """Returns one training step in a fresh process, each way in its own environment."""
    jobs = (Job(way=way, measure="start", entry=WAYS[way].entry) for way in STARTED)
    return [Case(job.way, START, job, terminal=True) for job in jobs]


def indirection_cases() -> list[Case]:
    """Returns the cases that count the calls of a training step."""
    jobs = (Job(way=way, measure="indirection", warmup=20, steps=100, slices=1, lead=0) for way in WITH_VARIANTS)
    return [Case(job.way, IN_A_STEP, job, terminal=True) for job in jobs]


def code_cases() -> list[Case]:
    """Returns the cases that count what a person writes."""
    return [Case(way, COUNTED, Job(way=way, measure="code")) for way in WAYS]


# The timed groups of a full run. A repeat of a group is a block, in which all cases of the group are interleaved.
GROUPS: dict[str, Callable[[], list[Case]]] = {
    "fixed": fixed_cases,
    "whole": whole_cases,
    "real": real_cases,
    "waterfall": waterfall_cases,
    "start": start_cases,
}
# What is measured on a CUDA device. The other groups time the processor's part of a training.
GROUPS_ON_CUDA = ("fixed", "real")
# Those whose cases run one by one, each from its start to its end.
ALONE = ("whole", "start")


def on_cuda(cases: list[Case], accelerator: str = "cuda") -> list[Case]:
    """Returns the cases of CUDA_WAYS on a CUDA device, without and with waiting for it at each step.

    Args:
        cases: The cases.
        accelerator: cuda; cpu lets the processor stand in, to try a measurement where there is no device.
    """
    moved = [replace(case, job=replace(case.job, accelerator=accelerator)) for case in cases if case.way in CUDA_WAYS]
    waiting = [replace(case, condition=f"{case.condition}, sync", job=replace(case.job, sync=True)) for case in moved]
    return [*moved, *waiting]
