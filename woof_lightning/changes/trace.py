"""Records what a training does, event by event: by PyTorch's hooks, and around its functions where it has none."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import nn
from torch.nn.modules.loss import _Loss
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.swa_utils import AveragedModel

ZERO, BACKWARD, STEP = "zero", "backward", "step"
# Forward passes of a net, by whether gradients are recorded and whether it is in training mode.
FORWARD = {
    (True, True): "forward",
    (False, False): "evaluate",
    (False, True): "forward without gradient",
    (True, False): "forward in eval mode",
}
# Functions around which an event is recorded: where they are, their name, the event.
AROUND = (
    (Optimizer, "zero_grad", ZERO),
    (nn.Module, "zero_grad", ZERO),
    (torch.autograd, "backward", BACKWARD),
    (torch.amp.GradScaler, "unscale_", "unscale"),
    (nn.utils, "clip_grad_norm_", "clip"),
    (nn.utils, "clip_grad_value_", "clip"),
    (AveragedModel, "update_parameters", "average"),
    (LRScheduler, "step", "schedule"),
)


class Trace:
    """The events of a training, in their order.

    Args:
        stepped: Called after each step of an optimizer, with the number of steps so far.
    """

    def __init__(self, stepped: Callable[[int], None] | None = None) -> None:
        self.events: list[str] = []
        self.steps = 0
        self._stepped = stepped
        self._depth = 0
        self._quiet = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Records the events within the block."""
        with ExitStack() as undo:
            hooks = (
                register_module_forward_pre_hook(self._forward_began),
                register_module_forward_hook(self._forward_ended, always_call=True),
                register_optimizer_step_post_hook(self._step_ended),
            )
            for hook in hooks:
                undo.callback(hook.remove)
            for place, name, event in AROUND:
                undo.callback(setattr, place, name, getattr(place, name))
                setattr(place, name, self._recorded(getattr(place, name), event))
            # A new scheduler steps once by itself.
            undo.callback(setattr, LRScheduler, "_initial_step", LRScheduler._initial_step)
            LRScheduler._initial_step = self._unrecorded(LRScheduler._initial_step)  # type: ignore[method-assign]
            yield

    def _forward_began(self, net: nn.Module, _: Any) -> None:
        if is_no_net(net):
            return
        if self._depth == 0:
            self.events.append(FORWARD[torch.is_grad_enabled(), net.training])
        self._depth += 1

    def _forward_ended(self, net: nn.Module, *_: Any) -> None:
        if not is_no_net(net):
            self._depth -= 1

    def _step_ended(self, *_: Any) -> None:
        self.steps += 1
        self.events.append(STEP)
        if self._stepped is not None:
            self._stepped(self.steps)

    def _recorded(self, function: Callable[..., Any], event: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def recorded(*arguments: Any, **options: Any) -> Any:
            if not self._quiet:
                self.events.append(event)
            return function(*arguments, **options)

        return recorded

    def _unrecorded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def unrecorded(*arguments: Any, **options: Any) -> Any:
            self._quiet = True
            try:
                return function(*arguments, **options)
            finally:
                self._quiet = False

        return unrecorded


def is_no_net(module: nn.Module) -> bool:
    """Returns whether a module is a loss, or only calls another one, as those of a framework or of DDP do."""
    return isinstance(module, (_Loss, DistributedDataParallel)) or any(
        cls.__module__.startswith("lightning.") for cls in type(module).__mro__
    )


def in_one_order(events: list[str]) -> list[str]:
    """Returns events with each `zero` just before the backward pass that follows it.

    Gradients may be emptied anywhere between a step and the next backward pass. One that no backward pass follows is
    left out, so is a second one, and so is one before the first backward pass: there are no gradients yet.

    Args:
        events: The events of a training.
    """
    ordered: list[str] = []
    emptied = False
    for event in events:
        if event == ZERO:
            emptied = True
            continue
        if event == BACKWARD:
            if emptied and BACKWARD in ordered:
                ordered.append(ZERO)
            emptied = False
        ordered.append(event)
    return ordered


def differences(events: list[str], reference: list[str]) -> list[str]:
    """Returns what is added to (+) or missing from (-) a reference, each kind once.

    Args:
        events: The events of a training.
        reference: Those of the training that it is compared with.
    """
    ours, theirs = in_one_order(events), in_one_order(reference)
    found: set[str] = set()
    for kind, ours_from, ours_to, theirs_from, theirs_to in SequenceMatcher(None, ours, theirs, False).get_opcodes():
        if kind != "equal":
            found |= {f"+{' '.join(ours[ours_from:ours_to])}", f"-{' '.join(theirs[theirs_from:theirs_to])}"}
    return sorted(found - {"+", "-"})
