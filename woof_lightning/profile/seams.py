"""Opens spans where Lightning does not name an action to its profiler: around functions, while a training lasts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from woof_lightning.profile.buckets import (
    BACKWARD,
    COLLECTED,
    FORWARD,
    LOG,
    LOGGER,
    METRIC,
    OPTIMIZER,
    VALIDATION,
    ZERO_GRAD,
)
from woof_lightning.profile.spans import Spans

# What Lightning does with logged values, in each step. The names are private; one that is not there is left out.
COLLECTING = (
    *("on_batch_start", "on_batch_end", "update_train_step_metrics", "update_train_epoch_metrics"),
    *("on_epoch_start", "on_epoch_end", "log_metrics"),
)


class Seams:
    """The places that are measured, each put back by `undo`.

    Args:
        spans: Where the spans are opened.
        trainer: A Trainer in whose `fit` the training begins.
        at_the_end: Called when the Trainer is torn down, also after an error, of which it does not tell its profiler.
    """

    def __init__(self, spans: Spans, trainer: Any, at_the_end: Callable[[], None]) -> None:
        self._spans = spans
        self._undo = ExitStack()
        self._before(trainer, "_teardown", at_the_end)
        module = trainer.lightning_module
        base = lightning_module_of(type(module))
        for name in ("log", "log_dict"):
            self._around(base, name, LOG)
        self._around(torch.autograd, "backward", BACKWARD)
        self._around(Optimizer, "zero_grad", ZERO_GRAD)
        for name in COLLECTING:
            self._around(trainer._logger_connector, name, COLLECTED)
        for logger in trainer.loggers:
            self._around(logger, "log_metrics", f"{LOGGER}{type(logger).__name__}")
        self._around(trainer.fit_loop.epoch_loop.val_loop, "run", VALIDATION)
        self._optimizer_steps()
        for name, part in outermost(module):
            self._module(name, part)

    def undo(self) -> None:
        """Takes everything away again."""
        self._undo.close()

    def _around(self, place: Any, name: str, bucket: str) -> None:
        if not callable(getattr(place, name, None)):
            return
        if name in vars(place):
            self._undo.callback(setattr, place, name, vars(place)[name])
        else:
            self._undo.callback(delattr, place, name)
        setattr(place, name, self._spanned(getattr(place, name), bucket))

    def _before(self, place: Any, name: str, function: Callable[[], None]) -> None:
        after = getattr(place, name)

        def both(*arguments: Any, **options: Any) -> Any:
            function()
            return after(*arguments, **options)

        setattr(place, name, both)
        self._undo.callback(delattr, place, name)

    def _spanned(self, function: Callable[..., Any], bucket: str) -> Callable[..., Any]:
        push, pop, span = self._spans.push, self._spans.pop, self._spans.bucket(bucket)

        @functools.wraps(function)
        def spanned(*arguments: Any, **options: Any) -> Any:
            push(span)
            try:
                return function(*arguments, **options)
            finally:
                pop(span)

        return spanned

    def _optimizer_steps(self) -> None:
        began, ended = hooks(self._spans, OPTIMIZER)
        self._undo.callback(register_optimizer_step_pre_hook(began).remove)
        self._undo.callback(register_optimizer_step_post_hook(ended).remove)

    def _module(self, name: str, module: nn.Module) -> None:
        bucket = f"{METRIC}{name}" if is_metric(module) else FORWARD
        began, ended = hooks(self._spans, bucket)
        self._undo.callback(module.register_forward_pre_hook(began).remove)
        self._undo.callback(module.register_forward_hook(ended, always_call=True).remove)
        if is_metric(module):
            for method in ("update", "compute"):
                self._around(module, method, bucket)


def hooks(spans: Spans, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """Returns a hook that opens a span and one that closes it.

    They are functions and no methods: a callback that copies the module would copy the profiler with its methods.

    Args:
        spans: Where.
        name: The name of the span.
    """
    push, pop, bucket = spans.push, spans.pop, spans.bucket(name)

    def began(*_: Any) -> None:
        push(bucket)

    def ended(*_: Any) -> None:
        pop(bucket)

    return began, ended


def lightning_module_of(cls: type) -> type:
    """Returns the LightningModule among the ancestors of a class, of whichever of Lightning's two packages."""
    return next(one for one in cls.__mro__ if one.__name__ == "LightningModule" and "lightning" in one.__module__)


def is_metric(module: nn.Module) -> bool:
    """Returns whether a module is a metric of torchmetrics."""
    return any(one.__module__.startswith("torchmetrics.") for one in type(module).__mro__)


def outermost(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields the modules that a training step calls: children, and those of lists and dicts, with their names."""
    for name, child in module.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)) and not is_metric(child):
            yield from ((f"{name}.{inner}", part) for inner, part in outermost(child))
        else:
            yield name, child
