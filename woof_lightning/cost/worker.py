"""Does one measurement in a fresh process: `python -m woof_lightning.cost.worker JOB.json RESULT.json`."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from woof_lightning.cost.job import Job
from woof_lightning.measure.environment import changed, environment_id
from woof_lightning.measure.worker import peak_rss_mb, pin, turn_of

# Nothing heavy is imported here: a worker also measures how long imports take.
if TYPE_CHECKING:
    from woof_lightning.cost.ready import ReadyExperiment
    from woof_lightning.cost.ways import MeasuredWay
    from woof_lightning.runs.folder import RunFolder

# Steps after the timed ones, in which searches for a driver are counted, and two for the epoch's end.
SEARCHED_STEPS, LAST_STEPS = 2, 2
# Epochs of the training whose parts are timed after a whole one.
CHECK_EPOCHS = 5


def main(job_file: Path, result_file: Path) -> None:
    """Does the job of a file and writes its values to another file, both JSON."""
    job = Job(**json.loads(job_file.read_text(encoding="utf-8")))
    before = dict(os.environ)
    if job.turns is None:
        pin(job.cores)
    # ignore_cleanup_errors: a logger's thread may still write while the folder is removed.
    with TemporaryDirectory(prefix="woof-cost-", ignore_cleanup_errors=True) as folder:
        values = measured(job, Path(folder))
    values["environment_id"] = float(environment_id(before))
    # What a way's own imports change belongs to the way.
    values |= {f"changes {name}": 1.0 for name in changed(before, os.environ)}
    result_file.write_text(json.dumps(values), encoding="utf-8")


def measured(job: Job, folder: Path) -> dict[str, float]:
    """Returns the values of a job, by measure. The folder is for the run."""
    if job.measure == "code":
        from woof_lightning.cost.written import code_values

        return code_values(job.way)

    import torch

    imported = imports(job.entry) if job.measure == "start" else {}

    from woof_lightning.cost.features import way_named
    from woof_lightning.runs.folder import RunFolder

    torch.set_num_threads(job.threads)
    run = RunFolder(folder / "run")
    run.create()
    way = way_named(job.way)
    if job.measure == "start":
        experiment = experiment_of(job, 1)
        return imported | start(job, lambda: way.train(experiment, run))
    if job.measure == "indirection":
        from woof_lightning.cost.indirection import indirection

        return indirection(job, way, experiment_of(job, job.warmup + job.steps + LAST_STEPS), run)
    if job.measure == "whole":
        return whole(job, way, run)
    return steps(job, way, run)


def experiment_of(job: Job, steps: int) -> ReadyExperiment:
    """Returns what a job trains, with a number of steps per epoch."""
    from woof_lightning.cost.ready import Work

    return Work(
        arch=job.arch,
        image_size=job.image_size,
        batch_size=job.batch_size,
        steps=steps,
        log_every_n_steps=job.log_every_n_steps,
        epochs=job.epochs,
        val_batches=job.val_batches,
        precision=job.precision,
        accelerator=job.accelerator,
    ).experiment()


def steps(job: Job, way: MeasuredWay, run: RunFolder) -> dict[str, float]:
    """Returns the time of a training step and the peak of memory, and counts searches for a driver after that."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from woof_lightning.measure.clock import StepClock
    from woof_lightning.measure.searches import DriverSearches

    on_cuda = job.accelerator == "cuda"
    turn = turn_of(job.turns, job.cores)

    def turn_with_the_device_idle() -> None:
        torch.cuda.synchronize()
        if turn is not None:
            turn()

    searches = DriverSearches(SEARCHED_STEPS)
    clock = StepClock(
        job.warmup,
        job.steps,
        job.slices,
        job.lead,
        cuda=on_cuda,
        turn=turn_with_the_device_idle if on_cuda else turn,
        at_end=searches.start,
    )
    hooks: list[Callable[..., None]] = [clock, searches.stepped]
    if job.sync and on_cuda:
        hooks.insert(0, lambda *_: torch.cuda.synchronize())
    # No loop ends its epoch within a slice.
    experiment = experiment_of(job, clock.total_steps + SEARCHED_STEPS + LAST_STEPS)
    with ExitStack() as stack:
        for hook in hooks:
            stack.callback(register_optimizer_step_post_hook(hook).remove)
        way.train(experiment, run)
    values = {"step_us": clock.step_us, "driver_searches": searches.a_step, "peak_rss_mb": peak_rss_mb()}
    if on_cuda:
        values |= {"host_us": clock.host_us, "peak_gpu_mb": torch.cuda.max_memory_allocated() / 1e6}
    return values


def parts(job: Job, way: MeasuredWay, run: RunFolder) -> dict[str, float]:
    """Returns what the parts of a whole training take: a step, a validation batch, an epoch's end, a saved file."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from woof_lightning.measure.phases import PhaseClock

    clock = PhaseClock(job.steps)
    experiment = replace(experiment_of(job, job.steps), before_forward=clock.forward)
    with ExitStack() as stack:
        stack.callback(register_optimizer_step_post_hook(clock.stepped).remove)
        stack.enter_context(clock.noting_saves())
        way.train(experiment, run)
    return clock.parts()


def whole(job: Job, way: MeasuredWay, run: RunFolder) -> dict[str, float]:
    """Returns the time of a whole training up to its first step and from there to its end, and then its parts.

    The parts are those of a second training in the same process. If the machine is slow now, it is slow for both.
    """
    experiment = experiment_of(job, job.steps)
    values = start(job, lambda: way.train(experiment, run))
    # Of the same class, which is not imported at the top.
    again = type(run)(run.path.with_name("parts"))
    again.create()
    first_step_s = values["first_step_s"]
    return {
        "first_step_s": first_step_s,
        "rest_s": values["trained_s"] - first_step_s,
        **parts(replace(job, epochs=CHECK_EPOCHS), way, again),
    }


def imports(entry: tuple[str, ...]) -> dict[str, float]:
    """Returns how long the import of some modules takes, and how many modules it loads. torch is imported already."""
    modules, start_s = len(sys.modules), time.perf_counter()
    for module in entry:
        importlib.import_module(module)
    return {"import_s": time.perf_counter() - start_s, "imported_modules": float(len(sys.modules) - modules)}


def start(job: Job, train: Any) -> dict[str, float]:
    """Returns the time from the start of the process to the end of its first step, and to the end of the run."""
    from woof_lightning.measure.clock import StepClock, ticking

    first_step_s: list[float] = []
    clock = StepClock(warmup=1, steps=1, at_start=lambda: first_step_s.append(time.perf_counter() - job.started_s))
    with ticking(clock):
        train()
    return {"first_step_s": first_step_s[0], "trained_s": time.perf_counter() - job.started_s}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
