"""What a worker process is asked to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What a worker measures.

    Args:
        way: A name of `ways.MEASURED`, or of `features.FEATURE_WAYS`.
        measure: step (slices of training steps), start (until the first step's end) or indirection.
        arch: tiny, or a torchvision classifier.
        image_size: px.
        batch_size: Images.
        warmup: Steps before the first slice.
        steps: Timed steps of a slice.
        slices: Slices.
        lead: Steps of each slice that are not timed, since another process had the caches before.
        log_every_n_steps: Steps between reports.
        precision: 32-true or bf16-mixed.
        accelerator: cpu or cuda.
        sync: Whether to wait for the device at each step, as a loop does that prints each loss.
        entry: The modules whose import is timed by start.
        threads: Threads of torch.
        cores: The cores to run on; empty leaves that to the system.
        started_s: time.perf_counter() of the parent, just before it started the worker.
        turns: File descriptors on which to say that a slice is done, and to hear that the next one may begin.
    """

    way: str
    measure: str = "step"
    arch: str = "tiny"
    image_size: int = 8
    batch_size: int = 2
    warmup: int = 200
    steps: int = 100
    slices: int = 10
    lead: int = 10
    log_every_n_steps: int = 10
    precision: str = "32-true"
    accelerator: str = "cpu"
    sync: bool = False
    entry: tuple[str, ...] = ()
    threads: int = 1
    cores: tuple[int, ...] = ()
    started_s: float = 0.0
    turns: tuple[int, int] | None = None
