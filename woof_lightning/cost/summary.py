"""Derives summary.json from the rows of `woof cost`: medians with intervals, differences, reasons not to publish."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from woof_lightning.cost.bounds import bounds
from woof_lightning.cost.measured import Key, Rows, median, over, reference_of, share_over
from woof_lightning.cost.plan import AGAIN, COUNTED, IN_A_STEP, NETS, OFF, ON, START, WATERFALL, WHOLE
from woof_lightning.cost.rows import ALL, CHANGES, STEP, Row
from woof_lightning.cost.training import checked, whole_trainings
from woof_lightning.loops.ways import REFERENCE
from woof_lightning.measure.busy import MOST_DISTURBED_SHARE, MOST_OTHERS_SHARE
from woof_lightning.measure.statistics import FEWEST_TO_TELL, LEVEL, NOT_TOLD_APART

FEWEST_REPEATS = 10
SEARCHES, ENVIRONMENT, OTHERS = "driver_searches", "environment_id", "others_share"
# What a full run measures, with the conditions that its rows have.
NEEDED = {
    "fixed cost": (OFF, ON),
    "the whole training": (WHOLE,),
    "real work": tuple(NETS),
    "the waterfall": (WATERFALL,),
    "start-up": (START,),
}
# What each of these groups times.
TIMED = (STEP, "epoch_us", "rest_s", "first_step_s")
# Measures whose differences are also given as a share of the reference.
SHARED = (STEP, "peak_rss_mb", "peak_gpu_mb")


def summary(rows: Sequence[Row], conditions: dict[str, Any]) -> dict[str, Any]:
    """Returns everything that is derived from the rows.

    Args:
        rows: The rows, of one machine or of several.
        conditions: Where and how they were measured, by machine.

    Returns:
        conditions; refusals (the reasons not to publish the figures; empty if there are none); notes; disturbed_share
        (the share of the measurements that others disturbed); estimates (one per way, condition and measure); machines
        (the step times of each machine alone); bounds; trainings (what whole trainings cost); predictions (whole
        trainings as predicted and as measured); one_percent (the step time above which a way costs less than 1 %).
    """
    found = Rows(rows)
    shares = others_shares(found)
    disturbed = sum(share > MOST_OTHERS_SHARE for share in shares) / len(shares) if shares else None
    estimates = [estimate_of(found, key) for key in found.values if key[2] != ENVIRONMENT]
    return {
        "conditions": conditions,
        "refusals": [*dry_runs(conditions), *refusals(found, disturbed)],
        "notes": notes(found),
        "disturbed_share": disturbed,
        "estimates": estimates,
        "machines": {name: of_one_machine(rows, name) for name in found.machines},
        "bounds": [bound.as_dict() for bound in bounds(found)],
        "trainings": whole_trainings(found),
        "predictions": checked(found),
        "one_percent": one_percent(estimates),
    }


def others_shares(found: Rows) -> list[float]:
    """Returns all values of others_share, without those of counts, which others do not disturb."""
    keys = [key for key in found.values if key[1] not in (IN_A_STEP, COUNTED) and key[2] == OTHERS]
    return [share for key in keys for machine in found.values[key].values() for share in machine.values()]


def of_one_machine(rows: Sequence[Row], machine: str) -> list[dict[str, Any]]:
    """Returns the estimates of the step times that one machine alone gives."""
    found = Rows([row for row in rows if row.machine == machine])
    return [estimate_of(found, key) for key in found.values if key[2] == STEP]


def dry_runs(conditions: dict[str, Any]) -> list[str]:
    """Returns a reason not to publish if the processor stood in for a device."""
    stood_in = any(machine.get("dry_run") for machine in conditions.get("machines", {}).values())
    return ["a dry run: the processor stood in for a CUDA device"] if stood_in else []


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
    return [*reasons, *unclean(found), *told_apart(found)]


def unclean(found: Rows) -> Iterator[str]:
    """Yields the signs that something of the measuring process reached its workers."""
    searching = {key[1] for key, values in found.items(REFERENCE, SEARCHES) if any(map(any_value, values.values()))}
    for condition in sorted(searching):
        yield (
            f"the bare loop searched for NVIDIA's driver ({condition}): its process got a variable that only an import "
            "of Lightning sets"
        )
    started: dict[tuple[str, str, int], set[float]] = {}
    for (_, condition, measure), machines in found.values.items():
        if measure == ENVIRONMENT:
            block = "fixed" if condition in (OFF, ON) else condition
            for machine, repeats in machines.items():
                for repeat, value in repeats.items():
                    started.setdefault((machine, block, repeat), set()).add(value)
    different = sorted({block for (_, block, _), ids in started.items() if len(ids) > 1})
    if different:
        yield f"workers started with different environment variables ({', '.join(different)})"


def any_value(repeats: dict[int, float]) -> bool:
    """Returns whether a repeat has another value than 0."""
    return any(repeats.values())


def told_apart(found: Rows) -> Iterator[str]:
    """Yields where the same loop, measured twice, came out as different, at 95 % for all these comparisons together."""
    pairs = [
        (machine, condition)
        for (_, condition, _), machines in found.items(AGAIN, STEP)
        for machine, repeats in machines.items()
        if len(repeats) >= FEWEST_TO_TELL
    ]
    for machine, condition in pairs:
        again = over(
            found.on(machine), (AGAIN, condition, STEP), (REFERENCE, condition, STEP), 1 - (1 - LEVEL) / len(pairs)
        )
        if again.verdict != NOT_TOLD_APART:
            yield (
                f"the same loop measured twice ({condition}, {machine}) came out as {again.verdict} "
                f"({again.median:.3g} us, {again.low:.3g} to {again.high:.3g})"
            )


def notes(found: Rows) -> list[str]:
    """Returns what a reader of the figures should know."""
    fewest = {what: fewest_repeats(found, names) for what, names in NEEDED.items()}
    few = {what: count for what, count in fewest.items() if 0 < count < FEWEST_REPEATS}
    lines = []
    if few:
        listed = ", ".join(f"{count} of {what}" for what, count in few.items())
        lines.append(f"fewer than {FEWEST_REPEATS} repeats on a machine: {listed}")
    if any(count < FEWEST_TO_TELL for count in few.values()):
        lines.append(f"with fewer than {FEWEST_TO_TELL} repeats an interval is their range")
    if len(found.machines) == 1:
        lines.append("one machine start: the intervals do not cover the difference between machines")
    measured = {condition for _, condition, _ in found.values}
    lines += [f"{what} was not measured" for what, names in NEEDED.items() if not measured & set(names)]
    if not any(measure == "peak_gpu_mb" for _, _, measure in found.values):
        lines.append("nothing was measured on a GPU")
    return lines


def fewest_repeats(found: Rows, conditions: Sequence[str]) -> int:
    """Returns the smallest number of repeats on a machine that a timed value has under some conditions; 0 if none."""
    timed = (machines for key, machines in found.values.items() if key[1] in conditions and key[2] in TIMED)
    return min((len(repeats) for machines in timed for repeats in machines.values()), default=0)


def estimate_of(found: Rows, key: Key) -> dict[str, Any]:
    """Returns the median of a measure, and its difference from the reference if there is one."""
    way, condition, measure = key
    reference = None if measure == SEARCHES or measure.startswith(CHANGES) or way == ALL else reference_of(found, key)
    return {
        "way": way,
        "condition": condition,
        "measure": measure,
        "unit": found.units[measure],
        **asdict(median(found, key)),
        "over": None if reference is None else compared(found, key, reference),
    }


def compared(found: Rows, key: Key, reference: Key) -> dict[str, Any]:
    """Returns the difference from a reference, absolute and for some measures as a share of it."""
    difference = over(found, key, reference)
    absolute = {"way": reference[0], "condition": reference[1], **asdict(difference), "verdict": difference.verdict}
    # Not of counts: they may be 0.
    return absolute | ({"share": asdict(share_over(found, key, reference))} if key[2] in SHARED else {})


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
