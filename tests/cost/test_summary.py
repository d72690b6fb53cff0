"""Statistics of the cost page, on rows made so that a wrong one gives another number."""

from __future__ import annotations

from typing import Any

import pytest

from woof_lightning.cost.measured import Rows, over, ratio_of_costs, share_over
from woof_lightning.cost.rows import STEP, Row, rows_of
from woof_lightning.cost.summary import summary

BARE, FABRIC = ("bare", "off", STEP), ("fabric", "off", STEP)
FIT, LIGHTNING, REPORTING = ("woof_fit", "on", STEP), ("lightning", "on", STEP), ("bare", "on", STEP)


def rows(way: str, condition: str, values: dict[int, float], measure: str = STEP, machine: str = "here") -> list[Row]:
    return [
        row
        for repeat, value in values.items()
        for row in rows_of(way, condition, repeat, {measure: value}, machine=machine)
    ]


def in_order(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_a_difference_is_the_median_of_the_pairs_and_not_that_of_the_medians() -> None:
    """The pairs differ by 1, 20, 1; the medians by 20; the means by 7.3."""
    found = Rows(rows("bare", "off", in_order(1, 10, 100)) + rows("fabric", "off", in_order(2, 30, 101)))
    assert over(found, FABRIC, BARE).median == 1
    assert over(found, BARE, FABRIC).median == -1


def test_a_share_is_the_median_of_the_pairs_shares() -> None:
    """The pairs' shares are 100 %, 200 % and 1 %; that of the medians is 200 %."""
    found = Rows(rows("bare", "off", in_order(1, 10, 100)) + rows("fabric", "off", in_order(2, 30, 101)))
    assert share_over(found, FABRIC, BARE).median == pytest.approx(1.0)


def test_a_ratio_of_costs_is_that_of_median_differences() -> None:
    """Over their references: 2, 40, 9 and 10, 80, 90; medians 9 and 80. The pairs' ratios are 0.2, 0.5 and 0.1."""
    found = Rows(
        rows("bare", "off", in_order(1, 10, 100))
        + rows("bare", "on", in_order(2, 20, 200))
        + rows("woof_fit", "on", in_order(3, 50, 109))
        + rows("lightning", "on", in_order(12, 100, 290))
    )
    assert ratio_of_costs(found, (FIT, BARE), (LIGHTNING, REPORTING)).median == pytest.approx(9 / 80)


def test_repeats_pair_by_their_number() -> None:
    """Repeat 1 of bare is missing, and the rows come in another order."""
    found = Rows(
        rows("bare", "off", {2: 100.0, 0: 1.0, 3: 1000.0}) + rows("fabric", "off", {0: 2.0, 1: 77.0, 2: 103.0, 3: 1002})
    )
    assert found.paired(FABRIC, BARE) == [[[2.0, 103.0, 1002.0]], [[1.0, 100.0, 1000.0]]]
    assert over(found, FABRIC, BARE).repeats == 3
    assert over(found, FABRIC, BARE).median == 2


def test_repeats_pair_on_their_machine_and_machines_without_a_pair_do_not_count() -> None:
    found = Rows(
        rows("bare", "off", in_order(10, 20), machine="a")
        + rows("bare", "off", in_order(100, 200, 300), machine="b")
        + rows("bare", "off", in_order(1), machine="c")
        + rows("fabric", "off", in_order(107, 207, 307), machine="b")
        + rows("fabric", "off", in_order(11, 21), machine="a")
    )
    assert found.paired(FABRIC, BARE) == [[[11, 21], [107, 207, 307]], [[10, 20], [100, 200, 300]]]
    difference = over(found, FABRIC, BARE)
    # The mean of the machines, not of the repeats.
    assert (difference.median, difference.low, difference.high) == (4, 1, 7)
    assert (difference.repeats, difference.machines) == (5, 2)
    assert over(found.on("b"), FABRIC, BARE).median == 7


def told(*added: Row) -> dict[str, Any]:
    return summary(list(added), {"calls": []})


def test_only_measures_that_have_a_size_are_given_as_a_share() -> None:
    counts = rows("bare", "off", in_order(0, 0), "calls") + rows("fabric", "off", in_order(5, 5), "calls")
    sizes = [
        row
        for measure in (STEP, "peak_rss_mb", "peak_gpu_mb")
        for way, value in (("bare", 10), ("fabric", 15))
        for row in rows(way, "off", in_order(value, value), measure)
    ]
    by_measure = {e["measure"]: e["over"] for e in told(*counts, *sizes)["estimates"] if e["way"] == "fabric"}
    assert "share" not in by_measure["calls"]
    assert by_measure["calls"]["median"] == 5
    for measure in (STEP, "peak_rss_mb", "peak_gpu_mb"):
        assert by_measure[measure]["share"]["median"] == pytest.approx(0.5)


def test_disturbed_is_the_share_of_measurements_over_the_limit() -> None:
    shares = [0.0, 0.05, 0.051, 0.9, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]
    found = told(*rows("all", "fixed", in_order(*shares), "others_share"), *rows("bare", "off", in_order(1)))
    assert found["disturbed_share"] == pytest.approx(0.2)
    # What others do disturbs no count.
    counted = told(
        *rows("all", "fixed", in_order(0.0), "others_share"), *rows("bare", "step", in_order(0.9), "others_share")
    )
    assert counted["disturbed_share"] == 0


@pytest.mark.parametrize(("disturbed", "refused"), [(1, False), (2, True)])
def test_one_in_twenty_measurements_may_be_disturbed(disturbed: int, refused: bool) -> None:
    shares = [0.5] * disturbed + [0.0] * (20 - disturbed)
    found = told(*rows("all", "fixed", in_order(*shares), "others_share"))
    assert bool(found["refusals"]) == refused


@pytest.mark.parametrize(("repeats", "refused"), [(5, False), (6, True)])
def test_six_repeats_are_needed_to_tell_the_same_loop_apart(repeats: int, refused: bool) -> None:
    found = told(
        *rows("all", "fixed", in_order(0.0), "others_share"),
        *rows("bare", "off", in_order(*[100.0] * repeats)),
        *rows("bare_again", "off", in_order(*[103.0] * repeats)),
    )
    assert bool(found["refusals"]) == refused


def again(machine: str, differences: list[float]) -> list[Row]:
    bare = in_order(*[100.0] * len(differences))
    return [
        *rows("bare", "off", bare, machine=machine),
        *rows(
            "bare_again", "off", {at: 100.0 + difference for at, difference in enumerate(differences)}, machine=machine
        ),
    ]


def test_the_same_loop_is_told_apart_on_each_machine() -> None:
    free = rows("all", "fixed", in_order(0.0), "others_share")
    up, down = [1.0] * 10, [-1.0] * 10
    # Together the machines would not be told apart.
    reasons = told(*free, *again("one", up), *again("two", down))["refusals"]
    assert [("one" in reason, "two" in reason) for reason in reasons] == [(True, False), (False, True)]


def test_of_many_comparisons_one_in_twenty_may_not_refuse() -> None:
    """Differences that 95 % just tell apart, and the level of twenty comparisons does not."""
    free = rows("all", "fixed", in_order(0.0), "others_share")
    near = [1.0] * 9 + [-2.0]
    even = [1.0, -1.0] * 5
    assert told(*free, *again("one", near))["refusals"]
    many = [row for number in range(19) for row in again(f"m{number}", even)]
    assert not told(*free, *again("one", near), *many)["refusals"]


def test_a_bare_loop_that_searches_for_a_driver_is_not_published() -> None:
    free = rows("all", "fixed", in_order(0.0), "others_share")
    searching = rows("fabric", "on", in_order(1.0, 1.0), "driver_searches")
    none = rows("bare", "off", in_order(0.0, 0.0), "driver_searches")
    assert told(*free, *searching, *none)["refusals"] == []
    some = rows("bare", "on", in_order(0.0, 0.5), "driver_searches")
    (reason,) = told(*free, *searching, *none, *some)["refusals"]
    assert "searched for NVIDIA's driver (on)" in reason


@pytest.mark.parametrize(("dry_run", "refused"), [(True, True), (False, False)])
def test_a_dry_run_is_not_published(dry_run: bool, refused: bool) -> None:
    conditions = {"machines": {"one": {}, "two": {"dry_run": dry_run}}}
    found = summary(rows("all", "fixed", in_order(0.0), "others_share"), conditions)
    assert found["refusals"] == (["a dry run: the processor stood in for a CUDA device"] if refused else [])


def test_workers_of_a_block_start_with_one_environment() -> None:
    free = rows("all", "fixed", in_order(0.0), "others_share")

    def started(way: str, condition: str, *ids: float) -> list[Row]:
        return rows(way, condition, in_order(*ids), "environment_id")

    # Another shell may resume a measurement, in blocks of its own.
    even = [*started("bare", "off", 1, 2), *started("fabric", "on", 1, 2), *started("bare", "start", 3, 4)]
    assert told(*free, *even)["refusals"] == []
    (reason,) = told(*free, *even, *started("ignite", "on", 1, 9))["refusals"]
    assert reason == "workers started with different environment variables (fixed)"


@pytest.mark.parametrize(("repeats", "noted"), [(9, True), (10, False)])
def test_ten_repeats_are_published(repeats: int, noted: bool) -> None:
    found = told(
        *rows("bare", "off", in_order(*[1.0] * repeats)),
        *rows("bare", "on", in_order(*[1.0] * 20)),
        *rows("bare", "off", in_order(*[1.0] * 20), machine="another"),
    )
    few = [note for note in found["notes"] if note.startswith("fewer than 10 repeats")]
    assert few == ([f"fewer than 10 repeats on a machine: {repeats} of fixed cost"] if noted else [])


def test_a_way_is_compared_with_bare_in_its_condition() -> None:
    found = told(
        *rows("bare", "off", in_order(10)),
        *rows("bare", "on", in_order(13)),
        *rows("fabric", "on", in_order(17)),
        *rows("fabric", "off", in_order(12)),
        *rows("bare", "resnet18 64 px", in_order(1000)),
        *rows("fabric", "resnet18 64 px", in_order(1002)),
        *rows("fabric", "on", in_order(1), "driver_searches"),
        *rows("bare", "on", in_order(0), "driver_searches"),
    )
    overs = {(e["way"], e["condition"]): e["over"] for e in found["estimates"] if e["measure"] == STEP}
    assert {key: over and over["median"] for key, over in overs.items()} == {
        ("bare", "off"): None,
        # What the reports themselves cost.
        ("bare", "on"): 3,
        ("fabric", "on"): 4,
        ("fabric", "off"): 2,
        ("bare", "resnet18 64 px"): None,
        ("fabric", "resnet18 64 px"): 2,
    }
    assert [(limit["way"], limit["condition"], limit["step_ms"]) for limit in found["one_percent"]] == [
        ("fabric", "on", pytest.approx(0.4)),
        ("fabric", "off", pytest.approx(0.2)),
    ]
    assert [e["over"] for e in found["estimates"] if e["measure"] == "driver_searches"] == [None, None]


def test_each_machine_s_own_step_times_are_told() -> None:
    found = told(
        *(row for machine, extra in (("a", 1), ("b", 5)) for way, us in (("bare", 10), ("fabric", 10 + extra))
          for row in rows(way, "off", in_order(us), machine=machine))
    )  # fmt: skip
    assert {name: [e["over"] and e["over"]["median"] for e in own] for name, own in found["machines"].items()} == {
        "a": [None, 1],
        "b": [None, 5],
    }
    assert not any("one machine start" in note for note in found["notes"])
    assert any("one machine start" in note for note in told(*rows("bare", "off", in_order(1)))["notes"])
