"""A spin in a part of a step shows in that part of the profile and in no other."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from docs.results.profile.spins import PLACES, SPINS_US, profiled, slopes
from woof_lightning.profile import spans
from woof_lightning.profile.spans import Part

ROWS = Path(__file__).parents[2] / "docs" / "results" / "profile"


class Clock:
    """A clock that only spins move, so that no other process can."""

    def __init__(self) -> None:
        self._now_ns = 0

    def now_ns(self) -> int:
        return self._now_ns

    def spin_for(self, spin_us: int) -> None:
        self._now_ns += 1000 * spin_us


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], float]:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "perf_counter_ns", clock.now_ns)
        return slopes(profiled(1, clock.spin_for))


@pytest.mark.parametrize("place", PLACES)
def test_a_spin_is_seen_where_it_is_and_nowhere_else(place: str, found: dict[tuple[str, str], float]) -> None:
    seen = {part: round(slope, 9) for (own, part), slope in found.items() if own == place and abs(slope) > 1e-9}
    assert seen == {PLACES[place]: 1}


def test_slopes_are_those_of_the_medians() -> None:
    steps = []
    for place in PLACES:
        for spin_us in SPINS_US:
            for noise_us in (0, 0, 500):
                times_ns = {"a": 1000 * (7 + 2 * spin_us + noise_us), "b": 9000}
                steps.append((place, spin_us, Part(times_ns, {}, 0, 0, 1)))
    found = slopes(steps)
    assert {round(found[place, "a"], 6) for place in PLACES} == {2.0}
    assert all(abs(found[place, "b"]) < 1e-6 for place in PLACES)


@pytest.mark.parametrize("file", sorted(ROWS.glob("*/spins.csv")), ids=lambda file: file.parent.name)
def test_the_published_slopes_are_close_to_one(file: Path) -> None:
    with file.open(newline="", encoding="utf-8") as rows:
        published = {(row["place"], row["part"]): float(row["slope"]) for row in csv.DictReader(rows)}
    assert {place for place, _ in published} == set(PLACES)
    for place, part in PLACES.items():
        assert published[place, part] == pytest.approx(1, abs=0.05)
