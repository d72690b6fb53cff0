"""Removes the cost of callback hooks that do nothing."""

from __future__ import annotations

from typing import TypeVar

from lightning.pytorch import Callback

AnyCallback = TypeVar("AnyCallback", bound=type[Callback])
STEP_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)


def without_idle_step_hooks(callback: AnyCallback) -> AnyCallback:
    """Sets the per-step hooks that a callback class does not override to None, and returns the class; a decorator.

    Lightning 2.6 calls six hooks of every callback at each step, each within its profiler, whether they do something or
    not. It skips those that are not callable (`_call_callback_hooks` in lightning/pytorch/trainer/call.py).

    Args:
        callback: The callback class. Its subclasses must not call a removed hook with super().
    """
    for name in STEP_HOOKS:
        if getattr(callback, name) is getattr(Callback, name):
            setattr(callback, name, None)
    return callback
