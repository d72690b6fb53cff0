"""Tables of docs/abstraction-cost.md about choices, whole trainings, machines and environments."""

from __future__ import annotations

from pathlib import Path

from docs.generate.cost_summary import COMPARED, NOT_MEASURED, Estimate, by_key, interval, read_summary, seconds
from woof_lightning.compare.tables import markdown_table, three_digits
from woof_lightning.cost.measured import Rows, median, over
from woof_lightning.cost.rows import CHANGES, RowsFile
from woof_lightning.loops.ways import LABELS, REFERENCE, WOOF_FIT

# The step times of the first table, in ms, with an example of each.
EXAMPLES_MS = {0.5: "a tiny net", 20.0: "a small convolutional net on a core", 600.0: "ResNet-18 on a core"}
# From the most that a framework does to the least. The first one below the limit is taken.
PREFERRED = ("lightning", WOOF_FIT, "fabric")
MOST_SHARE = 0.05


def choice_table(folder: Path) -> str:
    """Which way to take for a step of some length, and what each adds to it."""
    found = by_key(folder)
    costs_ms = {way: found[way, "on", "step_us"]["over"]["median"] / 1e3 for way in COMPARED}
    rows = []
    for step_ms, example in EXAMPLES_MS.items():
        shares = {way: cost_ms / step_ms for way, cost_ms in costs_ms.items()}
        taken = next((way for way in PREFERRED if shares[way] < MOST_SHARE), REFERENCE)
        cells = [f"+{three_digits(100 * shares[way])} %" for way in COMPARED]
        rows.append([f"{three_digits(step_ms)} ms ({example})", f"**{LABELS[taken]}**", *cells])
    return markdown_table(("a step of the bare loop", "take", *(LABELS[way] for way in COMPARED)), rows)


def trainings_table(folder: Path) -> str:
    """What the post's training costs over the bare loop, part by part."""
    parts = ("steps", "validation", "epochs", "checkpoints", "all")
    rows = []
    for training in sorted(read_summary(folder)["trainings"], key=lambda one: one["parts"]["all"]["median"]):
        start = training["start"]
        cells = [f"{training['parts'][part]['median']:+.2g}" for part in parts[:-1]]
        rows.append(
            [
                LABELS[training["way"]],
                *cells,
                seconds(training["parts"]["all"]),
                f"{start['median']:+.2g}" if start else NOT_MEASURED,
            ]
        )
    header = ("way", "2,840 steps", "9,840 validation batches", "40 ends of epochs", "saved files", "total", "start")
    return markdown_table(header, rows) if rows else "Not measured.\n"


def parts_table(folder: Path) -> str:
    """What each part of a small whole training takes."""
    found = by_key(folder)
    measures = {
        "train_step_us": ("a step, µs", 1.0),
        "val_batch_us": ("a validation batch, µs", 1.0),
        "epoch_us": ("an epoch's end, ms", 1e-3),
        "checkpoint_us": ("a saved file, ms", 1e-3),
        "files_per_epoch": ("files an epoch", 1.0),
    }
    ways = [way for way in LABELS if (way, "whole", "epoch_us") in found]
    rows = [
        [
            LABELS[way],
            *(three_digits(factor * found[way, "whole", name]["median"]) for name, (_, factor) in measures.items()),
        ]
        for way in ways
    ]
    return markdown_table(("way", *(text for text, _ in measures.values())), rows) if rows else "Not measured.\n"


def predictions_table(folder: Path) -> str:
    """Small whole trainings, as their parts predict them and as they were measured."""
    rows = [
        [
            LABELS[one["way"]],
            three_digits(one["predicted_s"]["median"]),
            f"{three_digits(one['measured_s']['median'])} ({interval(one['measured_s'])})",
            f"{three_digits(one['ratio']['median'])} ({interval(one['ratio'])})",
        ]
        for one in read_summary(folder)["predictions"]
    ]
    header = ("way", "predicted, s", "measured, s", "predicted over measured")
    return markdown_table(header, rows) if rows else "Not measured.\n"


def machines_table(folder: Path) -> str:
    """What a step costs over the bare loop, on each machine alone."""
    machines = {
        name: {(e["way"], e["condition"]): e["over"] for e in estimates}
        for name, estimates in read_summary(folder)["machines"].items()
    }
    rows = []
    for way, condition in [key for key in next(iter(machines.values())) if key[1] in ("off", "on")]:
        if (way, condition) == (REFERENCE, "off"):
            continue
        overs = [machine.get((way, condition)) for machine in machines.values()]
        cells = [
            f"{three_digits(over['median'], signed=True)} ({interval(over)})" if over else NOT_MEASURED
            for over in overs
        ]
        rows.append([LABELS[way], condition, *cells])
    table = markdown_table(("way, µs over bare", "reports", *machines), sorted(rows, key=lambda row: (row[1], row[0])))
    return table + (f"\n{overlaps(list(machines.values()))}\n" if len(machines) > 1 else "")


def overlaps(machines: list[dict[tuple[str, str], Estimate]]) -> str:
    """How many differences agree on all machines, and a ratio on each."""
    shared = [key for key in machines[0] if all(machine.get(key) for machine in machines) and key[1] in ("off", "on")]
    agreeing = sum(
        max(machine[key]["low"] for machine in machines) <= min(machine[key]["high"] for machine in machines)
        for key in shared
    )
    text = f"The intervals of {agreeing} of {len(shared)} rows overlap."
    if {(WOOF_FIT, "on"), ("lightning", "on")} <= set(shared):
        ratios = [machine[WOOF_FIT, "on"]["median"] / machine["lightning", "on"]["median"] for machine in machines]
        names = f"The cost of {LABELS[WOOF_FIT]}, divided by that of {LABELS['lightning']}"
        text += f" {names}: {' and '.join(map(three_digits, ratios))}."
    return text


def variables_table(folder: Path) -> str:
    """The environment variables that imports and trainings change, with the ways in whose rows they are."""
    changing: dict[str, list[str]] = {}
    found = by_key(folder)
    for way, condition, measure in found:
        if measure.startswith(CHANGES) and condition == "on":
            changing.setdefault(measure.removeprefix(CHANGES), []).append(LABELS[way])
    every = {way for way, condition, _ in found if condition == "on" and way in LABELS}
    rows = [
        [f"`{name}`", "every way" if len(ways) == len(every) else "; ".join(ways)]
        for name, ways in sorted(changing.items())
    ]
    return markdown_table(("variable", "changed in"), rows)


def inherited_table(folder: Path) -> str:
    """What the ways cost over bare, with the variable that measuring processes once inherited, and without."""
    found = Rows(RowsFile(folder / "rows.csv").read())
    rows = []
    for way in [way for way in LABELS if (way, "clean", "step_us") in found]:
        cells = []
        for condition in ("clean", "inherited"):
            key, bare = (way, condition, "step_us"), (REFERENCE, condition, "step_us")
            searches = median(found, (way, condition, "driver_searches")).median
            cost = over(found, key, bare)
            cells += [
                "the reference"
                if way == REFERENCE
                else f"{three_digits(cost.median, signed=True)} "
                f"({three_digits(cost.low)} to {three_digits(cost.high)})",
                f"{searches:.3g}",
            ]
        rows.append([LABELS[way], *cells])
    repeats = len(found.sample((REFERENCE, "clean", "step_us"))[0])
    header = ("way", "µs over bare, clean", "searches a step", "µs over bare, inherited", "searches a step")
    return markdown_table(header, rows) + f"\n{repeats} repeats on `{found.machines[0]}`.\n"


def before_and_after_table(folder: Path) -> str:
    """What a step takes in two versions of this project; the later one is measured twice."""
    found = Rows(RowsFile(folder / "rows.csv").read())
    first = (WOOF_FIT, "before", "step_us")
    rows = []
    for condition in ("before", "after", "after, again"):
        key = (WOOF_FIT, condition, "step_us")
        cost = over(found, key, first)
        difference = f"{three_digits(cost.median, signed=True)} ({three_digits(cost.low)} to {three_digits(cost.high)})"
        rows.append([condition, three_digits(median(found, key).median), "" if key == first else difference])
    repeats = len(found.sample(first)[0])
    table = markdown_table(("version", "a step, µs", "µs over before"), rows)
    return table + f"\n{repeats} repeats on `{found.machines[0]}`.\n"


def turns_table(folder: Path) -> str:
    """What a step of a small training takes if ways take turns within its epochs, and if it runs without a break."""
    found = Rows(RowsFile(folder / "rows.csv").read())
    rows = []
    for way in [way for way in LABELS if (way, "turns", "train_step_us") in found]:
        medians = [median(found, (way, condition, "train_step_us")).median for condition in ("turns", "alone")]
        rows.append([LABELS[way], *map(three_digits, medians), three_digits(medians[0] / medians[1])])
    return markdown_table(("way", "a step in turns, µs", "without a break, µs", "ratio"), rows)


TRAINING_TABLES = {
    "cost-turns": turns_table,
    "cost-inherited": inherited_table,
    "cost-before-and-after": before_and_after_table,
    "cost-choice": choice_table,
    "cost-trainings": trainings_table,
    "cost-parts": parts_table,
    "cost-predictions": predictions_table,
    "cost-machines": machines_table,
    "cost-variables": variables_table,
}
