"""Does one measurement in this process, and prints its values as JSON: `python one.py JOB`, as measure.py calls it.

JOB is a JSON object with the fields of Job.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import optimizer as optimizers

from docs.results.speed.job import BATCH_SIZE, CLASSES, IMPORTS, LOADING, RATE, START, TRAINING, Job

# Batches that fill the caches before the clock of loading starts.
LOADED_BEFORE = 2
VALIDATION_EPOCHS = 2
# Of the one step of START: small, so that the start shows.
START_BATCH_SIZE = 8


class Stopwatch:
    """Notes when each step was done, and the memory after the last one.

    Args:
        steps: The number of steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.done_s: list[float] = []
        self.memory_mb = 0.0

    def step_done(self, *_: Any) -> None:
        """Notes the time; call it after each step of the optimizer."""
        self.done_s.append(time.perf_counter())
        if len(self.done_s) == self.steps:
            self.memory_mb = memory_mb()

    def images_per_s(self, warm_up: int) -> float:
        """Returns the images per second of the steps after the first ones."""
        timed_s = self.done_s[warm_up - 1 :]
        return BATCH_SIZE * (len(timed_s) - 1) / (timed_s[-1] - timed_s[0])


# What trains. It gets the job, and what to call after each step of an optimizer that is not torch's.
Train = Callable[[Job, Callable[[], None]], None]
Batches = Iterator[tuple[Tensor, Tensor]]


def train_limit(job: Job, step_done: Callable[[], None]) -> None:
    """Takes bare steps on normalised batches in memory, and keeps freed memory."""
    from woof_lightning.resources import prepare_to_compute

    prepare_to_compute()
    train_limit_memory_freed(job, step_done)


def train_limit_memory_freed(job: Job, _: Callable[[], None]) -> None:
    """Takes bare steps on normalised batches in memory."""
    net = new_net().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    pixels = torch.randn(2, BATCH_SIZE, 3, job.size_px, job.size_px)
    batches = [images.contiguous(memory_format=torch.channels_last) for images in pixels]
    labels = torch.arange(BATCH_SIZE) % CLASSES
    for images in islice(cycle(batches), job.all_steps):
        with job.autocast():
            loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def new_net() -> nn.Module:
    """Returns the recipe's net, in channels_last."""
    from woof_lightning.recipe.model import build_net

    return build_net("resnet18", CLASSES, seed=0, channels_last=True)


def woof(*verb: str, cache: str | None = None, overlay: str = "cpu") -> Train:
    """Returns what trains with a verb of `woof`, in the version that is imported.

    Args:
        verb: The verb and its first arguments.
        cache: The setting data.cache; None in a version that has no such setting.
        overlay: The config for the machine; empty for none.
    """

    def train(job: Job, _: Callable[[], None]) -> None:
        run_woof(job, *verb, overlay=overlay, cache=cache)

    return train


def run_woof(
    job: Job, *arguments: str, overlay: str, cache: str | None, batch_size: int = BATCH_SIZE, **settings: Any
) -> None:
    """Runs `woof` for one epoch of a job's steps, on the loader settings of its own configs.

    Args:
        job: What to measure.
        arguments: The verb and further arguments.
        overlay: The config for the machine; empty for none.
        cache: The setting data.cache; None to leave it out.
        batch_size: Images per training step.
        settings: Further settings of the trainer.
    """
    from woof_lightning.cli import main

    trainer = {
        "precision": job.precision,
        "accelerator": "cpu",
        "max_epochs": 1,
        "limit_train_batches": job.all_steps,
        "limit_val_batches": 1,
        **settings,
    }
    data: dict[str, Any] = {"folder": job.folder, "image_size": job.size_px, "batch_size": batch_size}
    if cache is not None:
        data["cache"] = cache
    given = [f"--trainer.{key}={value}" for key, value in trainer.items()]
    given += [f"--data.{key}={value}" for key, value in data.items()]
    configs = [part for name in ("adamw_onecycle", overlay) if name for part in ("--config", name)]
    with tempfile.TemporaryDirectory() as runs, contextlib.redirect_stdout(sys.stderr):
        code = main([arguments[0], *arguments[1:], *configs, *given, "--runs_dir", runs, "--name", "one"])
    if code:
        raise SystemExit(f"woof {' '.join(arguments)} ended with exit code {code}")


def another(name: str) -> Train:
    """Returns what trains with another project's data path and loop: a function of others.py."""

    def train(job: Job, step_done: Callable[[], None]) -> None:
        from docs.results.speed import others

        getattr(others, f"train_{name}")(job, new_net(), step_done)

    return train


# The setting data.cache of the ways that are `woof fit`; None in the version before there was one. measure.py switches
# the keeping of memory off for woof_fit_batch_path.
CACHES = {
    "woof_fit_before": None,
    "woof_fit_batch_path": "off",
    "woof_fit_memory_kept": "off",
    "woof_fit": "disk",
}
TRAINED: dict[str, Train] = {
    "limit": train_limit,
    "limit_memory_freed": train_limit_memory_freed,
    # As in the post: contiguous images, and a loading process for each core.
    "post": woof("loop", "hand_rolled", overlay=""),
    "torchvision": another("torchvision"),
    "timm": another("timm"),
    "fastai": another("fastai"),
    **{way: woof("fit", cache=cache) for way, cache in CACHES.items()},
}


def loaded_per_s(job: Job) -> float:
    """Returns the images per second that one core decodes, augments and puts together."""
    torch.set_num_threads(1)
    batches = woof_batches(job) if job.way in CACHES else others_batches(job)
    for _ in range(LOADED_BEFORE):
        next(batches)
    start_s = time.perf_counter()
    images = sum(len(next(batches)[1]) for _ in range(job.batches))
    return images / (time.perf_counter() - start_s)


def woof_batches(job: Job) -> Batches:
    """Yields training batches, epoch after epoch, in the version of woof_lightning that is imported."""
    from woof_lightning.data.config import DataConfig
    from woof_lightning.data.imagewoof import prepare_checked_data
    from woof_lightning.data.loading import train_loader

    cache = {} if CACHES[job.way] is None else {"cache": CACHES[job.way]}
    settings: dict[str, Any] = {"image_size": job.size_px, "num_workers": 0, "batch_size": BATCH_SIZE, **cache}
    config = DataConfig(folder=Path(job.folder), **settings)
    index = prepare_checked_data(config)
    loader: Any = train_loader(index, config, seed=0, **decoded_images(index, config))
    for epoch in range(job.batches + LOADED_BEFORE):
        loader.sampler.set_epoch(epoch)
        yield from loader


def decoded_images(index: Any, config: Any) -> dict[str, Any]:
    """Returns the argument of train_loader for decoded images; nothing in the version that has none."""
    try:
        from woof_lightning.data.cache import opened
    except ImportError:
        return {}
    return {"decoded": opened(index, config)}


def others_batches(job: Job) -> Batches:
    """Yields another project's training batches, epoch after epoch."""
    from docs.results.speed import others

    loader = getattr(others, f"{job.way}_batches")(job, processes=0)
    while True:
        yield from loader


def validation_s(job: Job) -> dict[str, float]:
    """Returns what validations of `woof fit` take, and what their forward passes alone take afterwards, in s."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "validations.json")
        run_woof(
            job,
            "fit",
            "--trainer.callbacks+=docs.results.speed.validations.Clock",
            f"--trainer.callbacks.file={result}",
            overlay="cpu",
            cache="disk",
            max_epochs=VALIDATION_EPOCHS,
            limit_train_batches=1,
            limit_val_batches=job.batches,
        )
        times: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return times


def first_step(job: Job) -> None:
    """Ends this process after its first step. With IMPORTS, nothing but torch, torchvision and Lightning is used."""
    optimizers.register_optimizer_step_post_hook(lambda *_: os._exit(0))
    if job.way != IMPORTS:
        run_woof(job, "fit", overlay="cpu", cache="disk", batch_size=START_BATCH_SIZE)
        return
    import lightning  # noqa: F401
    import torchvision

    net = torchvision.models.resnet18(num_classes=CLASSES)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    images, labels = torch.randn(START_BATCH_SIZE, 3, job.size_px, job.size_px), torch.arange(START_BATCH_SIZE)
    F.cross_entropy(net(images), labels).backward()
    optimizer.step()


def memory_mb() -> float:
    """Returns the memory of this process and of its children, in which shared pages count once."""
    processes = ["self", *(str(child.pid) for child in multiprocessing.active_children())]
    texts = [Path("/proc", process, "smaps_rollup").read_text(encoding="utf-8") for process in processes]
    return sum(int(match[1]) for text in texts if (match := re.search(r"^Pss:\s+(\d+) kB", text, re.M))) * 1024 / 1e6


def training(job: Job) -> dict[str, float]:
    """Trains, and returns the speed and the memory."""
    import resource  # Windows does not have it, and imports this file for the names of the ways.

    watch = Stopwatch(job.all_steps)
    optimizers.register_optimizer_step_post_hook(watch.step_done)
    TRAINED[job.way](job, watch.step_done)
    return {
        "images_per_s": watch.images_per_s(job.warm_up),
        "memory_mb": watch.memory_mb,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def main(job: Job) -> None:
    """Does a job and prints its values."""
    torch.manual_seed(0)
    if job.measured == START:
        first_step(job)
    elif job.measured == TRAINING:
        values = training(job)
    elif job.measured == LOADING:
        values = {"loaded_per_s": loaded_per_s(job)}
    else:
        values = validation_s(job)
    print(json.dumps(values))


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])))
