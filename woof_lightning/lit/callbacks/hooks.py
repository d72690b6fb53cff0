"""Callbacks that cost nothing at the steps where they do nothing."""

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
    """Takes from a class of callbacks those hooks of a step that do nothing in it; a decorator.

    At each step Lightning calls six hooks of every callback, each with its profiler around it (trainer/call.py,
    _call_callback_hooks). What is not callable it passes over.
    """
    for name in STEP_HOOKS:
        if getattr(callback, name) is getattr(Callback, name):
            setattr(callback, name, None)
    return callback
