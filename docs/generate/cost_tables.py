"""Tables of docs/abstraction-cost.md, from the summary that `woof cost` leaves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docs.generate.cost_summary import COMPARED, NOT_MEASURED, Estimate, by_key, interval, read_summary, seconds
from docs.generate.training_tables import TRAINING_TABLES
from woof_lightning.compare.tables import markdown_table, three_digits
from woof_lightning.cost.features import FEATURES
from woof_lightning.cost.plan import NETS
from woof_lightning.cost.training import EPOCHS, STEPS
from woof_lightning.cost.ways import MEASURED
from woof_lightning.cost.written import BEHAVIOURS
from woof_lightning.loops.ways import LABELS, REFERENCE
from woof_lightning.measure.statistics import NOT_TOLD_APART

FULL_TRAINING_STEPS = EPOCHS * STEPS
# What tables call the verdicts of the summary, where its words are too short for a reader.
VERDICTS = {NOT_TOLD_APART: "within noise", "open": "undecided", "no promise": "no limit"}


def conditions_text(folder: Path) -> str:
    """Where, when and how the rows were measured: an item for each machine, and a paragraph for all."""
    found = read_summary(folder)
    machines = found["conditions"]["machines"]
    places = "\n".join(f"- {machine_text(name, machine)}." for name, machine in machines.items())
    versions = next(iter(machines.values()))["versions"]
    of_libraries = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "woof_lightning")
    disturbed = "unknown" if found["disturbed_share"] is None else f"{found['disturbed_share']:.2%}"
    notes = " ".join(f"{note[:1].upper()}{note[1:]}." for note in [*found["refusals"], *found["notes"]])
    return (
        f"Measured on {len(machines)} machine {'start' if len(machines) == 1 else 'starts'}:\n\n{places}\n\n"
        f"Versions: {of_libraries}. Measurements in which other programs used more than 5 % of a core: {disturbed}. "
        f"{notes}\n"
    )


def machine_text(name: str, machine: dict[str, Any]) -> str:
    """A machine, and the calls on it."""
    calls = ", ".join(
        f"`{call['command']}` ({call['date']}, {call['woof_lightning'].partition('+')[2]})" for call in machine["calls"]
    )
    return (
        f"`{name}` ({machine['machine']['processor']}, {machine['threads']} of {machine['machine']['cores']} cores): "
        f"{calls}{'. Left out: ' + machine['left_out'] if 'left_out' in machine else ''}"
    )


def overview_table(folder: Path) -> str:
    """Every loop as its users run it, a row each: time, start-up, indirection, code."""
    found = by_key(folder)
    ways = [way for way, condition, measure in found if condition == "on" and measure == "step_us" and way != REFERENCE]
    trainings = {training["way"]: training for training in read_summary(folder)["trainings"]}
    rows = []
    for way in sorted(ways, key=lambda way: found[way, "on", "step_us"]["over"]["median"]):
        step = found[way, "on", "step_us"]["over"]
        start = found.get((way, "start", "first_step_s"))
        code = found.get((way, "counted", "logical_lines"))
        rows.append(
            [
                LABELS[way],
                f"{three_digits(step['median'], signed=True)} ({interval(step)})",
                seconds(trainings[way]["parts"]["all"]) if way in trainings else NOT_MEASURED,
                seconds(start["over"]) if start else NOT_MEASURED,
                f"{found[way, 'step', 'calls']['median']:.0f}",
                f"{code['median']:.0f}" if code else "",
            ]
        )
    header = (
        "way",
        "µs a step over bare",
        "the post's training over bare, s",
        "start-up over bare, s",
        "calls a step",
        "lines written",
    )
    return markdown_table(header, rows)


def answers_table(folder: Path) -> str:
    """What a framework costs over the bare loop: Fabric, and Lightning in three shapes."""
    found = by_key(folder)
    trainings = {training["way"]: training for training in read_summary(folder)["trainings"]}
    real = list(NETS)[-1]

    def over(condition: str, measure: str, factor: float = 1.0, share: bool = False) -> list[str]:
        cells = []
        for way in COMPARED:
            estimate = found.get((way, condition, measure))
            if estimate is None:
                cells.append(NOT_MEASURED)
                continue
            over_bare = estimate["over"]["share"] if share else estimate["over"]
            scaled = {name: factor * over_bare[name] for name in ("median", "low", "high")}
            cells.append(f"{three_digits(scaled['median'], signed=True)} ({interval(scaled)})")
        return cells

    def count(condition: str, measure: str) -> list[str]:
        values = [found.get((way, condition, measure)) for way in (REFERENCE, *COMPARED)]
        bare, *ours = (NOT_MEASURED if value is None else f"{value['median']:.0f}" for value in values)
        return [f"{our} (bare: {bare})" if our != NOT_MEASURED else our for our in ours]

    whole = [seconds(trainings[way]["parts"]["all"]) if way in trainings else NOT_MEASURED for way in COMPARED]
    rows = [
        ["a step, µs", *over("on", "step_us")],
        ["the post's training without its start, s", *whole],
        ["less than 1 % where a step takes more than, ms", *over("on", "step_us", 0.1)],
        ["a step of ResNet-18 at 128 px, %", *over(real, "step_us", 100, share=True)],
        ["memory, the smallest net, MB", *over("on", "peak_rss_mb")],
        ["start to the end of the first step, s", *over("start", "first_step_s")],
        ["installed beside torch, MB", *count("installed", "installed_mb")],
        ["Python calls a step", *count("step", "calls")],
        ["frames in a traceback", *count("step", "traceback_frames")],
        ["lines that a person writes", *count("counted", "logical_lines")],
        ["names of the framework", *count("counted", "framework_names")],
    ]
    return markdown_table(("over the bare loop", *(LABELS[way] for way in COMPARED)), rows)


def ways_table(folder: Path) -> str:
    """The names of the ways in the rows, what tables and figures call them, their file, and what they go beyond."""
    named = {e["way"] for e in read_summary(folder)["estimates"]}
    rows = [
        [LABELS[way], f"`{way}`", f"`{MEASURED[way].way.files[0]}`", MEASURED[way].beyond_api]
        for way in LABELS
        if way in named
    ]
    return markdown_table(("way", "in rows.csv", "file in woof_lightning/", "beyond its public interface"), rows)


def features_list(_: Path) -> str:
    """What each feature of the waterfall is."""
    return "".join(f"- *{name}*: {text}\n" for name, text in FEATURES.items())


def fixed_table(folder: Path) -> str:
    """What a training step costs on the smallest net, over the bare loop with the same reports."""
    searches = {
        (e["way"], e["condition"]): e["median"]
        for e in read_summary(folder)["estimates"]
        if e["measure"] == "driver_searches"
    }
    rows = []
    for condition in ("off", "on"):
        estimates = sorted(_of(folder, "step_us", condition), key=lambda e: (e["way"] != REFERENCE, over_of(e)))
        for estimate in estimates:
            over = estimate["over"] if estimate["way"] != REFERENCE else None
            rows.append(
                [
                    LABELS[estimate["way"]],
                    condition,
                    three_digits(estimate["median"]),
                    three_digits(over["median"], signed=True) if over else "",
                    interval(over),
                    VERDICTS.get(over["verdict"], over["verdict"]) if over else "the reference",
                    f"{searches[estimate['way'], condition]:.3g}",
                    str(estimate["repeats"]),
                ]
            )
    header = ("way", "reports", "µs a step", "over bare", "95 % interval", "", "searches a step", "n")
    return markdown_table(header, rows)


def over_of(estimate: Estimate) -> float:
    """The median difference from the reference."""
    return float(estimate["over"]["median"]) if estimate["over"] else 0.0


def waterfall_table(folder: Path) -> str:
    """What each feature adds to a step, in the Trainer and by hand."""
    found = {estimate["way"]: estimate for estimate in _of(folder, "step_us", "waterfall")}
    if not found:
        return "Not measured.\n"
    # Each is compared with the one before it, the first by hand with none.
    after = {e["over"]["way"] if e["over"] else "": way for way, e in found.items() if way.startswith("hand:")}
    features, way = [], ""
    while way in after:
        way = after[way]
        features.append(way.partition(":")[2])
    rows = []
    for place, feature in enumerate(features):
        cells = []
        for side in ("lightning", "hand"):
            estimate = found[f"{side}:{feature}"]
            if place:
                cells += [three_digits(estimate["over"]["median"], signed=True), interval(estimate["over"])]
            else:
                cells += [three_digits(estimate["median"]), interval(estimate)]
        rows.append([f"+ {feature}" if place else feature, *cells])
    last = [found[f"{side}:{features[-1]}"] for side in ("lightning", "hand")]
    rows.append(["all together", *(cell for e in last for cell in (three_digits(e["median"]), interval(e)))])
    header = ("feature", "Lightning, µs", "95 % interval", "by hand, µs", "95 % interval")
    return markdown_table(header, rows)


def real_table(folder: Path) -> str:
    """Step time of nets of several sizes over the bare loop's, beside the cost on the smallest net."""
    fixed = {e["way"]: e["over"] for e in _of(folder, "step_us", "on")}
    rows = []
    for condition in NETS:
        for estimate in sorted(_of(folder, "step_us", condition), key=lambda e: list(LABELS).index(e["way"])):
            way, over = estimate["way"], estimate["over"]
            share = over["share"] if over else None
            expected = fixed.get(way) if way != REFERENCE else None
            rows.append(
                [
                    condition,
                    LABELS[way],
                    three_digits(estimate["median"] / 1e3),
                    f"{three_digits(over['median'], signed=True)} ({interval(over)})" if over else "",
                    three_digits(expected["median"], signed=True) if expected and over else "",
                    agreement(over, expected) if expected and over else "",
                    percent(share) if share else "",
                ]
            )
    header = ("net", "way", "ms a step", "over bare, µs", "on the smallest net, µs", "", "over bare, %")
    return _table_or_not(header, rows)


def percent(share: Estimate) -> str:
    """A share in percent, with its interval."""
    scaled = {name: 100 * share[name] for name in ("median", "low", "high")}
    return f"{three_digits(scaled['median'], signed=True)} ({interval(scaled)})"


def agreement(over: Estimate, expected: Estimate) -> str:
    """Whether two intervals overlap, if the way differs from the bare loop beyond noise at all."""
    if over["low"] <= 0 <= over["high"]:
        return VERDICTS[NOT_TOLD_APART]
    if over["low"] > expected["high"]:
        return "more"
    return "less" if over["high"] < expected["low"] else "agrees"


def memory_table(folder: Path) -> str:
    """Peak resident memory over the bare loop's; of the smallest net the loops with logs."""
    rows = []
    for estimate in _of(folder, "peak_rss_mb", "on", list(NETS)[-1]):
        condition, over = estimate["condition"], estimate["over"] if estimate["way"] != REFERENCE else None
        net = condition if condition.startswith("resnet18") else f"the smallest, reports {condition}"
        cells = [f"{estimate['median']:.0f}", three_digits(over["median"], signed=True) if over else "", interval(over)]
        rows.append([net, LABELS[estimate["way"]], *cells])
    return _table_or_not(("net", "way", "peak MB", "over bare", "95 % interval"), sorted(rows, key=by_net_and_way))


def by_net_and_way(row: Sequence[str]) -> tuple[bool, int, str, str]:
    """The order of a table's rows: the smallest net, then by image size; the bare loop first."""
    net, way = row[0], row[1]
    size_px = int(net.split()[1]) if net.startswith("resnet18") else 0
    return size_px > 0, size_px, net if not size_px else "", "" if way == LABELS[REFERENCE] else way


def start_table(folder: Path) -> str:
    """Start-up: import, first step, a run of one step; what was installed and loaded for it."""
    values = {
        (e["way"], e["measure"]): e
        for e in read_summary(folder)["estimates"]
        if e["condition"] in ("start", "installed")
    }
    ways = dict.fromkeys(way for way, measure in values if measure == "first_step_s")
    rows = []
    for way in ways:
        seconds = [values[way, name] for name in ("import_s", "first_step_s", "trained_s")]
        counts = [values[way, name]["median"] for name in ("imported_modules", "packages", "installed_mb")]
        rows.append(
            [
                LABELS[way],
                *(f"{e['median']:.2g} ({interval(e)})" if e["median"] > 1e-3 else "0" for e in seconds),
                *(f"{count:.0f}" for count in counts),
            ]
        )
    rows.sort(key=lambda row: float(row[3].split()[0]))
    header = ("way", "import, s", "to the first step, s", "run of one step, s", "modules", "packages", "MB")
    return _table_or_not(header, rows)


def indirection_table(folder: Path) -> str:
    """What lies between the user's step and PyTorch."""
    names = {
        "calls": "calls a step",
        "framework_files": "framework files",
        "frames_to_step": "frames down to the step",
        "frames_to_optimizer": "down to optimizer.step",
        "traceback_frames": "frames in a traceback",
        "traceback_user_frames": "the user's own frames",
    }
    return _counts(folder, "step", names)


def code_table(folder: Path) -> str:
    """What a person writes for each behaviour, and the names of the framework in all that."""
    found = by_key(folder)
    ways = [way for way in LABELS if (way, "counted", "logical_lines") in found]
    names = {"logical_lines": "all lines", "framework_names": "names of the framework"}
    rows = []
    for way in ways:
        cells = [found.get((way, "counted", f"lines_{behaviour}")) for behaviour in BEHAVIOURS]
        behaviours = ["does not have it" if cell is None else f"{cell['median']:.0f}" for cell in cells]
        rows.append([LABELS[way], *behaviours, *(f"{found[way, 'counted', name]['median']:.0f}" for name in names)])
    return markdown_table(("way", *BEHAVIOURS, *names.values()), rows)


def bounds_table(folder: Path) -> str:
    """What was to be reached, and what was."""
    rows = [
        [
            bound["promise"],
            "" if bound["limit"] is None else f"{bound['limit']:.3g}",
            f"{bound['value']['median']:.3g}",
            interval(bound["value"]),
            VERDICTS.get(bound["verdict"], bound["verdict"]),
        ]
        for bound in read_summary(folder)["bounds"]
    ]
    return markdown_table(("target", "limit", "measured", "95 % interval", "verdict"), rows)


def one_percent_table(folder: Path) -> str:
    """From which step time on a loop costs less than 1 %, and what it adds to a whole training."""
    rows = []
    for found in sorted(read_summary(folder)["one_percent"], key=lambda limit: limit["step_ms"]):
        cost_s = found["step_ms"] / 100 / 1e3 * FULL_TRAINING_STEPS
        rows.append(
            [
                LABELS[found["way"]],
                found["condition"],
                three_digits(found["step_ms"]),
                interval(found),
                f"{cost_s:.2g}",
            ]
        )
    header = ("way", "reports", "under 1 % from a step of, ms", "95 % interval", "s in 2,840 steps")
    return markdown_table(header, rows)


COST_TABLES = {
    **TRAINING_TABLES,
    "cost-conditions": conditions_text,
    "cost-overview": overview_table,
    "cost-answers": answers_table,
    "cost-ways": ways_table,
    "cost-features": features_list,
    "cost-fixed": fixed_table,
    "cost-waterfall": waterfall_table,
    "cost-real": real_table,
    "cost-memory": memory_table,
    "cost-start": start_table,
    "cost-indirection": indirection_table,
    "cost-code": code_table,
    "cost-bounds": bounds_table,
    "cost-one-percent": one_percent_table,
}


def _table_or_not(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(header, rows) if rows else "Not measured.\n"


def _counts(folder: Path, condition: str, names: dict[str, str]) -> str:
    found = {
        (e["way"], e["measure"]): e["median"] for e in read_summary(folder)["estimates"] if e["condition"] == condition
    }
    first = next(iter(names))
    ways = sorted(dict.fromkeys(way for way, _ in found), key=lambda way: found[way, first])
    rows = [[LABELS[way], *(f"{found[way, name]:.0f}" for name in names)] for way in ways]
    return markdown_table(("way", *names.values()), rows)


def _of(folder: Path, measure: str, *conditions: str) -> list[Estimate]:
    estimates: list[Estimate] = read_summary(folder)["estimates"]
    return [e for e in estimates if e["measure"] == measure and (not conditions or e["condition"] in conditions)]
