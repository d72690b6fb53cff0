"""Tables and the figure of docs/speed.md, from the rows of docs/results/speed/measure.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from docs.generate.cost_summary import NOT_MEASURED
from docs.generate.result_tables import read_rows
from docs.results.speed.job import IMPORTS, LOADING, START, TRAINING, VALIDATION
from woof_lightning.compare.draw import COLOURS
from woof_lightning.compare.tables import markdown_table, three_digits
from woof_lightning.measure.statistics import Estimate, median_of

LIMIT, FIT, BEFORE = "limit", "woof_fit", "woof_fit_before"
SPEED_LABELS = {
    "post": "the post's loop, as published",
    "torchvision": "torchvision's references",
    "timm": "timm's train.py",
    "fastai": "fastai",
    BEFORE: "woof fit before",
    "woof_fit_batch_path": "+ path of a batch",
    "woof_fit_memory_kept": "+ memory kept",
    FIT: "+ decoded once = woof fit",
    "limit_memory_freed": "bare step, memory not kept",
    LIMIT: "bare step, memory kept: the limit",
}
GPU_CORES = 16
OURS = "woof_lightning"
OF_LIMIT = "of the limit"
# Measured, precision, side in px, way, name of the value.
Key = tuple[str, str, int, str, str]


@dataclass(frozen=True)
class Speeds:
    """The values of one machine.

    Args:
        values: The value of each repeat.
    """

    values: dict[Key, dict[int, float]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Speeds:
        """Returns the rows of a folder."""
        found = cls()
        for row in read_rows(folder / "rows.csv"):
            key = (row["measured"], row["precision"], int(row["size_px"]), row["way"], row["name"])
            found.values.setdefault(key, {})[int(row["repeat"])] = float(row["value"])
        return found

    def median(self, key: Key) -> Estimate | None:
        """Returns the median of a value over the repeats; None if it was not measured."""
        return median_of([list(self.values[key].values())]) if key in self.values else None

    def ratio(self, key: Key, other: Key) -> Estimate | None:
        """Returns the median of the ratio of two values of one repeat; None if they were not measured together."""
        ours, theirs = self.values.get(key, {}), self.values.get(other, {})
        shared = sorted(ours.keys() & theirs.keys())
        if not shared:
            return None
        return median_of([[ours[repeat] / theirs[repeat] for repeat in shared]])

    def columns(self, measured: str) -> list[tuple[str, int]]:
        """Returns the precisions and sizes at which something was measured."""
        return sorted({(precision, size_px) for what, precision, size_px, _, _ in self.values if what == measured})


def cell(estimate: Estimate | None) -> str:
    """Returns a median with its interval."""
    if estimate is None:
        return NOT_MEASURED
    return f"{three_digits(estimate.median)} ({three_digits(estimate.low)} to {three_digits(estimate.high)})"


def training_table(folder: Path) -> str:
    """Images per second of each way, and its share of the limit."""
    found = Speeds.read(folder)
    columns = found.columns(TRAINING)
    rows = []
    for way, label in SPEED_LABELS.items():
        cells = []
        for precision, size_px in columns:
            ours, limit = ((TRAINING, precision, size_px, name, "images_per_s") for name in (way, LIMIT))
            cells += [cell(found.median(ours)), cell(found.ratio(ours, limit))]
        if set(cells) != {NOT_MEASURED}:
            rows.append([label, *cells])
    header = [text for precision, size_px in columns for text in (f"{size_px} px, {precision}: images/s", OF_LIMIT)]
    repeats = {len(values) for key, values in found.values.items() if key[0] == TRAINING}
    return (
        markdown_table(("way", *header), rows)
        + f"\nRepeats: {' to '.join(map(str, sorted({min(repeats), max(repeats)})))}.\n"
    )


def share_text(folder: Path, precision: str, size_px: str, other: str = LIMIT, way: str = FIT) -> str:
    """How many times as fast a way trains as another one; the limit by default."""
    ours, theirs = ((TRAINING, precision, int(size_px), name, "images_per_s") for name in (way, other))
    found = Speeds.read(folder).ratio(ours, theirs)
    if found is None:
        raise LookupError("not measured together")
    return three_digits(found.median)


def loading_table(folder: Path) -> str:
    """Images per second that one core loads, and sixteen of them."""
    found = Speeds.read(folder)
    sizes = [size_px for _, size_px in found.columns(LOADING)]
    rows = []
    for way, label in SPEED_LABELS.items():
        medians = [found.median((LOADING, "", size_px, way, "loaded_per_s")) for size_px in sizes]
        if any(medians):
            times = [three_digits(GPU_CORES * one.median) if one else NOT_MEASURED for one in medians[-1:]]
            rows.append([label, *map(cell, medians), *times])
    header = [f"{size_px} px, images/s and core" for size_px in sizes]
    return markdown_table(("way", *header, f"times {GPU_CORES}, {sizes[-1]} px"), rows)


def memory_table(folder: Path) -> str:
    """Memory of the training and its loading processes."""
    found = Speeds.read(folder)
    rows, columns = [], found.columns(TRAINING)
    for way, label in SPEED_LABELS.items():
        medians = [found.median((TRAINING, *column, way, "memory_mb")) for column in columns]
        if any(medians):
            rows.append([label, *(three_digits(one.median) if one else NOT_MEASURED for one in medians)])
    return markdown_table(("way", *(f"{size_px} px, {precision}: MB" for precision, size_px in columns)), rows)


def validation_table(folder: Path) -> str:
    """What a validation of `woof fit` takes over its forward passes."""
    found = Speeds.read(folder)
    rows = []
    for precision, size_px in found.columns(VALIDATION):
        keys: list[Key] = [(VALIDATION, precision, size_px, FIT, name) for name in ("first_s", "kept_s", "forward_s")]
        first, kept = (found.ratio(key, keys[2]) for key in keys[:2])
        rows.append([f"{size_px} px, {precision}", cell(found.median(keys[2])), cell(first), cell(kept)])
    header = ("setting", "forward passes, s", "first validation, ratio", "later validations, ratio")
    return markdown_table(header, rows)


def start_table(folder: Path) -> str:
    """What a process takes up to the end of its first step."""
    found = Speeds.read(folder)
    ((precision, size_px),) = found.columns(START)
    fit, imports = ((START, precision, size_px, way, "start_s") for way in (FIT, IMPORTS))
    row = [cell(found.median(imports)), cell(found.median(fit)), cell(found.ratio(fit, imports))]
    return markdown_table(("imports and a step, s", "woof fit, s", "ratio"), [row])


def machine_text(folder: Path) -> str:
    """The conditions of the rows of a folder: machine and libraries, then each call."""
    calls = json.loads((folder / "conditions.json").read_text(encoding="utf-8"))
    about, lines = [], []
    for call in calls:
        versions = dict(call["versions"])
        ours = versions.pop(OURS)
        libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
        about.append(f"{call['machine']['processor']}, {call['machine']['cores']} cores. {libraries}.")
        lines.append(f"- {call['date']}, {call['machine_id']}, {OURS} {ours}: `{call['command']}`")
    return "\n\n".join(dict.fromkeys(about)) + "\n\n" + "\n".join(lines) + "\n"


def images_table(folder: Path) -> str:
    """What the first start with a million images takes, and a later one."""
    names = {
        "prepared_s": "woof fit lists and checks, s",
        "asked_s": "the system names and dates the files, s",
        "added_mb": "memory, MB",
    }
    first: dict[str, float] = {}
    later: dict[str, list[float]] = {}
    for row in read_rows(folder / "rows.csv"):
        if row["start"] == "0":
            first[row["name"]] = float(row["value"])
        else:
            later.setdefault(row["name"], []).append(float(row["value"]))
    table = [
        ["the first", *(three_digits(first[name]) for name in names)],
        ["a later one", *(cell(median_of([later[name]])) for name in names)],
    ]
    return markdown_table(("start", *names.values()), table)


def bars(folder: Path) -> Figure:
    """Returns bars of images per second towards the limit, a plot for each size and precision."""
    found = Speeds.read(folder)
    columns = found.columns(TRAINING)
    figure = Figure(figsize=(5 * len(columns), 4), layout="constrained")
    for place, (precision, size_px) in enumerate(columns, start=1):
        axes = figure.add_subplot(1, len(columns), place)
        drawn = {
            way: estimate
            for way in SPEED_LABELS
            if (estimate := found.median((TRAINING, precision, size_px, way, "images_per_s"))) and way != LIMIT
        }
        ends = np.array([[one.median - one.low, one.high - one.median] for one in drawn.values()]).T
        colours = [COLOURS[0] if way.startswith(FIT) else "0.7" for way in drawn]
        names = [SPEED_LABELS[way] for way in drawn] if place == 1 else [""] * len(drawn)
        axes.barh(range(len(drawn)), [one.median for one in drawn.values()], xerr=ends, color=colours, ecolor="0.3")
        axes.set_yticks(range(len(drawn)), names)
        axes.invert_yaxis()
        if limit := found.median((TRAINING, precision, size_px, LIMIT, "images_per_s")):
            axes.axvline(limit.median, color=COLOURS[1])
            axes.axvspan(limit.low, limit.high, color=COLOURS[1], alpha=0.15)
        axes.set_title(f"{size_px} px, {precision}; line: the limit")
        axes.set_xlabel("images per second")
    return figure


SPEED_TABLES: dict[str, Callable[[Path], str]] = {
    "speed": training_table,
    "speed-loading": loading_table,
    "speed-memory": memory_table,
    "speed-validation": validation_table,
    "speed-start": start_table,
    "speed-machine": machine_text,
    "many-images": images_table,
}


def measured_folders(root: Path) -> Sequence[Path]:
    """Returns the folders below docs/results/speed that hold rows."""
    return sorted(file.parent for file in root.glob("*/rows.csv"))
