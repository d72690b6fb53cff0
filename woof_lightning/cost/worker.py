"""Does one measurement in a fresh process: `python -m woof_lightning.cost.worker JOB.json RESULT.json`."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from woof_lightning.cost.job import Job
from woof_lightning.measure.worker import peak_rss_mb, pin, turn_of

# Nothing heavy is imported here: a worker also measures how long imports take.


def main(job_file: Path, result_file: Path) -> None:
    """Does the job of a file and writes its values to another file, both JSON."""
    job = Job(**json.loads(job_file.read_text()))
    if job.turns is None:
        pin(job.cores)
    # ignore_cleanup_errors: a logger's thread may still write while the folder is removed.
    with TemporaryDirectory(prefix="woof-cost-", ignore_cleanup_errors=True) as folder:
        values = measured(job, Path(folder))
    result_file.write_text(json.dumps(values))


def measured(job: Job, folder: Path) -> dict[str, float]:
    """Returns the values of a job, by measure. The folder is for the run."""
    import torch

    imported = imports(job.entry) if job.measure == "start" else {}

    from woof_lightning.cost.features import way_named
    from woof_lightning.cost.ready import Work
    from woof_lightning.measure.clock import StepClock, ticking
    from woof_lightning.runs.folder import RunFolder

    torch.set_num_threads(job.threads)
    on_cuda = job.accelerator == "cuda"
    clock = StepClock(job.warmup, job.steps, job.slices, job.lead, cuda=on_cuda, turn=turn_of(job.turns, job.cores))
    work = Work(
        arch=job.arch,
        image_size=job.image_size,
        batch_size=job.batch_size,
        # More than the timed ones, so that no loop ends its epoch within a slice.
        steps=clock.total_steps + 2 if job.measure != "start" else 1,
        log_every_n_steps=job.log_every_n_steps,
        precision=job.precision,
        accelerator=job.accelerator,
    )
    run = RunFolder(folder / "run")
    run.create()
    way = way_named(job.way)
    experiment = work.experiment()
    if job.measure == "start":
        return imported | start(job, lambda: way.train(experiment, run))
    if job.measure == "indirection":
        from woof_lightning.cost.indirection import indirection

        return indirection(job, way, experiment, run)
    if job.sync:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(lambda *_: torch.cuda.synchronize())
    with ticking(clock):
        way.train(experiment, run)
    values = {"step_us": clock.step_us, "peak_rss_mb": peak_rss_mb()}
    if on_cuda:
        values["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return values


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
