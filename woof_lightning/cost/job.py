"""The job of a worker process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What a worker measures.

    Args:
        way: A name in `ways.MEASURED` or `features.FEATURE_WAYS`.
        measure: step (time of training steps), whole (a whole training and the parts of another one), start (time to
            the end of the first step), indirection (calls and frames) or code (lines and names).
        arch: tiny, or a torchvision classifier.
        image_size: Side of the images, in px.
        batch_size: Images per batch.
        epochs: Number of epochs, for whole. Each has `steps` steps.
        val_batches: Number of validation batches per epoch.
        warmup: Number of steps before the first slice.
        steps: Number of timed steps per slice.
        slices: Number of slices.
        lead: Number of steps at the start of each slice that are not timed, since another process used the caches.
        log_every_n_steps: Number of steps between reports.
        precision: 32-true or bf16-mixed.
        accelerator: cpu or cuda.
        sync: Whether to wait for the device at each step, as a loop that prints each loss does.
        entry: The modules to import and time, for start.
        threads: Number of threads of torch.
        cores: The cores to run on; with none, the system decides.
        started_s: time.perf_counter() of the parent, just before it started the worker.
        turns: File descriptors for waiting between slices, see `turn_of`; None runs without waiting.
    """

    way: str
    measure: str = "step"
    arch: str = "tiny"
    image_size: int = 8
    batch_size: int = 2
    epochs: int = 1
    val_batches: int = 1
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
