"""Runs measurements in fresh processes, interleaved, and keeps their raw rows."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from woof_lightning.cost.plan import Case
from woof_lightning.cost.rows import ALL, Row, rows_of
from woof_lightning.errors import UserError
from woof_lightning.measure.busy import CPUTimes, cpu_times
from woof_lightning.measure.process import WorkerProcess, ended_on_failure

Told = Callable[[str], None]


def measure_in_turns(cases: Sequence[Case], group: str, repeat: int, told: Told) -> list[Row]:
    """Measures all cases at once, a slice of each in turn, in an order shuffled anew in each round.

    All workers start and warm up first. From then on one of them works while the others wait, so that
    a machine that gets slower or faster does so for all.

    Args:
        cases: The cases, of equally many slices.
        group: What they are called together.
        repeat: The repeat's number.
        told: Is told of each measurement.
    """
    shuffled = random.Random(repeat)
    cases = shuffled.sample(list(cases), len(cases))
    workers: list[WorkerProcess] = []
    start_s = time.perf_counter()
    with ended_on_failure(workers):
        # Starting is not timed, so that as many as there are cores may start together.
        for some in batched(cases, max(1, (os.cpu_count() or 1) // cases[0].job.threads)):
            started = [worker_of(case, in_turns=True) for case in some]
            workers += started
            for worker in started:
                worker.wait_for_turn()
        before, own_before_s = cpu_times(), used_s(workers)
        for _ in range(cases[0].job.slices):
            for worker in shuffled.sample(workers, len(workers)):
                worker.go_on()
                worker.wait_for_turn()
        share = others_share(before, used_s(workers) - own_before_s)
        for worker in workers:
            worker.go_on()
        values = [worker.finish()[0] for worker in workers]
    rows = []
    for case, found in zip(cases, values, strict=True):
        told(line_of(case, found))
        rows += rows_of(case.way, case.condition, repeat, found)
    return rows + rows_of(ALL, group, repeat, {"block_s": time.perf_counter() - start_s, **share})


def measure_alone(
    cases: Sequence[Case], repeat: int, told: Told, pythons: Mapping[str, Path] | None = None
) -> list[Row]:
    """Measures one case after the other, each from a cold start, in an order that the repeat's number shuffles.

    Args:
        cases: The cases.
        repeat: The repeat's number.
        told: Is told of each measurement.
        pythons: The interpreters of ways that have one of their own.
    """
    rows = []
    for case in random.Random(repeat).sample(list(cases), len(cases)):
        before, own_before_s = cpu_times(), used_s([])
        worker = worker_of(case, python=(pythons or {}).get(case.way))
        values, worker_s = worker.finish()
        values |= others_share(before, used_s([]) - own_before_s + worker_s)
        told(line_of(case, values))
        rows += rows_of(case.way, case.condition, repeat, values)
    return rows


def worker_of(case: Case, *, python: Path | None = None, in_turns: bool = False) -> WorkerProcess:
    """The process that measures a case, as WorkerProcess takes its options."""
    return WorkerProcess(
        "woof_lightning.cost.worker",
        asdict(case.job),
        name=case.way,
        terminal=case.terminal,
        python=python,
        in_turns=in_turns,
    )


def others_share(before: CPUTimes | None, own_s: float) -> dict[str, float]:
    """The share of one core that others used or that was stolen since a reading; nothing where it is not known."""
    after = cpu_times()
    return {} if before is None or after is None else {"others_share": before.others_share(after, own_s)}


def used_s(workers: Iterable[WorkerProcess]) -> float:
    """The processor time of this process and of living workers so far."""
    return sum(os.times()[:2]) + sum(worker.used_s() for worker in workers)


def batched(cases: Sequence[Case], size: int) -> list[Sequence[Case]]:
    """The cases in parts of at most so many."""
    return [cases[start : start + size] for start in range(0, len(cases), size)]


def line_of(case: Case, values: Mapping[str, float]) -> str:
    """A measurement in a line."""
    return f"{case.way:<30}{case.condition:<18}" + "  ".join(f"{n} {v:.4g}" for n, v in values.items())


def pinned(cases: Sequence[Case], threads: int) -> list[Case]:
    """The cases with so many threads, on cores of their own where the system can do that."""
    if threads < 1:
        raise UserError(f"--threads is {threads}: expected at least 1")
    cores: tuple[int, ...] = ()
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = tuple(sorted(os.sched_getaffinity(0)))[-threads:]
        if len(cores) < threads:
            raise UserError(f"--threads is {threads}: this process may use {len(cores)} cores")
    return [replace(case, job=replace(case.job, threads=threads, cores=cores)) for case in cases]
