"""Each moment belongs to the innermost span, and all of them sum to the wall time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from woof_lightning.profile import spans as module
from woof_lightning.profile.spans import Spans, TracedSpans

Pass = Callable[[int], None]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Pass:
    """Lets time pass. Reading the clock takes 1 ns, so keeping the stack takes 1 ns, too."""
    now_ns = 0

    def clock() -> int:
        nonlocal now_ns
        now_ns += 1
        return now_ns

    def wait(ns: int) -> None:
        nonlocal now_ns
        now_ns += ns - 1

    monkeypatch.setattr(module, "perf_counter_ns", clock)
    return wait


def test_exclusive_times_sum_to_the_wall_time(passes: Pass) -> None:
    spans = Spans("around")
    outer, inner = spans.bucket("outer"), spans.bucket("inner")
    passes(100)
    spans.push(outer)
    passes(20)
    spans.push(inner)
    passes(3)
    spans.pop(inner)
    passes(40)
    spans.pop(outer)
    passes(500)
    part = spans.cut()
    assert part.times_ns == {"around": 600, "outer": 60, "inner": 3}
    assert part.entered == {"outer": 1, "inner": 1}
    assert part.own_ns == 4
    assert part.wall_ns == sum(part.times_ns.values()) + part.own_ns


def test_a_cut_leaves_open_spans_open(passes: Pass) -> None:
    spans = Spans("around")
    outer = spans.bucket("outer")
    spans.push(outer)
    passes(10)
    assert spans.cut().times_ns["outer"] == 10
    passes(30)
    spans.pop(outer)
    passes(5)
    second = spans.cut()
    assert second.times_ns == {"outer": 30, "around": 5}
    assert second.entered == {}
    assert second.wall_ns == sum(second.times_ns.values()) + second.own_ns


def test_what_an_exception_left_open_is_closed(passes: Pass) -> None:
    spans = Spans("around")
    outer, left, other = (spans.bucket(name) for name in ("outer", "left", "other"))
    spans.push(outer)
    spans.push(left)
    passes(10)
    spans.pop(outer)
    passes(20)
    spans.pop(other)
    part = spans.cut()
    assert part.times_ns["left"] == 10
    assert part.times_ns["around"] >= 20
    assert "other" not in part.times_ns


def test_within_a_whole_span_nothing_is_told_apart(passes: Pass) -> None:
    spans = Spans("around", "whole")
    whole, inner = spans.bucket("whole"), spans.bucket("inner")
    spans.push(whole)
    passes(10)
    spans.push(inner)
    passes(20)
    spans.push(inner)
    passes(30)
    spans.pop(inner)
    spans.pop(inner)
    passes(40)
    spans.pop(whole)
    spans.push(inner)
    passes(7)
    spans.pop(inner)
    part = spans.cut()
    assert part.times_ns["whole"] == 100 - 4 + 1  # Four waits of a ns less each, and one reading of the clock.
    assert part.times_ns["inner"] == 7


def test_a_trace_has_the_beginning_and_the_end_of_each_span(passes: Pass) -> None:
    spans = TracedSpans("around")
    outer, inner = spans.bucket("outer"), spans.bucket("inner")
    spans.push(outer)
    passes(10)
    spans.push(inner)
    passes(5)
    spans.pop(outer)
    assert [name for name, _, _ in spans.events] == ["inner", "outer"]
    (_, inner_began, inner_ended), (_, outer_began, outer_ended) = spans.events
    assert outer_began < inner_began < inner_ended == outer_ended
    assert inner_began - outer_began == 12


def test_a_span_within_one_of_its_name_is_no_second_one(passes: Pass) -> None:
    spans = Spans("around")
    one = spans.bucket("one")
    spans.push(one)
    spans.push(one)
    passes(10)
    spans.pop(one)
    passes(20)
    spans.pop(one)
    passes(5)
    part = spans.cut()
    assert part.times_ns == {"around": 1 + 5, "one": 10 - 1 + 20}
    assert part.entered == {"one": 1}
    assert part.own_ns == 2


def test_the_lowest_span_is_never_closed(passes: Pass) -> None:
    spans = Spans("around")
    spans.pop(spans.bucket("around"))
    passes(10)
    assert spans.cut().times_ns.keys() == {"around"}


def test_what_the_profiler_did_is_in_no_part(passes: Pass) -> None:
    spans = Spans("around")
    one = spans.bucket("one")
    spans.push(one)
    passes(10)
    since_ns = spans.now_ns()
    passes(30)
    spans.own(since_ns)
    passes(20)
    spans.pop(one)
    part = spans.cut()
    assert part.times_ns["one"] == 10 + 20
    assert part.own_ns == 1 + 30 + 1
    assert part.wall_ns == sum(part.times_ns.values()) + part.own_ns
