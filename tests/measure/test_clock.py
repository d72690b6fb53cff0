"""The clock of all measurements, with a time that the test sets."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from woof_lightning.measure.clock import StepClock, ticking


class Time:
    """A clock that shows what the test adds up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 5.0
        monkeypatch.setattr("woof_lightning.measure.clock.time.perf_counter", lambda: self.now_s)

    def passes(self, elapsed_s: float) -> None:
        self.now_s += elapsed_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def train(clock: StepClock, time: Time, steps_s: list[float]) -> None:
    for step_s in steps_s:
        time.passes(step_s)
        clock()


def test_only_the_steps_of_the_slices_are_timed(time: Time) -> None:
    """Two steps to warm up, then twice one step that leads in and three timed ones; each wait takes an hour."""
    clock = StepClock(warmup=2, steps=3, slices=2, lead=1, turn=lambda: time.passes(3600))
    assert clock.total_steps == 10
    train(clock, time, [100, 100, 100, 1, 2, 3, 100, 4, 5, 7, 100, 100])
    assert clock.step_us == pytest.approx((1 + 2 + 3 + 4 + 5 + 7) / 6 * 1e6)


def test_without_a_lead_a_slice_begins_after_the_wait(time: Time) -> None:
    clock = StepClock(warmup=1, steps=2, slices=3, turn=lambda: time.passes(3600))
    train(clock, time, [100, 1, 2, 3, 4, 5, 6, 100])
    assert clock.step_us == pytest.approx(3.5e6)


def test_a_turn_comes_before_each_slice_and_after_the_last(time: Time) -> None:
    waited: list[int] = []
    clock = StepClock(warmup=2, steps=3, slices=2, lead=1, turn=lambda: waited.append(clock.count))
    train(clock, time, [1.0] * 14)
    assert waited == [2, 6, 10]


def test_what_opens_and_closes_a_measurement_is_not_timed(time: Time) -> None:
    called: list[tuple[str, int]] = []

    def note(name: str) -> None:
        called.append((name, clock.count))
        time.passes(1000)

    clock = StepClock(
        warmup=1, steps=2, slices=2, lead=1,
        turn=lambda: note("turn"), at_start=lambda: note("start"), at_end=lambda: note("end"),
    )  # fmt: skip
    train(clock, time, [100, 100, 1, 2, 100, 3, 4, 100])
    assert called == [("turn", 1), ("start", 2), ("turn", 4), ("end", 7), ("turn", 7)]
    assert clock.step_us == pytest.approx(2.5e6)


@pytest.mark.parametrize("steps", [0, 3, 6])
def test_a_training_that_ends_too_early_is_no_measurement(steps: int, time: Time) -> None:
    clock = StepClock(warmup=2, steps=3, slices=2)
    train(clock, time, [1.0] * steps)
    with pytest.raises(RuntimeError, match=f"ended after {steps} steps"):
        _ = clock.step_us


def test_it_ticks_with_every_optimizer_within_the_block_alone() -> None:
    one, two = (torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1) for _ in range(2))
    one.step()
    with ticking(StepClock(warmup=2, steps=5)) as clock:
        one.step()
        two.step()
    one.step()
    assert clock.count == 2


def test_a_gpu_s_clock_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        made: ClassVar[list[Event]] = []

        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.made.append(self)
            self.recorded = self.waited_for = False

        def record(self) -> None:
            self.recorded = True

        def synchronize(self) -> None:
            self.waited_for = True

        def elapsed_time(self, end: Event) -> float:
            assert self.recorded
            assert end.waited_for
            return 6.0 * (self.made.index(end) - self.made.index(self))

    monkeypatch.setattr("torch.cuda.Event", Event)
    clock = StepClock(warmup=1, steps=3, cuda=True)
    for _ in range(4):
        clock()
    assert clock.step_us == pytest.approx(2000)
