"""The same module in a bare loop, in turns with the Trainer: what a step takes without Lightning around it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_high
from typing import Any

import torch

from woof_lightning.errors import UserError
from woof_lightning.measure.statistics import Estimate, median_of
from woof_lightning.profile.buckets import DATA
from woof_lightning.profile.seams import Seams
from woof_lightning.profile.spans import Part, Spans

# So many steps of the Trainer, then as many of the bare loop. The first ones of a turn are left out.
TURN_STEPS, LEFT_OUT = 25, 5


@dataclass(frozen=True)
class Counterfactual:
    """What a step takes in the Trainer and in a bare loop, both without waiting for data.

    Args:
        trainer_us: In the Trainer.
        bare_us: In the bare loop.
        saving_us: The difference, of the medians of neighbouring turns.
    """

    trainer_us: Estimate
    bare_us: Estimate
    saving_us: Estimate

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Returns it for profile.json."""
        told = {"trainer_us": self.trainer_us, "bare_us": self.bare_us, "saving_us": self.saving_us}
        return {
            name: {"median": one.median, "low": one.low, "high": one.high, "repeats": one.repeats}
            for name, one in told.items()
        }

    def text(self) -> str:
        """Returns it in a sentence."""
        saving, step = self.saving_us, self.trainer_us.median
        if saving.low <= 0:
            return (
                f"a bare loop takes {self.bare_us.median / 1000:.3g} ms where the Trainer takes {step / 1000:.3g} ms: "
                f"not told apart (difference {saving.low:.0f} to {saving.high:.0f} us, {saving.repeats} turns)"
            )
        return (
            f"Lightning costs {saving.median:.0f} us ({saving.low:.0f} to {saving.high:.0f}, {saving.repeats} turns) "
            f"of a step of {step / 1000:.3g} ms: {saving.median / step:.0%}; a bare loop takes "
            f"{self.bare_us.median / 1000:.3g} ms"
        )


class BareLoop:
    """Trains a copy of a module on the Trainer's batches, with the module's own optimizers, and logs nothing.

    Args:
        trainer: The Trainer, within `fit`.
        spans: The spans of its profiler, which also tell what they take themselves.

    Raises:
        UserError: If the Trainer does what no bare loop here does: several devices, a gradient scaler, several loaders.
    """

    def __init__(self, trainer: Any, spans: Spans) -> None:
        problem = unlike_a_bare_loop(trainer)
        if problem is not None:
            raise UserError(problem)
        self._trainer, self._spans = trainer, spans
        self._module = copied(trainer)
        found = self._module.configure_optimizers()
        self._optimizers, self._schedules = optimizers_of(found)
        self._module.optimizers = lambda use_pl_optimizer=True: one_or_all(self._optimizers)
        self._module.lr_schedulers = lambda: one_or_all([schedule for schedule, _ in self._schedules]) or None
        self._module.manual_backward = lambda loss, *arguments, **options: loss.backward(*arguments, **options)
        self._batches = self._forever()
        self._step = 0

    def _forever(self) -> Iterator[Any]:
        while True:
            yield from self._trainer.train_dataloader

    def steps_us(self, count: int) -> list[float]:
        """Takes steps and returns what each took without waiting for data, in us."""
        found = []
        for _ in range(count):
            batch = next(self._batches)
            self._spans.cut()
            self._take(batch)
            found.append(step_us(self._spans.cut()))
        return found

    def _take(self, batch: Any) -> None:
        trainer, module = self._trainer, self._module
        batch = module.transfer_batch_to_device(batch, trainer.strategy.root_device, 0)
        with trainer.precision_plugin.forward_context():
            output = module.training_step(batch, self._step)
        self._step += 1
        if not module.automatic_optimization:
            return
        loss = output["loss"] if isinstance(output, dict) else output
        (loss / trainer.accumulate_grad_batches).backward()
        if self._step % trainer.accumulate_grad_batches:
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
    """Returns a copy of the Trainer's module that is not attached to it, but for reading, and logs nothing."""
    module = copy.deepcopy(trainer.lightning_module)
    module.trainer = trainer
    for part in module.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if hook.__module__ == Seams.__module__]:
                del hooks[key]
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


class Turns:
    """Lets a bare loop take its turns between the steps of a Trainer."""

    def __init__(self) -> None:
        self._loop: BareLoop | None = None
        self._since = 0
        self.pairs_us: list[tuple[float, float]] = []
        self.problem: str | None = None

    def between_steps(self, trainer: Any, spans: Spans, steps: Sequence[Part]) -> None:
        """Takes a turn, if it is time: called between two steps.

        Args:
            trainer: The Trainer.
            spans: The spans of its profiler.
            steps: The Trainer's steps so far.
        """
        if self.problem or len(steps) - self._since < TURN_STEPS:
            return
        if self._loop is None:
            try:
                self._loop = BareLoop(trainer, spans)
            except UserError as error:
                self.problem = str(error)
                return
            self._loop.steps_us(LEFT_OUT)
        ours = [step_us(part) for part in steps[self._since + LEFT_OUT :]]
        bare = self._loop.steps_us(TURN_STEPS)[LEFT_OUT:]
        self.pairs_us.append((median_high(ours), median_high(bare)))
        self._since = len(steps)

    def result(self) -> Counterfactual | None:
        """Returns the comparison; None if there was no whole turn."""
        if not self.pairs_us:
            return None
        trainer, bare = ([pair[place] for pair in self.pairs_us] for place in (0, 1))
        savings = [ours - theirs for ours, theirs in self.pairs_us]
        return Counterfactual(median_of([trainer]), median_of([bare]), median_of([savings]))


def step_us(part: Part) -> float:
    """Returns what a step took, without waiting for data and without the profiler, in us."""
    taken_ns: int = part.wall_ns - part.own_ns - part.times_ns.get(DATA, 0)
    return taken_ns / 1000
