"""Opens spans where Lightning does not name an action to its profiler: around functions, while a training lasts."""

from __future__ import annotations

import builtins
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from woof_lightning.profile.buckets import (
    BACKWARD,
    BAR_VALUES,
    COLLECTED,
    FORWARD,
    LOG,
    LOGGER,
    METRIC,
    OPTIMIZER,
    PRINT,
    SEARCH,
    VALIDATION,
    ZERO_GRAD,
)
from woof_lightning.profile.device import waits_noted
from woof_lightning.profile.hooks import lightning_module_of
from woof_lightning.profile.sites import Sites, is_library
from woof_lightning.profile.spans import Spans

# What Lightning does with logged values, in each step. The names are private; one that is not there is left out.
COLLECTING = (
    *("on_batch_start", "on_batch_end", "update_train_step_metrics", "update_train_epoch_metrics"),
    *("on_epoch_start", "on_epoch_end", "log_metrics"),
)

NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"
# What waits for a tensor's device, and in which steps it is listened for.
FETCHES = frozenset({"item", "tolist", "cpu", "numpy"})
HEARD_FROM, HEARD_STEPS = 5, 3


class Seams:
    """The places that are measured, each put back by `undo`.

    Args:
        spans: Where the spans are opened.
        trainer: A Trainer in whose `fit` the training begins.
    """

    def __init__(self, spans: Spans, trainer: Any) -> None:
        self._spans = spans
        self._undo = ExitStack()
        module = trainer.lightning_module
        base = lightning_module_of(type(module))
        self.logs, self.prints, self.metrics = Sites(), Sites(), dict[str, Sites]()
        self.fetches, self.waits, self.losses = Sites(), Sites(), set[str]()
        self._listening, self._on_cuda = ExitStack(), trainer.strategy.root_device.type == "cuda"
        for name in ("log", "log_dict"):
            self._at_sites(base, name, LOG, self.logs)
        self._at_sites(builtins, "print", PRINT, self.prints)
        if os.environ.get(NVML_CHECK) == "1":  # AdamW asks at each step, which searches the disk where there is none.
            self._around(torch.cuda, "is_available", SEARCH)
        self._around(torch.autograd, "backward", BACKWARD)
        self._around(Optimizer, "zero_grad", ZERO_GRAD)
        for name in COLLECTING:
            self._around(trainer._logger_connector, name, COLLECTED)
        for logger in trainer.loggers:
            self._around(logger, "log_metrics", f"{LOGGER}{type(logger).__name__}")
        if trainer.progress_bar_callback is not None:
            self._around(trainer.progress_bar_callback, "get_metrics", BAR_VALUES)
        self._around(trainer.fit_loop.epoch_loop.val_loop, "run", VALIDATION)
        self._optimizer_steps()
        for name, part in outermost(module):
            self._module(name, part)

    def undo(self) -> None:
        """Takes everything away again."""
        self._undo.close()

    def _around(self, place: Any, name: str, bucket: str) -> None:
        if callable(getattr(place, name, None)):
            self._replace(place, name, self._spanned(getattr(place, name), bucket))

    def _at_sites(self, place: Any, name: str, bucket: str, sites: Sites) -> None:
        self._replace(place, name, self._noted(getattr(place, name), bucket, sites))

    def _replace(self, place: Any, name: str, value: Any) -> None:
        self._undo.enter_context(replaced(place, name, value))

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

    def _noted(self, function: Callable[..., Any], bucket: str, sites: Sites) -> Callable[..., Any]:
        spans, span = self._spans, self._spans.bucket(bucket)
        signature = None if function is print else inspect.signature(function)

        @functools.wraps(function)
        def noted(*arguments: Any, **options: Any) -> Any:
            if spans.is_whole:
                return function(*arguments, **options)
            spans.push(span)
            since_ns = spans.now_ns()
            site = sites.at(sys._getframe(1))
            site.calls += 1
            if signature is not None and not site.options:
                site.options = dict(signature.bind(*arguments, **options).arguments)
            before_ns = span.time_ns
            spans.own(since_ns)
            try:
                return function(*arguments, **options)
            finally:
                spans.pop(span)
                site.time_ns += span.time_ns - before_ns

        return noted

    def hear(self, step: int) -> None:
        """Listens for tensors that are fetched into Python, for a few of the first steps, which are left out anyway.

        On a GPU it listens for whatever waits for it, too.

        Args:
            step: The number of the step that begins.
        """
        if step == HEARD_FROM:
            self._undo.callback(self._listening.close)
            if self._on_cuda:
                self._listening.enter_context(waits_noted(self.waits))
            if sys.getprofile() is None:
                sys.setprofile(self._heard)
                self._listening.callback(self._hear_no_more)
        elif step == HEARD_FROM + HEARD_STEPS:
            self._listening.close()

    def _hear_no_more(self) -> None:
        if sys.getprofile() == self._heard:
            sys.setprofile(None)

    def _heard(self, frame: FrameType, event: str, called: Any) -> None:
        is_fetch = event == "c_call" and called.__name__ in FETCHES and isinstance(called.__self__, torch.Tensor)
        if is_fetch and not is_library(frame) and not self._spans.is_whole:
            self.fetches.at(frame).calls += 1

    def _optimizer_steps(self) -> None:
        began, ended = hooks(self._spans, OPTIMIZER)
        self._undo.callback(register_optimizer_step_pre_hook(began).remove)
        self._undo.callback(register_optimizer_step_post_hook(ended).remove)

    def _module(self, name: str, module: nn.Module) -> None:
        bucket, sites = FORWARD, None
        if is_metric(module):
            bucket, sites = f"{METRIC}{name}", self.metrics.setdefault(name, Sites())
        began, ended = hooks(self._spans, bucket, sites)
        self._undo.callback(module.register_forward_pre_hook(began).remove)
        self._undo.callback(module.register_forward_hook(ended, always_call=True).remove)
        if sites is not None:
            self._undo.callback(module.register_forward_hook(LossHook(self.losses, name)).remove)
            for method in ("update", "compute"):
                self._around(module, method, f"{bucket}, {method}")


@contextmanager
def without_variable(name: str) -> Iterator[None]:
    """Takes a variable out of the environment within the block, if it is there."""
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


def before(after: Callable[..., Any], function: Callable[[], None]) -> Callable[..., Any]:
    """Returns a function that calls one function and then another.

    Args:
        after: The one that comes second. It gets the arguments.
        function: The one that comes first.
    """

    def both(*arguments: Any, **options: Any) -> Any:
        function()
        return after(*arguments, **options)

    return both


@contextmanager
def replaced(place: Any, name: str, value: Any) -> Iterator[None]:
    """Gives an attribute another value within the block; what was inherited is inherited again after it.

    Args:
        place: An object, a class or a module.
        name: The attribute.
        value: The value.
    """
    own = vars(place).get(name, replaced)
    setattr(place, name, value)
    try:
        yield
    finally:
        if own is replaced:
            delattr(place, name)
        else:
            setattr(place, name, own)


class Hook:
    """A hook of a module or an optimizer, which does nothing in a copy of it: in a checkpoint, or in averaged weights.

    Args:
        function: What it does.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function

    def __call__(self, *_: Any) -> None:
        """Does it."""
        self.function()

    def __reduce__(self) -> Any:
        # Takes any arguments and returns None. Whoever reads the checkpoint need not have this package.
        return getattr, (nullcontext(), "__exit__")


def hooks(spans: Spans, name: str, sites: Sites | None = None) -> tuple[Hook, Hook]:
    """Returns a hook that opens a span and one that closes it.

    Args:
        spans: Where.
        name: The name of the span.
        sites: Notes the lines from which it is opened.
    """
    push, pop, bucket = spans.push, spans.pop, spans.bucket(name)

    def began() -> None:
        push(bucket)
        if sites is not None and not spans.is_whole:
            since_ns = spans.now_ns()
            sites.at(sys._getframe(2)).calls += 1
            spans.own(since_ns)

    def ended() -> None:
        pop(bucket)

    return Hook(began), Hook(ended)


class LossHook(Hook):
    """A hook of a metric that notes its name if its output is differentiated: it is the loss, or a part of it.

    Args:
        names: Where the name is noted.
        name: The metric's name.
    """

    __slots__ = ("name", "names")

    def __init__(self, names: set[str], name: str) -> None:
        self.names, self.name = names, name

    def __call__(self, module: Any, arguments: Any, output: Any) -> None:
        """Notes the name."""
        values = output.values() if isinstance(output, dict) else [output]
        if any(isinstance(value, torch.Tensor) and value.requires_grad for value in values):
            self.names.add(self.name)


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
