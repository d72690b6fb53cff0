"""What would make a step shorter, by how much, and where in the user's code."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch

from woof_lightning.profile import switches
from woof_lightning.profile.advice import Piece, Seen
from woof_lightning.profile.buckets import (
    BAR,
    BAR_VALUES,
    CALLBACK,
    CHECKPOINT,
    DATA,
    METRIC,
    PRINT,
    SEARCH,
    VALIDATION,
)
from woof_lightning.profile.hooks import base_of, idle_hooks
from woof_lightning.profile.record import Advice
from woof_lightning.profile.seams import HEARD_STEPS, NVML_CHECK, replaced, without_variable
from woof_lightning.profile.sites import Site

REFRESH_RATE = 20
SAMPLED_EVERY = SAVED_EVERY = 10
# Waiting for data below this share of a step is not worth a process.
LEAST_SHARE = 0.005
# Validation and checkpoints above this share are worth a word.
LARGE_SHARE = 0.1


def pieces(seen: Seen) -> list[Piece]:
    """Returns what there is to change and would save anything, the largest predicted saving first."""
    found = [piece for find in FINDERS for piece in find(seen) if piece.advice.predicted_us > 0]
    return sorted(found, key=lambda piece: -piece.advice.predicted_us)


def log_less(seen: Seen) -> Iterator[Piece]:
    """Values that self.log takes at each step, and that are read at each n-th."""
    trainer, every = seen.trainer, seen.log_every
    says = f"Log at the steps that are read: `if (self.trainer.global_step + 1) % {every} == 0:`"
    if not trainer.loggers:
        says = f"Without a logger nobody reads these values at a step. {says}"

    def is_time() -> bool:
        return bool(every) and (trainer.global_step + 1) % every == 0

    yield from log_at(seen, "self.log", says, lambda told: told.get("on_epoch") is not True, every, is_time)


def log_less_for_the_epoch(seen: Seen) -> Iterator[Piece]:
    """Values that self.log adds up at each step for the mean of the epoch."""
    loop = seen.trainer.fit_loop
    if seen.trainer.num_training_batches >= 2 * SAMPLED_EVERY:
        says = f"If the mean of some steps is enough for the epoch: `if batch_idx % {SAMPLED_EVERY} == 0:`"

        def is_time() -> bool:
            return bool(loop.batch_idx % SAMPLED_EVERY == 0)

        def is_meant(told: Mapping[str, Any]) -> bool:
            return told.get("on_epoch") is True

        yield from log_at(seen, "self.log for the epoch", says, is_meant, SAMPLED_EVERY, is_time)


def log_at(
    seen: Seen,
    name: str,
    says: str,
    is_meant: Callable[[Mapping[str, Any]], bool],
    every: int,
    is_time: Callable[[], bool],
) -> Iterator[Piece]:
    """Yields a piece about lines that log at each step, if there are such lines.

    Args:
        seen: What was seen.
        name: The name of the advice.
        says: What to do.
        is_meant: Whether it is about a line with some options. A line whose value the bar shows at a step is left out.
        every: At which steps to log instead: each n-th.
        is_time: Whether it is such a step.
    """
    has_bar = seen.trainer.progress_bar_callback is not None

    def meant(told: Mapping[str, Any]) -> bool:
        shown = has_bar and told.get("prog_bar") and told.get("on_step") is not False
        return not shown and is_meant(told)

    sites = [site for site in seen.seams.logs.all() if meant(site.options) and site.calls >= seen.steps]
    if sites:
        predicted_us = sum(map(seen.site_us, sites)) * share_left_out(every)
        places = tuple(site.place for site in sites)
        yield Piece(
            Advice(name, says, places, predicted_us), lambda: switches.logged_less(seen.trainer, meant, is_time)
        )


def share_left_out(every: int) -> float:
    """Returns the share of steps that are not each n-th; all of them if n is 0."""
    return 1 - 1 / every if every else 1.0


def measure_less(seen: Seen) -> Iterator[Piece]:
    """Metrics whose value is computed at each step, and read at each n-th or never."""
    logged = {id(value): site for site in seen.seams.logs.all() for value in logged_values(site)}
    called = {name for name, sites in seen.seams.metrics.items() if sites.all()}
    found = [measured(seen, name, logged) for name in sorted(called - seen.seams.losses)]
    metrics = [one for one in found if one.every != 1]
    if metrics:
        yield Piece(
            Advice(
                "metrics",
                f"Call the metric at the steps that are read, each {seen.log_every}th, and its update() at the others",
                tuple(place for one in metrics for place in one.places),
                sum(one.predicted_us for one in metrics),
            ),
            lambda: switches.measured_less(
                [(seen.trainer.lightning_module.get_submodule(one.name), one.every) for one in metrics]
            ),
        )


@dataclass(frozen=True)
class Measured:
    """A metric whose value is computed at each step.

    Args:
        name: Its name in the module.
        places: The lines that call it.
        every: At which steps its value is needed: each n-th; 0 for none.
        predicted_us: What that saves.
    """

    name: str
    places: tuple[str, ...]
    every: int
    predicted_us: float


def measured(seen: Seen, name: str, logged: Mapping[int, Site]) -> Measured:
    """Returns what a metric costs beyond its update at the steps whose value nobody reads."""
    site = logged.get(id(seen.trainer.lightning_module.get_submodule(name)))
    every = seen.log_every
    if site is not None and site.options.get("on_step") is False:
        every = 0
    value_us = seen.part_us(f"{METRIC}{name}") + seen.part_us(f"{METRIC}{name}, compute")
    places = tuple(site.place for site in seen.seams.metrics[name].all())
    return Measured(name, places, every, value_us * share_left_out(every))


def logged_values(site: Site) -> Iterator[Any]:
    """Yields what a line logs."""
    yield site.options.get("value")
    yield from site.options.get("dictionary", {}).values()


def refresh_less(seen: Seen) -> Iterator[Piece]:
    """A progress bar that is drawn at each step."""
    bar = seen.trainer.progress_bar_callback
    rate = getattr(bar, "_refresh_rate", 0)
    if hasattr(bar, "_should_update") and 0 < rate < REFRESH_RATE and bar.is_enabled:
        bar_us = seen.part_us(BAR) + seen.part_us(BAR_VALUES)
        says = f"Draw the bar less often: callbacks=[{type(bar).__name__}(refresh_rate={REFRESH_RATE})]"
        # It is drawn at the end of each epoch, too.
        drawn, fewer = (math.ceil(seen.epoch_steps / every) for every in (rate, REFRESH_RATE))
        advice = Advice("progress bar", says, ("Trainer(callbacks=...)",), bar_us * (1 - fewer / drawn))
        yield Piece(advice, lambda: replaced(bar, "_refresh_rate", REFRESH_RATE))


def show_fewer(seen: Seen) -> Iterator[Piece]:
    """Values that are shown in the bar, for which each drawing of it waits."""
    sites = [site for site in seen.seams.logs.all() if site.options.get("prog_bar")]
    bar = seen.trainer.progress_bar_callback
    if sites and bar is not None and bar.is_enabled:
        advice = Advice(
            "prog_bar=True",
            "Leave prog_bar=True out: each drawing of the bar fetches these values",
            tuple(site.place for site in sites),
            seen.part_us(BAR_VALUES),
        )
        yield Piece(advice, lambda: replaced(bar, "get_metrics", lambda *_: {}))


def leave_hooks_out(seen: Seen) -> Iterator[Piece]:
    """Step hooks that do nothing."""
    idle = [(action, owner, hook) for action, owner, hook in idle_hooks(seen.trainer) if seen.calls.get(action)]
    owners = dict.fromkeys(type(owner).__name__ for _, owner, _ in idle)
    if idle:
        calls = [partial(switches.call_idle, owner, hook) for _, owner, hook in idle]
        predicted_us = seen.after_steps_us(calls) * seen.calls[idle[0][0]] / seen.steps
        advice = Advice(
            "hooks that do nothing",
            "Set them to None, then Lightning skips them: callback.on_before_backward = None, and so on",
            tuple(owners),
            predicted_us,
        )
        yield Piece(advice, lambda: switches.without_hooks([(owner, hook) for _, owner, hook in idle]))


def keep_the_key(seen: Seen) -> Iterator[Piece]:
    """A callback's state key that is built anew for each of its hooks."""
    for callback in seen.trainer.callbacks:
        name, prefix = type(callback).__name__, f"[Callback]{callback.state_key}."
        calls = sum(number for action, number in seen.calls.items() if action.startswith(prefix)) / seen.steps
        usual: Any = base_of(type(callback), "Callback")
        if calls and type(callback).state_key is not usual.state_key:
            says = f"A subclass whose state_key is a constant: it is built {calls:.3g} times a step"
            predicted_us = calls * seen.after_steps_us([partial(getattr, callback, "state_key")])
            yield Piece(Advice(f"{name}'s key", says, (name,), predicted_us), partial(switches.key_kept, callback))


def search_no_driver(seen: Seen) -> Iterator[Piece]:
    """A search for NVIDIA's driver on a machine without a GPU."""
    if os.environ.get(NVML_CHECK) == "1":
        advice = Advice(
            SEARCH,
            f"Importing Lightning sets {NVML_CHECK}; without a GPU, the optimizer then searches for a driver at each "
            f"step: del os.environ[{NVML_CHECK!r}] after the import",
            ("the script",),
            seen.part_us(SEARCH),
        )
        yield Piece(advice, partial(without_variable, NVML_CHECK))


def print_less(seen: Seen) -> Iterator[Piece]:
    """Calls of print within a step."""
    sites = seen.seams.prints.all()
    if sites:
        advice = Advice(
            "print",
            "Print less often: a printed tensor is fetched from its device and formatted",
            tuple(site.place for site in sites),
            seen.part_us(PRINT),
        )
        yield Piece(advice, switches.nothing_printed)


def fetch_less(seen: Seen) -> Iterator[Piece]:
    """Tensors that are fetched into Python within a step."""
    sites = seen.seams.fetches.all()
    if sites:
        value = torch.ones((), device=seen.trainer.strategy.root_device)
        calls = sum(site.calls for site in sites) / HEARD_STEPS
        advice = Advice(
            "item()",
            "Keep tensors as tensors: item(), tolist(), cpu() and numpy() wait for the device. At least this is saved; "
            "on a GPU the waiting comes on top",
            tuple(site.place for site in sites),
            calls * seen.after_steps_us([value.item]),
        )
        yield Piece(advice, None)


def load_in_workers(seen: Seen) -> Iterator[Piece]:
    """Batches that the training waits for."""
    wait_us, loader = seen.part_us(DATA), seen.trainer.train_dataloader
    workers = (os.cpu_count() or 2) - 1
    has_batches = getattr(loader, "batch_sampler", None) is not None
    if not has_batches or loader.num_workers >= workers or wait_us < LEAST_SHARE * seen.step_us:
        return
    found = switches.WithWorkers(loader, workers)
    saved_us = wait_us - found.more_us(seen.again, seen.times_again)
    advice = Advice(
        "waiting for data",
        f"DataLoader(num_workers={workers}, persistent_workers=True): it has {loader.num_workers} now",
        ("train_dataloader",),
        saved_us,
    )
    yield Piece(advice, lambda: found.feeding(seen.trainer), with_data=True)


def stop_less_often(seen: Seen) -> Iterator[Piece]:
    """Validation and checkpoints that take a large share of the training."""
    total_us = sum(part.taken_ns for part in seen.parts) / 1000
    checkpoint = seen.trainer.checkpoint_callback
    arguments = {VALIDATION: f"check_val_every_n_epoch={SAVED_EVERY}", CHECKPOINT: f"every_n_epochs={SAVED_EVERY}"}
    for name, argument in arguments.items():
        sum_us = sum(part.times_ns.get(name, 0) for part in seen.parts) / 1000
        if sum_us > LARGE_SHARE * total_us:
            says = f"Each {SAVED_EVERY}th time is enough: {argument}. It takes {sum_us / total_us:.0%} of the training"
            taken_us = seen.part_us(name) + (at_epoch_end_us(seen, checkpoint) if name == CHECKPOINT else 0)
            advice = Advice(name, says, (argument,), taken_us * share_left_out(SAVED_EVERY))
            # In turns of some steps it can only be measured if it happens in most steps.
            is_usual = name == CHECKPOINT and median(part.entered.get(name, 0) for part in seen.parts) >= 1
            yield Piece(advice, partial(switches.saved_less, checkpoint, SAVED_EVERY) if is_usual else None)


def at_epoch_end_us(seen: Seen, checkpoint: Any) -> float:
    """Returns what a checkpoint's callback does around saving."""
    return seen.part_us(f"{CALLBACK}{type(checkpoint).__name__}.on_train_epoch_end")


FINDERS: Sequence[Callable[[Seen], Iterator[Piece]]] = (
    log_less,
    log_less_for_the_epoch,
    measure_less,
    refresh_less,
    show_fewer,
    leave_hooks_out,
    keep_the_key,
    search_no_driver,
    print_less,
    fetch_less,
    load_in_workers,
    stop_less_often,
)
