"""Derives summary.json from the rows of `woof cost`: medians with intervals, differences, bounds."""

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

# Fixed before the first published run.
MOST_OVER_BAREBONES = 1.4
MOST_OVER_LIGHTNING = 1 / 5
MOST_AT_REAL_WORK = 0.01
FEWEST_REPEATS = 10
# With five repeats or fewer the interval is their range. Equal loops then often differ the same way in every repeat.
FEWEST_TO_TELL = 6
STEP = "step_us"
# The way `lightning`, and its name in rows that were measured before loops/lightning.py existed.
LIGHTNING_NAMES = ("lightning", "lightning_usual")
# What a full run measures, with the conditions that its rows have.
NEEDED = {
    "fixed cost": (OFF, ON),
    "real work": tuple(REAL_CONDITIONS),
    "the waterfall": (WATERFALL,),
    "start-up": (START,),
}
# Measures whose differences are also given as a share of the reference.
SHARED = (STEP, "peak_rss_mb", "peak_gpu_mb")


@dataclass(frozen=True)
class Bound:
    """A promise and the measured value.

    Args:
        promise: What was promised.
        value: The measured value.
        limit: The upper limit that was promised for it.
    """

    promise: str
    value: Estimate
    limit: float

    @property
    def verdict(self) -> str:
        """Whether the interval is below the limit (met), above it (missed) or on both sides of it (open)."""
        if self.value.high <= self.limit:
            return "met"
        return "missed" if self.value.low > self.limit else "open"


class Rows:
    """Measured values by way, condition and measure.

    Args:
        rows: The rows.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.values: dict[tuple[str, str, str], dict[int, float]] = {}
        self.units = {row.measure: row.unit for row in rows}
        for row in rows:
            self.values.setdefault((row.way, row.condition, row.measure), {})[row.repeat] = row.value

    def __contains__(self, key: tuple[str, str, str]) -> bool:
        return key in self.values

    def others_shares(self) -> list[float]:
        """Returns all values of others_share, without those of counts, which others do not disturb."""
        keys = (key for key in self.values if key[1] != IN_A_STEP and key[2] == "others_share")
        return [share for key in keys for share in self.values[key].values()]

    def paired(self, *keys: tuple[str, str, str]) -> list[list[float]]:
        """Returns the values of several keys, in the repeats that all of them have."""
        shared = sorted(set.intersection(*(set(self.values[key]) for key in keys)))
        return [[self.values[key][repeat] for repeat in shared] for key in keys]


def summary(rows: Sequence[Row], conditions: dict[str, Any]) -> dict[str, Any]:
    """Returns everything that is derived from the rows.

    Args:
        rows: The rows.
        conditions: Where and how they were measured.

    Returns:
        conditions; refusals (the reasons not to publish the figures; empty if there are none); notes; disturbed_share
        (the share of the measurements that others disturbed); estimates (one per way, condition and measure); bounds;
        one_percent (the step time above which a way costs less than 1 %).
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
    """Returns the reasons not to publish the figures."""
    reasons = []
    if disturbed is None:
        reasons.append("whether the machine was free is not known: this system has no /proc/stat")
    elif disturbed > MOST_DISTURBED_SHARE:
        reasons.append(
            f"the machine was busy: in {disturbed:.0%} of the measurements others used more than "
            f"{MOST_OTHERS_SHARE:.0%} of a core (others_share, from /proc/stat); at most {MOST_DISTURBED_SHARE:.0%} may"
        )
    for condition in (OFF, *REAL_CONDITIONS):
        if (AGAIN, condition, STEP) not in found:
            continue
        again = over(found, (AGAIN, condition, STEP), (REFERENCE, condition, STEP))
        if again.repeats >= FEWEST_TO_TELL and again.verdict != NOT_TOLD_APART:
            reasons.append(
                f"the same loop measured twice ({condition}) came out as {again.verdict} "
                f"({again.median:.3g} us, {again.low:.3g} to {again.high:.3g})"
            )
    return reasons


def notes(found: Rows) -> list[str]:
    """Returns what a reader of the figures should know."""
    repeats = [len(values) for (_, _, measure), values in found.values.items() if measure == STEP]
    lines = []
    if repeats and min(repeats) < FEWEST_REPEATS:
        lines.append(f"{min(repeats)} repeats: at least {FEWEST_REPEATS} are published")
    if repeats and min(repeats) < FEWEST_TO_TELL:
        lines.append(f"with fewer than {FEWEST_TO_TELL} repeats an interval is their range")
    measured = {condition for _, condition, _ in found.values}
    lines += [f"{what} was not measured" for what, names in NEEDED.items() if not measured & set(names)]
    if not any(measure == "peak_gpu_mb" for _, _, measure in found.values):
        lines.append("nothing was measured on a GPU")
    return lines


def estimate_of(found: Rows, key: tuple[str, str, str]) -> dict[str, Any]:
    """Returns the median of a measure, and its difference from the reference if there is one."""
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
    """Returns the key of the reference: `bare` without logs, or in the waterfall the feature before; None if none."""
    way, condition, measure = key
    if way == ALL:  # Values of a whole block are not compared.
        return None
    if condition == WATERFALL:
        side, _, feature = way.partition(":")
        place = list(FEATURES).index(feature)
        reference = (f"{side}:{list(FEATURES)[place - 1]}" if place else f"{SIDES[1]}:{feature}", condition, measure)
    else:
        reference = (REFERENCE, OFF if condition == ON else condition, measure)
    return reference if reference in found and reference != key else None


def compared(found: Rows, key: tuple[str, str, str], reference: tuple[str, str, str]) -> dict[str, Any]:
    """Returns the difference from a reference, absolute and for some measures as a share of it."""
    difference = over(found, key, reference)
    absolute = {"way": reference[0], "condition": reference[1], **asdict(difference), "verdict": difference.verdict}
    # Not of counts: they may be 0.
    return absolute | ({"share": asdict(share_over(found, key, reference))} if key[2] in SHARED else {})


def over(found: Rows, key: tuple[str, str, str], reference: tuple[str, str, str]) -> Estimate:
    """Returns the median of the differences within each repeat."""
    ours, theirs = found.paired(key, reference)
    return median_of([one - other for one, other in zip(ours, theirs, strict=True)])


def share_over(found: Rows, key: tuple[str, str, str], reference: tuple[str, str, str]) -> Estimate:
    """Returns the median of the differences within each repeat, as shares of the reference."""
    ours, theirs = found.paired(key, reference)
    return median_of([one / other - 1 for one, other in zip(ours, theirs, strict=True)])


def ratio_of_costs(found: Rows, ours: tuple[str, str], theirs: tuple[str, str]) -> Estimate:
    """Returns the ratio of two ways' costs over `bare`: the ratio of their median differences from it.

    Args:
        found: The rows.
        ours: The way and condition in the numerator.
        theirs: The way and condition in the denominator.
    """
    return bootstrapped(
        lambda chosen: np.median(chosen[0] - chosen[2], -1) / np.median(chosen[1] - chosen[2], -1),
        *found.paired((*ours, STEP), (*theirs, STEP), (REFERENCE, OFF, STEP)),
    )


def bounds(found: Rows) -> list[Bound]:
    """Returns the promises about `woof_fit`, with the measured values."""
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
    """A bound on a difference that may be too small to measure."""

    @property
    def verdict(self) -> str:
        """As that of a Bound, but not told apart if the interval contains both the limit and 0."""
        verdict = super().verdict
        return self.value.verdict if verdict == "open" and self.value.verdict == NOT_TOLD_APART else verdict


def one_percent(estimates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns for each way the step time in ms above which its fixed cost is less than 1 %."""
    limits = []
    for estimate in estimates:
        way, condition, over_bare = estimate["way"], estimate["condition"], estimate["over"]
        of_a_loop = estimate["measure"] == STEP and condition in (OFF, ON) and way not in (REFERENCE, AGAIN)
        if of_a_loop and over_bare is not None:
            # A hundred times the cost, from us to ms.
            step_ms, low, high = (over_bare[name] / 10 for name in ("median", "low", "high"))
            limits.append({"way": way, "condition": condition, "step_ms": step_ms, "low": low, "high": high})
    return limits
