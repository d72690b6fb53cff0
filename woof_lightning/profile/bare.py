"""The same module in a bare loop, in turns with the Trainer: what a step takes without Lightning around it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from time import perf_counter_ns
from typing import Any

import torch

from woof_lightning.errors import UserError
from woof_lightning.profile.device import drain_of
from woof_lightning.profile.hooks import lightning_module_of
from woof_lightning.profile.seams import NVML_CHECK, replaced, without_variable


class BareLoop:
    """Trains a copy of a module on the Trainer's batches, with the module's own optimizers, and logs nothing.

    Args:
        trainer: The Trainer, within `fit`.
        scheduled: Whether its schedules step. Some end with the training.

    Raises:
        UserError: If the Trainer does what no bare loop here does: several devices, a gradient scaler, several loaders.
    """

    def __init__(self, trainer: Any, *, scheduled: bool = True) -> None:
        problem = unlike_a_bare_loop(trainer)
        if problem is not None:
            raise UserError(problem)
        self._trainer = trainer
        self._module = copied(trainer)
        found = self._module.configure_optimizers()
        self._optimizers, schedules = optimizers_of(found)
        self._schedules = schedules if scheduled else []
        self._module.optimizers = lambda use_pl_optimizer=True: one_or_all(self._optimizers)
        self._module.lr_schedulers = lambda: one_or_all([schedule for schedule, _ in self._schedules]) or None
        self._module.manual_backward = lambda loss, *arguments, **options: loss.backward(*arguments, **options)
        self._arguments = len(inspect.signature(self._module.training_step).parameters)
        self._accumulated = trainer.accumulate_grad_batches
        # On a CPU a bare loop moves nothing, unless the module has a way of its own to do so.
        hook, usual = type(self._module).transfer_batch_to_device, lightning_module_of(type(self._module))
        on_cpu = trainer.strategy.root_device.type == "cpu"
        self._moves = not on_cpu or hook is not usual.transfer_batch_to_device  # type: ignore[attr-defined]
        self._drain = drain_of(trainer.strategy.root_device)
        self._batches = self._forever()
        self._step = 0

    def _forever(self) -> Iterator[Any]:
        while True:
            yield from self._trainer.train_dataloader

    def batch(self) -> Any:
        """Returns the next batch of the Trainer's loader."""
        return next(self._batches)

    def steps_us(self, count: int) -> list[tuple[float, float]]:
        """Takes steps and returns what each took without and with waiting for data, in us."""
        found = []
        with without_variable(NVML_CHECK):  # Lightning has set it. Without Lightning, nothing searches for a driver.
            for number in range(count):
                if self._drain is not None and number == 0:
                    self._drain()
                began_ns = perf_counter_ns()
                batch = next(self._batches)
                got_ns = perf_counter_ns()
                self.take(batch)
                if self._drain is not None and number == count - 1:  # The turn ends when its work is done.
                    self._drain()
                ended_ns = perf_counter_ns()
                found.append(((ended_ns - got_ns) / 1000, (ended_ns - began_ns) / 1000))
        return found

    def take(self, batch: Any) -> None:
        """Trains on a batch."""
        trainer, module = self._trainer, self._module
        if self._moves:
            batch = module.transfer_batch_to_device(batch, trainer.strategy.root_device, 0)
        with trainer.precision_plugin.forward_context():
            output = module.training_step(*(batch, self._step)[: self._arguments])
        self._step += 1
        if not module.automatic_optimization:
            return
        loss = output["loss"] if isinstance(output, dict) else output
        (loss if self._accumulated == 1 else loss / self._accumulated).backward()
        if self._step % self._accumulated:
            return
        if trainer.gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(module.parameters(), trainer.gradient_clip_val)
        self._optimizers[0].step()
        self._optimizers[0].zero_grad()
        for schedule, interval in self._schedules:
            if interval == "step":
                schedule.step()


def unlike_a_bare_loop(trainer: Any) -> str | None:
    """Returns why a bare loop cannot stand in for a Trainer; None if it can."""
    if trainer.world_size > 1:
        return f"the Trainer has {trainer.world_size} processes: expected one for a comparison with a bare loop"
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return f"precision is {trainer.precision}: a comparison with a bare loop takes no gradient scaler"
    if isinstance(trainer.train_dataloader, (list, tuple, dict)):
        return "several loaders of training batches: a comparison with a bare loop takes one"
    return None


def copied(trainer: Any) -> Any:
    """Returns a copy of the Trainer's module that is not attached to it, but for reading, and logs nothing.

    Raises:
        UserError: If it holds something that cannot be copied.
    """
    own: Any = torch.Tensor.__deepcopy__

    def copy_of(tensor: torch.Tensor, memo: Any) -> Any:
        return own(tensor, memo) if tensor.is_leaf else tensor.detach().clone()  # A metric may keep such a tensor.

    try:
        with replaced(torch.Tensor, "__deepcopy__", copy_of):
            module = copy.deepcopy(trainer.lightning_module)
    except Exception as error:  # Whatever somebody's module holds.
        raise UserError(f"its module cannot be copied ({type(error).__name__}: {error})") from error
    module.trainer = trainer
    module.log = module.log_dict = lambda *_, **__: None
    return module.train()


def optimizers_of(found: Any) -> tuple[list[Any], list[tuple[Any, str]]]:
    """Returns the optimizers and the schedules, with the interval of each, that configure_optimizers has returned."""
    if isinstance(found, dict):
        schedules = [found["lr_scheduler"]] if "lr_scheduler" in found else []
        return [found["optimizer"]], [with_interval(one) for one in schedules]
    if isinstance(found, (list, tuple)) and len(found) == 2 and isinstance(found[0], (list, tuple)):
        return list(found[0]), [with_interval(one) for one in found[1]]
    if isinstance(found, (list, tuple)):
        pairs = [optimizers_of(one) for one in found]
        return [one for optimizers, _ in pairs for one in optimizers], [one for _, own in pairs for one in own]
    return [found], []


def with_interval(schedule: Any) -> tuple[Any, str]:
    """Returns a schedule and its interval."""
    if isinstance(schedule, dict):
        return schedule["scheduler"], schedule.get("interval", "epoch")
    return schedule, "epoch"


def one_or_all(values: list[Any]) -> Any:
    """Returns the only value of a list, or the list."""
    return values[0] if len(values) == 1 else values
