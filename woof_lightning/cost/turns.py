"""Runs measurements in fresh processes, interleaved or one by one, and returns their rows."""

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

# Shows a line of text to the user.
Report = Callable[[str], None]


def measure_in_turns(cases: Sequence[Case], group: str, repeat: int, report: Report) -> list[Row]:
    """Measures all cases interleaved: one slice of each case per round, in an order that is shuffled for each round.

    All workers start and warm up first. After that, one of them works while the others wait. If the machine gets slower
    or faster, it does so for all cases.

    Args:
        cases: The cases, all with the same number of slices and threads.
        group: The name of the group.
        repeat: The number of the repeat, which is the seed of the order.
        report: Called with a line of text for each case.
    """
    shuffled = random.Random(repeat)
    cases = shuffled.sample(list(cases), len(cases))
    workers: list[WorkerProcess] = []
    start_s = time.perf_counter()
    with ended_on_failure(workers):
        # The start is not timed, so as many workers start together as there are cores.
        for some in batched(cases, max(1, (os.cpu_count() or 1) // cases[0].job.threads)):
            started = [worker_of(case, in_turns=True) for case in some]
            workers += started
            for worker in started:
                worker.wait_for_turn()
        before, own_before_s = cpu_times(), used_s(workers)
        for _ in range(cases[0].job.slices):
            for worker in shuffled.sample(workers, len(workers)):
                worker.give_turn()
                worker.wait_for_turn()
        share = others_share(before, used_s(workers) - own_before_s)
        for worker in workers:
            worker.give_turn()
        values = [worker.finish()[0] for worker in workers]
    rows = []
    for case, found in zip(cases, values, strict=True):
        report(line_of(case, found))
        rows += rows_of(case.way, case.condition, repeat, found)
    return rows + rows_of(ALL, group, repeat, {"block_s": time.perf_counter() - start_s, **share})


def measure_alone(
    cases: Sequence[Case], repeat: int, report: Report, pythons: Mapping[str, Path] | None = None
) -> list[Row]:
    """Measures the cases one by one in shuffled order, each in a fresh process.

    Args:
        cases: The cases.
        repeat: The number of the repeat, which is the seed of the order.
        report: Called with a line of text for each case.
        pythons: The interpreters of ways that have their own environment, by name.
    """
    rows = []
    for case in random.Random(repeat).sample(list(cases), len(cases)):
        before, own_before_s = cpu_times(), used_s([])
        worker = worker_of(case, python=(pythons or {}).get(case.way))
        values, worker_s = worker.finish()
        values |= others_share(before, used_s([]) - own_before_s + worker_s)
        report(line_of(case, values))
        rows += rows_of(case.way, case.condition, repeat, values)
    return rows


def count_together(cases: Sequence[Case], report: Report) -> list[Row]:
    """Counts in fresh processes, as many at once as there are cores: nothing is timed.

    Args:
        cases: The cases.
        report: Called with a line of text for each case.
    """
    rows = []
    for some in batched(cases, os.cpu_count() or 1):
        workers: list[WorkerProcess] = []
        with ended_on_failure(workers):
            for case in some:
                workers.append(worker_of(case))
            for case, worker in zip(some, workers, strict=True):
                values = worker.finish()[0]
                report(line_of(case, values))
                rows += rows_of(case.way, case.condition, 0, values)
    return rows


def worker_of(case: Case, *, python: Path | None = None, in_turns: bool = False) -> WorkerProcess:
    """Starts the process that measures a case. The options are those of WorkerProcess."""
    return WorkerProcess(
        "woof_lightning.cost.worker",
        asdict(case.job),
        name=case.way,
        terminal=case.terminal,
        variables=dict(case.variables),
        python=python,
        in_turns=in_turns,
    )


def others_share(before: CPUTimes | None, own_s: float) -> dict[str, float]:
    """Returns the share of one core that others used since a reading, as others_share; nothing if it is not known."""
    after = cpu_times()
    return {} if before is None or after is None else {"others_share": before.others_share(after, own_s)}


def used_s(workers: Iterable[WorkerProcess]) -> float:
    """Returns the processor time in s that this process and its running workers have used."""
    return sum(os.times()[:2]) + sum(worker.used_s() for worker in workers)


def batched(cases: Sequence[Case], size: int) -> list[Sequence[Case]]:
    """Returns the cases in parts of at most `size`."""
    return [cases[start : start + size] for start in range(0, len(cases), size)]


def line_of(case: Case, values: Mapping[str, float]) -> str:
    """Returns a measurement as a line of text."""
    return f"{case.way:<30}{case.condition:<18}" + "  ".join(f"{n} {v:.4g}" for n, v in values.items())


def pinned(cases: Sequence[Case], threads: int) -> list[Case]:
    """Returns the cases with a number of threads, each thread on its own core if the system can do that.

    Raises:
        UserError: If there are fewer cores than threads.
    """
    if threads < 1:
        raise UserError(f"--threads is {threads}: expected at least 1")
    cores: tuple[int, ...] = ()
    if hasattr(os, "sched_getaffinity"):  # macOS and Windows do not have it.
        cores = tuple(sorted(os.sched_getaffinity(0)))[-threads:]
        if len(cores) < threads:
            raise UserError(
                f"--threads is {threads}: expected at most {len(cores)}, the cores that this process may use"
            )
    return [replace(case, job=replace(case.job, threads=threads, cores=cores)) for case in cases]
