"""Follows advice for some steps of a training, and puts everything back; and times what cannot be seen as a part."""

from __future__ import annotations

import builtins
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from statistics import median
from typing import Any

from torch.utils.data import DataLoader

from woof_lightning.profile.hooks import lightning_module_of
from woof_lightning.profile.seams import replaced


@contextmanager
def logged_less(
    trainer: Any, is_meant: Callable[[Mapping[str, Any]], bool], is_time: Callable[[], bool]
) -> Iterator[None]:
    """Leaves calls of self.log out.

    Args:
        trainer: The Trainer.
        is_meant: Whether calls with some options are left out. Calls with options by position are not.
        is_time: Whether it is a step at which they are not left out.
    """
    base = lightning_module_of(type(trainer.lightning_module))

    def less(log: Callable[..., None]) -> Callable[..., None]:
        def logged(module: Any, *arguments: Any, **options: Any) -> None:
            if len(arguments) > 2 or not is_meant(options) or is_time():
                log(module, *arguments, **options)

        return logged

    with ExitStack() as stack:
        for name in ("log", "log_dict"):
            stack.enter_context(replaced(base, name, less(getattr(base, name))))
        yield


@contextmanager
def measured_less(metrics: Sequence[tuple[Any, int]]) -> Iterator[None]:
    """Computes the values of metrics at each n-th call only, and updates them at the others.

    Args:
        metrics: The metrics, each with its n; 0 for no value at all.
    """

    def less(metric: Any, every: int) -> Callable[..., Any]:
        forward, numbers, last = metric.forward, itertools.count(1), None

        def measured(*arguments: Any, **options: Any) -> Any:
            nonlocal last
            if last is None or (every and next(numbers) % every == 0):
                last = forward(*arguments, **options)
            else:
                metric.update(*arguments, **options)
                metric._forward_cache = last  # As if the value were logged again.
            return last

        return measured

    with ExitStack() as stack:
        for metric, every in metrics:
            stack.enter_context(replaced(metric, "forward", less(metric, every)))
        yield


def saved_less(callback: Any, times: int) -> AbstractContextManager[None]:
    """Lets a ModelCheckpoint save after each n-th epoch only."""
    return replaced(callback, "_every_n_epochs", times)


@contextmanager
def without_hooks(hooks: Sequence[tuple[Any, str]]) -> Iterator[None]:
    """Sets hooks of callbacks or modules to None, which Lightning skips."""
    with ExitStack() as stack:
        for owner, name in hooks:
            stack.enter_context(replaced(owner, name, None))
        yield


@contextmanager
def key_kept(callback: Any) -> Iterator[None]:
    """Makes a callback's state key a constant."""
    cls = type(callback)
    callback.__class__ = type(cls.__name__, (cls,), {"state_key": callback.state_key, "__module__": cls.__module__})
    try:
        yield
    finally:
        callback.__class__ = cls


@contextmanager
def nothing_printed() -> Iterator[None]:
    """Lets print do nothing."""
    with replaced(builtins, "print", lambda *_, **__: None):
        yield


def call_idle(owner: Any, hook: str) -> None:
    """Does what Lightning does to call a hook that does nothing: name the action, tell its profiler, call it."""
    function = getattr(owner, hook)
    if callable(function):
        key = owner.state_key if hasattr(owner, "state_key") else type(owner).__name__
        with PROFILER.profile(f"[Callback]{key}.{hook}"):
            function(*(None,) * (function.__code__.co_argcount - 1))


class PassedThrough:
    """What Lightning's own profiler does if none is asked for."""

    @contextmanager
    def profile(self, action_name: str) -> Iterator[str]:
        """Does nothing around an action."""
        try:
            self.start(action_name)
            yield action_name
        finally:
            self.stop(action_name)

    def start(self, action_name: str) -> None:
        """Does nothing."""

    def stop(self, action_name: str) -> None:
        """Does nothing."""


PROFILER = PassedThrough()


class WithWorkers:
    """A Trainer's loader with worker processes.

    Args:
        loader: The loader.
        workers: Their number.
    """

    def __init__(self, loader: Any, workers: int) -> None:
        self._loader = DataLoader(
            loader.dataset,
            batch_sampler=loader.batch_sampler,
            num_workers=workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
            persistent_workers=True,
        )
        self._batches = self._forever()

    def _forever(self) -> Iterator[Any]:
        while True:
            yield from self._loader

    def more_us(self, compute: Callable[[], None], times: int) -> float:
        """Returns by how much longer computing takes if a batch is fetched before it, while the workers load.

        Args:
            compute: Computes for a step.
            times: How often.
        """
        alone_us = self._steps_us(compute, lambda: None, times)
        return self._steps_us(compute, lambda: next(self._batches), times) - alone_us

    def _steps_us(self, compute: Callable[[], None], fetch: Callable[[], Any], times: int) -> float:
        times_us = []
        for _ in range(times):
            began = time.perf_counter()
            fetch()
            compute()
            times_us.append(1e6 * (time.perf_counter() - began))
        return float(median(times_us))

    @contextmanager
    def feeding(self, trainer: Any) -> Iterator[None]:
        """Lets the Trainer's steps take the batches of the workers."""
        fetcher = trainer.fit_loop._data_fetcher
        own, batches = fetcher.iterator, self._batches

        class Fed:
            def __iter__(self) -> Any:
                return self

            def __next__(self) -> Any:
                return next(batches), fetcher.fetched, 0

        fetcher.iterator = Fed()
        try:
            yield
        finally:
            if isinstance(fetcher.iterator, Fed):  # A new epoch brings an iterator of its own.
                fetcher.iterator = own
