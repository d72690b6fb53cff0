"""What the rows of `woof cost` say: medians with intervals, differences, bounds; becomes summary.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from woof_lightning.cost.features import FEATURES, SIDES
from woof_lightning.cost.plan import AGAIN, IN_A_STEP, OFF, ON, REAL_CONDITIONS, START, WATERFALL
from woof_lightning.cost.rows import ALL, Row
from woof_lightning.loops.ways import REFERENCE, WOOF_FIT
from woof_lightning.measure.busy import MOST_DISTURBED_SHARE, MOST_OTHERS_SHARE
from woof_lightning.measure.statistics import NOT_TOLD_APART, Estimate, bootstrapped, median_of

# Written down before the first published run.
MOST_OVER_BAREBONES = 1.4
MOST_OVER_LIGHTNING = 1 / 5
MOST_AT_REAL_WORK = 0.01
FEWEST_REPEATS = 10
# Of five repeats or fewer the interval is their range, and a pair of equal loops differs in all of three too often.
FEWEST_TO_TELL = 6
STEP = "step_us"
# The documented way, and what it was called in rows that were measured before it became a loop of its own.
LIGHTNING_NAMES = ("lightning", "lightning_usual")
# What a full run measures, by the conditions that show it.
NEEDED = {
    "fixed cost": (OFF, ON),
    "real work": tuple(REAL_CONDITIONS),
    "the waterfall": (WATERFALL,),
    "start-up": (START,),
}
# Measures whose differences are also told as a share of the reference.
SHARED = (STEP, "peak_rss_mb", "peak_gpu_mb")


@dataclass(frozen=True)
class Bound:
    """A promise, and what was measured.

    Args:
        promise: What was to be reached.
        value: The estimate.
        limit: Its limit.
    """

    promise: str
    value: Estimate
    limit: float

    @property
    def verdict(self) -> str:
        """Whether the interval lies below the limit, above it, or on both sides."""
        if self.value.high <= self.limit:
            return "met"
        return "missed" if self.value.low > self.limit else "open"


class Rows:
    """Measured values, found by way, condition and measure.

    Args:
        rows: All of them.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.values: dict[tuple[str, str, str], dict[int, float]] = {}
        self.units = {row.measure: row.unit for row in rows}
        for row in rows:
            self.values.setdefault((row.way, row.condition, row.measure), {})[row.repeat] = row.value

    def __contains__(self, key: tuple[str, str, str]) -> bool:
        return key in self.values

    def others_shares(self) -> list[float]:
        """What others used while something was timed; counts are not disturbed by others."""
        keys = (key for key in self.values if key[1] != IN_A_STEP and key[2] == "others_share")
        return [share for key in keys for share in self.values[key].values()]

    def paired(self, *keys: tuple[str, str, str]) -> list[list[float]]:
        """The values of several keys in those repeats that all of them have."""
        shared = sorted(set.intersection(*(set(self.values[key]) for key in keys)))
        return [[self.values[key][repeat] for repeat in shared] for key in keys]


def summary(rows: Sequence[Row], conditions: dict[str, Any]) -> dict[str, Any]:
    """Everything that is derived from the rows.

    Args:
        rows: The rows.
        conditions: Where and how they were measured.

    Returns:
        conditions; refusals (why the figures may not be published; empty when they may); notes; disturbed_share;
        estimates (one for each way, condition and measure); bounds; one_percent (the step time above which an
        way costs less than 1 %).
    """
    found = Rows(rows)
    shares = found.others_shares()
    disturbed = sum(share > MOST_OTHERS_SHARE for share in shares) / len(shares) if shares else None
    estimates = [estimate_of(found, key) for key in found.values]
    return {
        "conditions": conditions,
        "refusals": refusals(found, disturbed),
        "notes": notes(found),
        "disturbed_share": disturbed,
        "estimates": estimates,
        "bounds": [asdict(bound) | {"verdict": bound.verdict} for bound in bounds(found)],
        "one_percent": one_percent(estimates),
    }


def refusals(found: Rows, disturbed: float | None) -> list[str]:
    """Why the figures may not be published."""
    told = []
    if disturbed is None:
        told.append("whether the machine was free is not known: this system has no /proc/stat")
    elif disturbed > MOST_DISTURBED_SHARE:
        told.append(
            f"the machine was busy: in {disturbed:.0%} of the measurements others used more than "
            f"{MOST_OTHERS_SHARE:.0%} of a core (others_share, from /proc/stat); at most {MOST_DISTURBED_SHARE:.0%} may"
        )
    for condition in (OFF, *REAL_CONDITIONS):
        if (AGAIN, condition, STEP) not in found:
            continue
        again = over(found, (AGAIN, condition, STEP), (REFERENCE, condition, STEP))
        if again.repeats >= FEWEST_TO_TELL and again.verdict != NOT_TOLD_APART:
            told.append(
                f"the same loop measured twice ({condition}) came out as {again.verdict} "
                f"({again.median:.3g} us, {again.low:.3g} to {again.high:.3g})"
            )
    return told


def notes(found: Rows) -> list[str]:
    """What a reader of the figures should know."""
    repeats = [len(values) for (_, _, measure), values in found.values.items() if measure == STEP]
    told = []
    if repeats and min(repeats) < FEWEST_REPEATS:
        told.append(f"{min(repeats)} repeats: at least {FEWEST_REPEATS} are published")
    if repeats and min(repeats) < FEWEST_TO_TELL:
        told.append(f"with fewer than {FEWEST_TO_TELL} repeats an interval is their range")
    measured = {condition for _, condition, _ in found.values}
    told += [f"{what} was not measured" for what, names in NEEDED.items() if not measured & set(names)]
    if not any(measure == "peak_gpu_mb" for _, _, measure in found.values):
        told.append("nothing was measured on a GPU")
    return told


def estimate_of(found: Rows, key: tuple[str, str, str]) -> dict[str, Any]:
    """The median of a measure, and its difference from the reference where there is one."""
    way, condition, measure = key
    values = list(found.values[key].values())
    reference = reference_of(found, key)
    return {
        "way": way,
        "condition": condition,
        "measure": measure,
        "unit": found.units[measure],
        **asdict(median_of(values)),
        "over": None if reference is None else compared(found, key, reference),
    }


def reference_of(found: Rows, key: tuple[str, str, str]) -> tuple[str, str, str] | None:
    """What a value is compared with: `bare`, always without logs; in the waterfall the feature before."""
    way, condition, measure = key
    if way == ALL:  # What is known of a block as a whole is compared with nothing.
        return None
    if condition == WATERFALL:
        side, _, feature = way.partition(":")
        place = list(FEATURES).index(feature)
        reference = (f"{side}:{list(FEATURES)[place - 1]}" if place else f"{SIDES[1]}:{feature}", condition, measure)
    else:
        reference = (REFERENCE, OFF if condition == ON else condition, measure)
    return reference if reference in found and reference != key else None


def compared(found: Rows, key: tuple[str, str, str], reference: tuple[str, str, str]) -> dict[str, Any]:
    """The difference from a reference, absolute and as a share of it."""
    difference = over(found, key, reference)
    told = {"way": reference[0], "condition": reference[1], **asdict(difference), "verdict": difference.verdict}
    # Counts may be 0, of which nothing is a share.
    return told | ({"share": asdict(share_over(found, key, reference))} if key[2] in SHARED else {})


def over(found: Rows, key: tuple[str, str, str], reference: tuple[str, str, str]) -> Estimate:
    """The median of the differences, repeat by repeat."""
    ours, theirs = found.paired(key, reference)
    return median_of([one - other for one, other in zip(ours, theirs, strict=True)])


def share_over(found: Rows, key: tuple[str, str, str], reference: tuple[str, str, str]) -> Estimate:
    """The median of the differences as shares of the reference, repeat by repeat."""
    ours, theirs = found.paired(key, reference)
    return median_of([one / other - 1 for one, other in zip(ours, theirs, strict=True)])


def ratio_of_costs(found: Rows, ours: tuple[str, str], theirs: tuple[str, str]) -> Estimate:
    """What an way costs over `bare`, as a ratio to what another does: the ratio of the median differences.

    Args:
        found: The rows.
        ours: MeasuredWay and condition.
        theirs: MeasuredWay and condition.
    """
    return bootstrapped(
        lambda chosen: np.median(chosen[0] - chosen[2], -1) / np.median(chosen[1] - chosen[2], -1),
        *found.paired((*ours, STEP), (*theirs, STEP), (REFERENCE, OFF, STEP)),
    )


def bounds(found: Rows) -> list[Bound]:
    """What the Lightning way was to reach, with what it does."""
    ours = (WOOF_FIT, ON)
    ratios = {
        ("lightning_barebones", OFF): (
            "woof_fit costs at most 1.4 times what lightning_barebones does",
            MOST_OVER_BAREBONES,
        ),
        ("lightning_barebones_no_search", OFF): (
            "the same, with the search for a driver taken out of lightning_barebones too",
            MOST_OVER_BAREBONES,
        ),
        **{
            (lightning, ON): (f"woof_fit costs at most a fifth of {lightning}", MOST_OVER_LIGHTNING)
            for lightning in LIGHTNING_NAMES
        },
    }
    reached = [
        Bound(promise, ratio_of_costs(found, ours, theirs), limit)
        for theirs, (promise, limit) in ratios.items()
        if (*ours, STEP) in found and (*theirs, STEP) in found
    ]
    condition = list(REAL_CONDITIONS)[-1]
    key, reference = (WOOF_FIT, condition, STEP), (REFERENCE, condition, STEP)
    if key in found and reference in found:
        promise = f"woof_fit over bare on {condition}: under 1 %, or not told apart"
        reached.append(RealBound(promise, share_over(found, key, reference), MOST_AT_REAL_WORK))
    return reached


class RealBound(Bound):
    """A bound on a difference that may be too small to be told."""

    @property
    def verdict(self) -> str:
        """As any bound's; where its interval holds the limit and 0 too, the two are not told apart."""
        verdict = super().verdict
        return self.value.verdict if verdict == "open" and self.value.verdict == NOT_TOLD_APART else verdict


def one_percent(estimates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each way the step time in ms above which its fixed cost is less than 1 %."""
    limits = []
    for estimate in estimates:
        way, condition, over_bare = estimate["way"], estimate["condition"], estimate["over"]
        of_a_loop = estimate["measure"] == STEP and condition in (OFF, ON) and way not in (REFERENCE, AGAIN)
        if of_a_loop and over_bare is not None:
            # A hundred times the cost, from us to ms.
            step_ms, low, high = (over_bare[name] / 10 for name in ("median", "low", "high"))
            limits.append({"way": way, "condition": condition, "step_ms": step_ms, "low": low, "high": high})
    return limits
