"""After the profile: the Trainer as it is, a bare loop, and each piece of advice, in turns within one training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from statistics import mean, median
from time import perf_counter_ns
from typing import Any

from woof_lightning.errors import UserError
from woof_lightning.measure.statistics import Estimate, median_of
from woof_lightning.profile.advice import Piece, within
from woof_lightning.profile.bare import BareLoop
from woof_lightning.profile.device import drain_of
from woof_lightning.profile.record import TOGETHER, Advice

AS_IS, BARE = "as it is", "bare loop"
# A long turn takes about half a second, but not more steps and not fewer; a short one takes the fewest.
TURN_US, FEWEST_STEPS, MOST_STEPS = 5e5, 5, 25
# All turns of an arm together take about so long.
ROUNDS_US = 6e6


@dataclass(frozen=True)
class Arm:
    """One way to take steps.

    Args:
        name: Its name.
        opened: Opens a block in which the Trainer's steps are taken in this way.
        with_data: Whether waiting for data counts.
    """

    name: str
    opened: Callable[[], AbstractContextManager[Any]] = nullcontext
    with_data: bool = False


@dataclass
class Group:
    """Arms that take turns with each other.

    Args:
        arms: The arms.
        steps: The number of steps in a turn.
        left_out: How many of them are left out, since the one before used the caches.
        rounds: How many turns each arm takes.
        queued: Whether the device has a queue, so that only all steps of a turn together have a length.
        times_us: What a step took in each turn of an arm: without and with waiting for data.
    """

    arms: tuple[Arm, ...]
    steps: int
    left_out: int
    rounds: int
    queued: bool = False
    times_us: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def turns(self) -> Iterator[Arm]:
        """Yields the arms in their turns, back and forth, so that none is always the later one."""
        for number in range(self.rounds):
            yield from self.arms if number % 2 == 0 else reversed(self.arms)

    def note(self, arm: Arm, steps_us: Sequence[tuple[float, float]]) -> None:
        """Notes the steps of a turn."""
        average = mean if self.queued else median
        without, with_data = zip(*steps_us[0 if self.queued else self.left_out :], strict=True)
        self.times_us.setdefault(arm.name, []).append((average(without), average(with_data)))

    def of(self, name: str, *, with_data: bool = False) -> list[float]:
        """Returns what a step took in each turn of an arm."""
        return [turn[with_data] for turn in self.times_us.get(name, [])]

    def saved(self, name: str, *, with_data: bool = False) -> Estimate:
        """Returns what an arm has saved against the Trainer as it is, with an interval over the rounds."""
        pairs = zip(self.of(AS_IS, with_data=with_data), self.of(name, with_data=with_data), strict=False)
        return median_of([[before - after for before, after in pairs]])


class Turns:
    """Takes the Trainer's steps, after they have been profiled, in turns with other ways to take them.

    A bare loop and workers that load have turns of many steps, since each needs some to get going. Whatever can be
    switched has turns of few, which lie closer together.

    Args:
        bare: Whether a bare loop takes turns.
        prove: Whether each piece of advice is followed in turns.
        rounds: How many turns each has; by default as many as take some seconds.
    """

    def __init__(self, *, bare: bool, prove: bool, rounds: int | None = None) -> None:
        self._bare, self._prove, self._rounds = bare, prove, rounds
        self.problem: str | None = None
        self._groups: list[Group] = []
        self._loop: BareLoop | None = None
        self._block = ExitStack()
        self._is_over = False

    def begin(self, trainer: Any, pieces: Sequence[Piece], step_us: float) -> None:
        """Plans the turns: called between two steps, when the profile is complete.

        Args:
            trainer: The Trainer.
            pieces: The pieces of advice that are worth it.
            step_us: What a step takes.
        """
        self._trainer = trainer
        self._drain = drain_of(trainer.strategy.root_device)
        if self._bare:
            try:
                self._loop = BareLoop(trainer)
            except UserError as error:
                self.problem = str(error)
        self._groups = groups(pieces if self._prove else [], step_us, bare=self._loop is not None, rounds=self._rounds)
        for group in self._groups:
            group.queued = self._drain is not None
        self._plan = ((group, arm) for group in self._groups for arm in group.turns())
        self._next_turn()

    def _next_turn(self) -> None:
        self._block.close()
        self._in_turn = list[tuple[float, float]]()
        self._began_ns = 0
        for group, arm in self._plan:
            if arm.name == BARE and self._loop is not None:
                group.note(arm, self._loop.steps_us(group.steps))
            else:
                self._group, self._arm = group, arm
                self._block.enter_context(arm.opened())
                return
        self._is_over = True
        self._trainer.fit_loop.epoch_loop.max_steps = max(1, self._trainer.global_step)

    def before_batch(self) -> None:
        """Ends a step: called when the Trainer asks for a batch."""
        if self._is_over:
            return
        if self._drain is not None and (not self._began_ns or len(self._in_turn) + 1 == self._group.steps):
            self._drain()  # A turn ends when its work is done.
        now_ns = perf_counter_ns()
        if self._began_ns:
            self._in_turn.append(((now_ns - self._got_ns) / 1000, (now_ns - self._began_ns) / 1000))
        if len(self._in_turn) == self._group.steps:
            self._group.note(self._arm, self._in_turn)
            self._next_turn()
        self._began_ns = perf_counter_ns()

    def after_batch(self) -> None:
        """Notes that the Trainer has its batch."""
        self._got_ns = perf_counter_ns()

    def end(self) -> None:
        """Puts everything back: called when the training ends, also after an error."""
        self._block.close()

    def comparison(self) -> dict[str, dict[str, float]] | None:
        """Returns what a step takes in the Trainer and in a bare loop, and the difference, with intervals.

        Fetching a batch is a part of it, unless workers load: those of one arm would load in the turns of the other.
        """
        found = next((group for group in self._groups if group.of(AS_IS) and group.of(BARE)), None)
        if found is None:
            return None
        fetching = not getattr(self._trainer.train_dataloader, "num_workers", 0)
        named = {
            "trainer_us": median_of([found.of(AS_IS, with_data=fetching)]),
            "bare_us": median_of([found.of(BARE, with_data=fetching)]),
            "saving_us": found.saved(BARE, with_data=fetching),
        }
        return {name: as_dict(estimate) for name, estimate in named.items()}

    def proven(self, advice: Sequence[Advice]) -> list[Advice]:
        """Returns advice with what each piece has saved."""
        found = [self._with_saving(one) for one in advice]
        predicted_us = sum(one.predicted_us for one in found if one.saved_us is not None)
        together = self._with_saving(Advice(TOGETHER, "", (), predicted_us))
        return found if together.saved_us is None else [*found, together]

    def _with_saving(self, advice: Advice) -> Advice:
        for group in self._groups:
            for arm in group.arms:
                if arm.name == advice.name and group.of(arm.name) and group.of(AS_IS):
                    return replace(advice, saved_us=as_dict(group.saved(arm.name, with_data=arm.with_data)))
        return advice


def groups(pieces: Sequence[Piece], step_us: float, *, bare: bool, rounds: int | None) -> list[Group]:
    """Returns who takes turns with whom.

    Args:
        pieces: The advice to follow.
        step_us: What a step takes.
        bare: Whether a bare loop takes turns.
        rounds: How many turns each has; None for as many as take some seconds.
    """
    followed = [piece for piece in pieces if piece.followed is not None]
    loading = any(piece.with_data for piece in followed)
    arms = [Arm(piece.advice.name, piece.followed or nullcontext, piece.with_data) for piece in followed]
    all_of_them = [Arm(TOGETHER, lambda: together(followed), loading)] if len(followed) > 1 else []
    long = [*[Arm(BARE)] * bare, *(arm for arm in arms if arm.with_data), *all_of_them * loading]
    short = [*(arm for arm in arms if not arm.with_data), *all_of_them * (not loading)]
    steps = within(TURN_US / step_us, FEWEST_STEPS, MOST_STEPS)
    found = [
        Group((Arm(AS_IS), *long), steps, steps // 5, rounds or within(ROUNDS_US / (steps * step_us), 12, 40)),
        Group((Arm(AS_IS), *short), FEWEST_STEPS, 1, rounds or within(ROUNDS_US / (FEWEST_STEPS * step_us), 24, 120)),
    ]
    return [group for group in found if len(group.arms) > 1]


def together(pieces: Sequence[Piece]) -> ExitStack:
    """Follows several pieces of advice at once."""
    with ExitStack() as stack:
        for piece in pieces:
            if piece.followed is not None:
                stack.enter_context(piece.followed())
        return stack.pop_all()


def as_dict(estimate: Estimate) -> dict[str, float]:
    """Returns an estimate for profile.json."""
    return {name: value for name, value in asdict(estimate).items() if name != "machines"}
