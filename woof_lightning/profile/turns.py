"""After the profile: the Trainer as it is, a bare loop, and each piece of advice, in turns within one training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from statistics import median
from time import perf_counter_ns
from typing import Any

from woof_lightning.errors import UserError
from woof_lightning.measure.statistics import Estimate, median_of
from woof_lightning.profile.advice import Piece
from woof_lightning.profile.bare import BareLoop
from woof_lightning.profile.record import TOGETHER, Advice

AS_IS, BARE = "as it is", "bare loop"
# A turn takes about a second, but not more steps and not fewer. The first fifth of it is left out.
TURN_US, MOST_STEPS, FEWEST_STEPS = 1e6, 25, 5
ROUNDS = 12


@dataclass(frozen=True)
class Arm:
    """What takes turns with the Trainer as it is.

    Args:
        name: Its name.
        opened: Opens a block in which the Trainer's steps are taken in this way.
        with_data: Whether waiting for data counts.
    """

    name: str
    opened: Callable[[], AbstractContextManager[Any]] = nullcontext
    with_data: bool = False


class Turns:
    """Takes the Trainer's steps, after they have been profiled, in turns with other ways to take them.

    Args:
        bare: Whether a bare loop takes turns.
        prove: Whether each piece of advice is followed in turns.
        rounds: How many turns each has.
    """

    def __init__(self, *, bare: bool, prove: bool, rounds: int = ROUNDS) -> None:
        self._bare, self._prove, self._rounds = bare, prove, rounds
        self.problem: str | None = None
        self._times_us: dict[str, list[float]] = {}
        self._loop: BareLoop | None = None
        self._block = ExitStack()

    def begin(self, trainer: Any, pieces: Sequence[Piece], step_us: float) -> None:
        """Plans the turns: called between two steps, when the profile is complete.

        Args:
            trainer: The Trainer.
            pieces: The pieces of advice that are worth it.
            step_us: What a step takes.
        """
        self._trainer = trainer
        followed = [piece for piece in pieces if piece.followed is not None] if self._prove else []
        arms = [Arm(piece.advice.name, piece.followed or nullcontext, piece.with_data) for piece in followed]
        if len(arms) > 1:
            arms.append(Arm(TOGETHER, lambda: together(followed), any(piece.with_data for piece in followed)))
        if self._bare:
            try:
                self._loop = BareLoop(trainer)
            except UserError as error:
                self.problem = str(error)
        own = [Arm(AS_IS), *arms]
        self._arms = own if arms or self._loop is not None else []
        self._steps = min(MOST_STEPS, max(FEWEST_STEPS, round(TURN_US / step_us)))
        self._turn = -1
        self._next_turn()

    @property
    def _arm(self) -> Arm:
        return self._arms[self._turn % len(self._arms)]

    @property
    def is_over(self) -> bool:
        """Whether every turn was taken."""
        return self._turn >= self._rounds * len(self._arms)

    def _next_turn(self) -> None:
        self._block.close()
        self._turn += 1
        self._in_turn = list[tuple[float, float]]()
        self._began_ns = 0
        if self.is_over:
            self._trainer.fit_loop.epoch_loop.max_steps = max(1, self._trainer.global_step)
            return
        if self._arm.name == AS_IS and self._loop is not None:
            self._note(BARE, self._loop.steps_us(self._steps))
        self._block.enter_context(self._arm.opened())

    def before_batch(self) -> None:
        """Ends a step: called when the Trainer asks for a batch."""
        now_ns = perf_counter_ns()
        if self.is_over:
            return
        if self._began_ns:
            self._in_turn.append(((now_ns - self._got_ns) / 1000, (now_ns - self._began_ns) / 1000))
        if len(self._in_turn) == self._steps:
            without_wait, with_wait = zip(*self._in_turn, strict=True)
            self._note(self._arm.name, with_wait if self._arm.with_data else without_wait)
            if self._arm.name == AS_IS:
                self._note(with_data(AS_IS), with_wait)
            self._next_turn()
        self._began_ns = perf_counter_ns()

    def after_batch(self) -> None:
        """Notes that the Trainer has its batch."""
        self._got_ns = perf_counter_ns()

    def _note(self, name: str, times_us: Sequence[float]) -> None:
        self._times_us.setdefault(name, []).append(median(times_us[len(times_us) // 5 :]))

    def end(self) -> None:
        """Puts everything back: called when the training ends, also after an error."""
        self._block.close()

    def comparison(self) -> dict[str, dict[str, float]] | None:
        """Returns what a step takes in the Trainer and in a bare loop, and the difference, with intervals."""
        ours, theirs = self._times_us.get(AS_IS, []), self._times_us.get(BARE, [])
        if not ours or not theirs:
            return None
        named = {"trainer_us": median_of([ours]), "bare_us": median_of([theirs]), "saving_us": saved(ours, theirs)}
        return {name: as_dict(estimate) for name, estimate in named.items()}

    def proven(self, advice: Sequence[Advice]) -> list[Advice]:
        """Returns advice with what each piece has saved."""
        found = [self._with_saving(one) for one in advice]
        if TOGETHER in self._times_us:
            switched = [one for one in found if one.saved_us is not None]
            found.append(self._with_saving(Advice(TOGETHER, "", (), sum(one.predicted_us for one in switched))))
        return found

    def _with_saving(self, advice: Advice) -> Advice:
        arm = next((arm for arm in getattr(self, "_arms", []) if arm.name == advice.name), None)
        times_us = self._times_us.get(advice.name)
        if arm is None or not times_us:
            return advice
        as_is = self._times_us[with_data(AS_IS) if arm.with_data else AS_IS]
        return replace(advice, saved_us=as_dict(saved(as_is, times_us)))


def together(pieces: Sequence[Piece]) -> ExitStack:
    """Follows several pieces of advice at once."""
    with ExitStack() as stack:
        for piece in pieces:
            if piece.followed is not None:
                stack.enter_context(piece.followed())
        return stack.pop_all()


def with_data(name: str) -> str:
    """Returns the name under which the times with waiting for data stand."""
    return f"{name}, with waiting for data"


def saved(before_us: Sequence[float], after_us: Sequence[float]) -> Estimate:
    """Returns the difference of turns that were taken in the same round, with its interval."""
    return median_of([[before - after for before, after in zip(before_us, after_us, strict=False)]])


def as_dict(estimate: Estimate) -> dict[str, float]:
    """Returns an estimate for profile.json."""
    return {name: value for name, value in asdict(estimate).items() if name != "machines"}
