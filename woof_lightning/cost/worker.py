"""One measurement in a process of its own: `python -m woof_lightning.cost.worker JOB.json RESULT.json`."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Nothing heavy is imported here: a worker also measures how long that takes.


@dataclass(frozen=True)
class Job:
    """What a worker measures.

    Args:
        arm: A name of `arms.ARMS`, or of `features.ARMS`.
        measure: step (a window of training steps), start (until the first step's end) or indirection.
        arch: tiny, or a torchvision classifier.
        image_size: px.
        batch_size: Images.
        warmup: Steps before the window.
        steps: Steps in the window.
        log_every_n_steps: Steps between reports.
        precision: 32-true or bf16-mixed.
        accelerator: cpu or cuda.
        sync: Whether to wait for the device at each step, as a loop does that prints each loss.
        threads: Threads of torch.
        cores: The cores to run on; empty leaves that to the system.
        started_s: time.perf_counter() of the parent, just before it started the worker.
    """

    arm: str
    measure: str = "step"
    arch: str = "tiny"
    image_size: int = 8
    batch_size: int = 2
    warmup: int = 200
    steps: int = 1000
    log_every_n_steps: int = 10
    precision: str = "32-true"
    accelerator: str = "cpu"
    sync: bool = False
    threads: int = 1
    cores: tuple[int, ...] = ()
    started_s: float = 0.0


def main(job_file: Path, result_file: Path) -> None:
    """Does a job and writes its values."""
    job = Job(**json.loads(job_file.read_text()))
    if job.cores and hasattr(os, "sched_setaffinity"):  # not on macOS and Windows
        os.sched_setaffinity(0, job.cores)
    with TemporaryDirectory(prefix="woof-cost-") as folder:
        values = measured(job, Path(folder))
    result_file.write_text(json.dumps(values))


def measured(job: Job, folder: Path) -> dict[str, float]:
    """The values of a job, by their names; each name ends in its unit where it has one."""
    import torch

    from woof_lightning.cost.clock import StepClock, ticking
    from woof_lightning.cost.features import arm_named
    from woof_lightning.cost.ready import Work
    from woof_lightning.runs.folder import RunFolder

    torch.set_num_threads(job.threads)
    work = Work(
        arch=job.arch,
        image_size=job.image_size,
        batch_size=job.batch_size,
        # A few more than are timed: no loop may end its epoch inside the window.
        steps=job.warmup + job.steps + 2 if job.measure != "start" else 1,
        log_every_n_steps=job.log_every_n_steps,
        precision=job.precision,
        accelerator=job.accelerator,
    )
    run = RunFolder(folder / "run")
    run.create()
    arm = arm_named(job.arm)
    experiment = work.experiment()
    if job.measure == "start":
        return start(job, lambda: arm.train(experiment, run))
    if job.measure == "indirection":
        from woof_lightning.cost.indirection import indirection

        return indirection(job, arm, experiment, run)
    if job.sync:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(lambda *_: torch.cuda.synchronize())
    clock = StepClock(job.warmup, job.steps, sync=job.accelerator == "cuda")
    with ticking(clock):
        arm.train(experiment, run)
    values = {"step_us": clock.step_us, "peak_rss_mb": peak_rss_mb()}
    if job.accelerator == "cuda":
        values["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return values


def start(job: Job, train: Any) -> dict[str, float]:
    """The time from the process's start to the end of its first step, and what is loaded by then."""
    from woof_lightning.cost.clock import StepClock, ticking

    clock = StepClock(warmup=1, steps=1)
    with ticking(clock):
        train()
    return {
        "first_step_s": clock.marks_s[0] - job.started_s,
        "trained_s": time.perf_counter() - job.started_s,
        "modules": float(len(sys.modules)),
    }


def peak_rss_mb() -> float:
    """The most memory that this process held at once."""
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
