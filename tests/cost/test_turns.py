"""The order of the ways, and whose time is whose, with workers that only note what is asked of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from woof_lightning.cost import turns
from woof_lightning.cost.job import Job
from woof_lightning.cost.plan import Case
from woof_lightning.cost.rows import Row
from woof_lightning.cost.turns import batched, count_together, measure_alone, measure_in_turns, pinned
from woof_lightning.errors import UserError
from woof_lightning.measure.busy import CPUTimes

WAYS = ("a", "b", "c", "d", "e")
SLICES = 12


class Machine:
    """A machine whose time passes when a worker works: 2 s of its processor, and 0.5 s of others'.

    Attributes:
        events: What happened: the start, turn or end of each worker.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock_s = self.busy_s = self.own_s = 0.0
        self.events: list[tuple[str, str]] = []
        self.working: str | None = None
        monkeypatch.setattr(turns, "worker_of", lambda case, **options: FakeWorker(self, case, **options))
        monkeypatch.setattr(turns, "cpu_times", lambda: CPUTimes(self.clock_s, self.busy_s, 0.0))
        monkeypatch.setattr("os.times", lambda: (self.own_s, 0.0, 0.0, 0.0, 0.0))
        monkeypatch.setattr("woof_lightning.cost.turns.time.perf_counter", lambda: self.clock_s)

    def passes(self, worked_s: float) -> None:
        # This process itself takes 0.25 s meanwhile.
        self.clock_s += 5.0
        self.own_s += 0.25
        self.busy_s += worked_s + 0.5 + 0.25

    def rounds(self) -> list[tuple[str, ...]]:
        """The order of the workers in each round of turns, without the starts and the ends."""
        order = [name for event, name in self.events if event == "turn"]
        return [tuple(order[at : at + len(WAYS)]) for at in range(0, SLICES * len(WAYS), len(WAYS))]


class FakeWorker:
    def __init__(self, machine: Machine, case: Case, *, python: Any = None, in_turns: bool = False) -> None:
        self.machine, self.name, self.python, self.in_turns = machine, case.way, python, in_turns
        self.process_s = 0.0
        machine.events.append(("start", self.name))

    def wait_for_turn(self) -> None:
        assert self.in_turns
        self.machine.working = None

    def give_turn(self) -> None:
        if self.machine.events.count(("turn", self.name)) == SLICES:
            self.machine.events.append(("let go", self.name))
            return
        assert self.machine.working is None, "two workers work at once"
        self.machine.events.append(("turn", self.name))
        self.machine.working = self.name
        self.process_s += 2.0
        self.machine.passes(2.0)

    def used_s(self) -> float:
        return self.process_s

    def finish(self) -> tuple[dict[str, float], float]:
        self.machine.events.append(("end", self.name))
        if not self.in_turns:
            self.machine.passes(2.0)
        self.machine.working = None
        return {"step_us": float(WAYS.index(self.name))}, 2.0

    def kill(self) -> None:
        self.machine.events.append(("kill", self.name))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def cases() -> list[Case]:
    return [Case(way, "off", Job(way=way, slices=SLICES)) for way in WAYS]


def in_turns(repeat: int) -> list[Row]:
    return measure_in_turns(cases(), "fixed", repeat, lambda _: None)


def of_all(rows: list[Row], measure: str) -> float:
    (found,) = [row.value for row in rows if (row.way, row.measure) == ("all", measure)]
    return found


def test_each_round_gives_every_way_a_turn_in_an_order_of_its_own(machine: Machine) -> None:
    in_turns(0)
    rounds = machine.rounds()
    assert len(machine.events) == len(WAYS) * (SLICES + 3)
    assert all(sorted(order) == sorted(WAYS) for order in rounds)
    # 12 orders of 120 that are drawn anew are hardly ever alike, and nobody is always before another one.
    assert len(set(rounds)) > SLICES // 2
    assert 0 < sum(order.index("a") < order.index("b") for order in rounds) < SLICES


def test_the_order_depends_on_the_repeat_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for repeat in (0, 1, 0):
        machine = Machine(monkeypatch)
        in_turns(repeat)
        seen.append(machine.events)
    assert seen[0] == seen[2] != seen[1]
    starts = [[name for event, name in events if event == "start"] for events in seen]
    assert starts[0] != starts[1]


@pytest.mark.usefixtures("machine")
def test_each_value_is_its_way_s() -> None:
    told: list[str] = []
    rows = measure_in_turns(cases(), "fixed", 3, told.append)
    assert {(row.way, row.condition, row.repeat, row.value) for row in rows if row.measure == "step_us"} == {
        (way, "off", 3, float(place)) for place, way in enumerate(WAYS)
    }
    assert {(row.condition, row.repeat) for row in rows if row.way == "all"} == {("fixed", 3)}
    assert sorted(line.split()[0] for line in told) == sorted(WAYS)


@pytest.mark.usefixtures("machine")
def test_the_time_of_the_workers_and_one_s_own_is_not_others() -> None:
    """Each of 60 turns takes 5 s, 2.75 s of which are the measurement's and 0.5 s others'."""
    rows = in_turns(0)
    assert of_all(rows, "others_share") == pytest.approx(0.1)
    assert of_all(rows, "block_s") == pytest.approx(5 * SLICES * len(WAYS))


def test_as_many_workers_start_at_once_as_there_are_cores(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    waiting: list[int] = []
    wait = FakeWorker.wait_for_turn

    def noted(self: FakeWorker) -> None:
        waiting.append(sum(event == "start" for event, _ in machine.events))
        wait(self)

    monkeypatch.setattr(FakeWorker, "wait_for_turn", noted)
    two_threads = [replace(case, job=replace(case.job, threads=2)) for case in cases()]
    measure_in_turns(two_threads, "fixed", 0, lambda _: None)
    assert waiting[: len(WAYS)] == [2, 2, 4, 4, 5]


def test_a_failure_ends_every_worker_that_was_started(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: FakeWorker) -> None:
        if self.name == "c":
            raise RuntimeError("c has failed")

    monkeypatch.setattr(FakeWorker, "wait_for_turn", fails)
    with pytest.raises(RuntimeError, match="c has failed"):
        in_turns(0)
    started, killed = ([name for event, name in machine.events if event == what] for what in ("start", "kill"))
    assert started == killed
    assert "c" in killed


def test_one_by_one_each_has_the_machine_to_itself(machine: Machine) -> None:
    rows = measure_alone(cases(), 0, lambda _: None)
    assert [event for event, _ in machine.events] == ["start", "end"] * len(WAYS)
    assert {row.way: row.value for row in rows if row.measure == "step_us"} == {
        way: float(place) for place, way in enumerate(WAYS)
    }
    assert [row.value for row in rows if row.measure == "others_share"] == pytest.approx([0.1] * len(WAYS))


def test_what_is_counted_runs_as_many_at_once_as_there_are_cores(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    rows = count_together(cases(), lambda _: None)
    assert [event for event, _ in machine.events] == ["start"] * 3 + ["end"] * 3 + ["start"] * 2 + ["end"] * 2
    assert {(row.way, row.repeat, row.value) for row in rows} == {(way, 0, place) for place, way in enumerate(WAYS)}


def test_one_by_one_the_order_is_the_repeat_s(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = []
    for repeat in (0, 1, 0):
        machine = Machine(monkeypatch)
        measure_alone(cases(), repeat, lambda _: None)
        orders.append([name for event, name in machine.events if event == "start"])
    assert orders[0] == orders[2] != orders[1]


def test_a_way_gets_the_interpreter_of_its_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def worker_of(case: Case, *, python: Path | None = None) -> FakeWorker:
        given[case.way] = python
        return FakeWorker(machine, case)

    monkeypatch.setattr(turns, "worker_of", worker_of)
    measure_alone(cases()[:2], 0, lambda _: None, {"b": Path("its/python")})
    assert given == {"a": None, "b": Path("its/python")}


def test_parts_hold_every_case_once_in_order() -> None:
    parts = batched(cases(), 2)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert [case for part in parts for case in part] == cases()


def test_each_thread_has_a_core_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5, 1, 3}, raising=False)
    assert {(case.job.threads, case.job.cores) for case in pinned(cases(), 2)} == {(2, (3, 5))}
    assert {case.job.cores for case in pinned(cases(), 3)} == {(1, 3, 5)}
    with pytest.raises(UserError, match="--threads is 4: expected at most 3"):
        pinned(cases(), 4)
    monkeypatch.delattr("os.sched_getaffinity")
    assert {(case.job.threads, case.job.cores) for case in pinned(cases(), 8)} == {(8, ())}
