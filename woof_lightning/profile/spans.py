"""A stack of named spans. Their exclusive times, with the time that keeping the stack takes, sum to the wall time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter_ns


@dataclass(eq=False, slots=True)
class Bucket:
    """Where the time of all spans of one name is added up.

    Args:
        name: The name.
        time_ns: The exclusive time since the last cut.
        entered: How often a span was opened since then.
    """

    name: str
    time_ns: int = 0
    entered: int = 0


@dataclass(frozen=True)
class Part:
    """What was spent between two cuts.

    Args:
        times_ns: The exclusive time in each bucket, by its name.
        entered: How often each was entered.
        own_ns: What keeping the stack took. It is in none of the buckets.
        start_ns: When it began.
        end_ns: When it ended.
    """

    times_ns: Mapping[str, int]
    entered: Mapping[str, int]
    own_ns: int
    start_ns: int
    end_ns: int

    @property
    def wall_ns(self) -> int:
        """The time from its beginning to its end."""
        return self.end_ns - self.start_ns

    @property
    def taken_ns(self) -> int:
        """The same, without what keeping the stack took."""
        return self.wall_ns - self.own_ns


class Spans:
    """Adds each moment to the bucket of the innermost span that is open.

    `push` and `pop` run fifty times in a training step, so they are written to be short, not to be pretty.

    Args:
        bottom: The name of what is around all spans.
        whole: The name of spans whose inner ones are not told apart.
    """

    def __init__(self, bottom: str, whole: str = "") -> None:
        self._buckets: dict[str, Bucket] = {}
        self._whole = self.bucket(whole)
        # The spans that are open, and where each one's time goes: the same, but within a whole one.
        self._open, self._charged = [self.bucket(bottom)], [self.bucket(bottom)]
        self._start_ns = self._last_ns = perf_counter_ns()
        self._own_ns = 0

    def bucket(self, name: str) -> Bucket:
        """Returns the bucket of a name."""
        return self._buckets.setdefault(name, Bucket(name))

    def push(self, bucket: Bucket) -> None:
        """Opens a span within the one that is open."""
        charged = self._charged[-1]
        if bucket is charged or charged is self._whole:  # The time goes where it went: no need to read the clock.
            self._open.append(bucket)
            self._charged.append(charged)
            return
        now_ns = perf_counter_ns()
        charged.time_ns += now_ns - self._last_ns
        bucket.entered += 1
        self._open.append(bucket)
        self._charged.append(bucket)
        self._last_ns = last_ns = perf_counter_ns()
        self._own_ns += last_ns - now_ns

    def pop(self, bucket: Bucket) -> None:
        """Closes the innermost span of a bucket and all within it, as after an exception; nothing if none is open."""
        if len(self._open) == 1:
            return
        if self._open[-1] is bucket and self._charged[-1] is self._charged[-2]:
            self._open.pop()
            self._charged.pop()
            return
        now_ns = perf_counter_ns()
        self._charged[-1].time_ns += now_ns - self._last_ns
        if self._open[-1] is not bucket:
            self._unwind(bucket)
        if self._open[-1] is bucket:
            self._open.pop()
            self._charged.pop()
        self._last_ns = last_ns = perf_counter_ns()
        self._own_ns += last_ns - now_ns

    def _unwind(self, bucket: Bucket) -> None:
        if bucket in self._open[1:]:
            while self._open[-1] is not bucket:
                self._open.pop()
                self._charged.pop()

    @property
    def is_whole(self) -> bool:
        """Whether the time goes to a span whose inner ones are not told apart."""
        return self._charged[-1] is self._whole

    @staticmethod
    def now_ns() -> int:
        """Returns the present moment, for `own`."""
        return perf_counter_ns()

    def own(self, since_ns: int) -> None:
        """Counts what was done since a moment as the profiler's own, not as the open span's.

        Args:
            since_ns: The moment; no span was opened or closed since.
        """
        taken_ns = perf_counter_ns() - since_ns
        self._own_ns += taken_ns
        self._last_ns += taken_ns

    def cut(self) -> Part:
        """Returns what was spent since the last cut; spans that are open stay open."""
        now_ns = perf_counter_ns()
        self._charged[-1].time_ns += now_ns - self._last_ns
        part = Part(
            {one.name: one.time_ns for one in self._buckets.values() if one.time_ns},
            {one.name: one.entered for one in self._buckets.values() if one.entered},
            self._own_ns,
            self._start_ns,
            now_ns,
        )
        for one in self._buckets.values():
            one.time_ns = one.entered = 0
        self._start_ns = now_ns
        self._last_ns = perf_counter_ns()
        self._own_ns = self._last_ns - now_ns
        return part


class TracedSpans(Spans):
    """Spans that also keeps the beginning and the end of each, which takes memory."""

    def __init__(self, bottom: str, whole: str = "") -> None:
        super().__init__(bottom, whole)
        self._began_ns: list[int] = []
        self.events: list[tuple[str, int, int]] = []

    def push(self, bucket: Bucket) -> None:
        """Opens a span within the one that is open."""
        super().push(bucket)
        self._began_ns.append(perf_counter_ns())

    def pop(self, bucket: Bucket) -> None:
        """Closes the innermost span of a bucket and all within it."""
        before = self._open[:]
        ended_ns = perf_counter_ns()
        super().pop(bucket)
        for closed in reversed(before[len(self._open) :]):
            self.events.append((closed.name, self._began_ns.pop(), ended_ns))
