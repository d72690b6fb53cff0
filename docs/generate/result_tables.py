"""Tables of README and docs, from the committed results."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

from woof_lightning.compare.tables import markdown_table
from woof_lightning.lit.lr_suggestion import suggest
from woof_lightning.loops.ways import LABELS, WOOF_FIT
from woof_lightning.runs.lr_curve import read_lr_curve


def runs_table(folder: Path) -> str:
    """A row per run below the folder: its seed, best and final metrics."""
    rows = []
    for file in sorted(folder.glob("*/result.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        best, final = result["best"], result["final"]
        cells = [f"{values[f'val/{name}']:.3f}" for values in (best, final) for name in ("acc1", "acc5")]
        rows.append([str(result["seed"]), str(result["epochs"]), *cells, str(best["epoch"] + 1)])
    header = ("seed", "epochs", "best top-1", "its top-5", "final top-1", "its top-5", "best epoch")
    return markdown_table(header, rows)


def epoch_times_table(folder: Path) -> str:
    """The times of a plain script's epochs and of `woof fit`'s, taken in turns."""
    rows = {(row["way"], int(row["repeat"])): row for row in _rows(folder / "rows.csv")}
    times = {key: float(row["two_epochs_s"]) for key, row in rows.items()}
    repeats = sorted({repeat for _, repeat in rows})
    table = [
        [
            str(repeat),
            f"{times['plain', repeat]:.0f} s",
            f"{times['fit', repeat]:.0f} s",
            f"{times['fit', repeat] / times['plain', repeat]:.2f}",
            *(f"{float(rows[way, repeat]['val_acc1']):.3f}" for way in ("plain", "fit")),
        ]
        for repeat in repeats
    ]
    return markdown_table(("repeat", "plain script", LABELS[WOOF_FIT], "ratio", "top-1, plain", "top-1, fit"), table)


def cpu_speed_table(folder: Path) -> str:
    """Training speed by precision, layout and allocator; ratios within a repeat, over the first setting."""
    speeds: dict[str, list[float]] = {}
    for row in _rows(folder / "rows.csv"):
        speeds.setdefault(row["setting"], []).append(float(row["images_per_s"]))
    first = next(iter(speeds.values()))
    table = []
    for setting, found in speeds.items():
        ratios = [speed / base for speed, base in zip(found, first, strict=True)]
        spans = (f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})" for values in (found, ratios))
        table.append([setting, *spans])
    return markdown_table(("setting", "images/s, median (range)", f"over {next(iter(speeds))}"), table)


def finders_table(folder: Path) -> str:
    """What each finder suggests for a head with 10 outputs: median and range over the seeds."""
    found: dict[tuple[str, str], list[float | None]] = {}
    for row in _rows(folder / "suggestions.csv"):
        if row["outputs"] == "10":
            suggestion = float(row["suggestion"]) if row["suggestion"] else None
            found.setdefault((row["optimizer"], row["finder"]), []).append(suggestion)
    losses = {(row["optimizer"], row["finder"]): row for row in _rows(folder / "training.csv")}
    medians = {key: median(given) for key, values in found.items() if (given := [v for v in values if v is not None])}
    table = []
    for optimizer, finder in sorted(found.keys() | losses.keys()):
        values, trained = found.get((optimizer, finder), []), losses.get((optimizer, finder))
        given = sorted(value for value in values if value is not None)
        # A rate that no finder gave, the post's, stands in the rows of the trainings only.
        middle = medians.get((optimizer, finder), float(trained["lr"]) if trained and not values else None)
        reference = medians.get((optimizer, "woof_steepest"))
        table.append(
            [
                optimizer,
                finder,
                f"{len(given)} of {len(values)}" if values else "",
                f"{middle:.2g}" if middle else "none",
                f"{given[0]:.2g} to {given[-1]:.2g}" if given else "",
                f"{float(f'{middle / reference:.2g}'):,g}" if middle and reference else "",
                f"{float(trained['loss_last_epoch']):.2f}" if trained else "not run",
            ]
        )
    header = (
        "optimizer",
        "finder",
        "answers",
        "median",
        "range",
        "over woof_steepest",
        "loss, 3rd epoch",
    )
    return markdown_table(header, table)


def clearness_table(folder: Path) -> str:
    """How far the steepest descent of each sweep stands out from the batches' noise, and the rule that decides."""
    found: dict[tuple[str, str], list[tuple[float, str, float]]] = {}
    for file in sorted((folder / "curves").glob("woof-*.csv")):
        _, optimizer, outputs, _ = file.stem.split("-")
        sweep = suggest(read_lr_curve(file).finite())
        row = (sweep.clearness, sweep.suggested_by or "none", sweep.lr or math.nan)
        found.setdefault((optimizer, outputs), []).append(row)
    table = []
    for (optimizer, outputs), sweeps in sorted(found.items()):
        errors, rules, rates = zip(*sweeps, strict=True)
        table.append(
            [
                optimizer,
                outputs,
                ", ".join(f"{error:.1f}" for error in errors),
                ", ".join(f"{rule} ({count})" for rule, count in Counter(rules).items()),
                f"{median(rates):.2g}",
                f"{min(rates):.2g} to {max(rates):.2g}",
            ]
        )
    header = ("optimizer", "outputs", "standard errors, by seed", "decided by", "suggestion, median", "range")
    return markdown_table(header, table)


def heads_table(folder: Path) -> str:
    """The suggestions for heads of 10 and of 1,000 outputs, seed 0."""
    rows = [row for row in _rows(folder / "suggestions.csv") if row["seed"] == "0"]
    found = {(row["optimizer"], row["finder"], row["outputs"]): row["suggestion"] for row in rows}
    table = [
        [optimizer, finder, *(f"{float(value):.2g}" if value else "none" for value in pair)]
        for optimizer, finder in sorted({(o, f) for o, f, _ in found})
        if None not in (pair := [found.get((optimizer, finder, outputs)) for outputs in ("10", "1000")])
    ]
    return markdown_table(("optimizer", "finder", "10 outputs", "1,000 outputs"), table)


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def _rows(file: Path) -> list[dict[str, str]]:
    return read_rows(file) if file.exists() else []


def sweep_speed_table(folder: Path) -> str:
    """The time of a sweep's steps over that of as many training steps, pair by pair."""
    steps_s: dict[tuple[str, str], float] = {}
    call_s: dict[tuple[str, str], float] = {}
    for row in _rows(folder / "speed.csv"):
        key = (row["repeat"], row["way"])
        steps_s[key], call_s[key] = float(row["steps_s"]), float(row["call_s"])
    repeats = sorted({repeat for repeat, _ in steps_s})
    pairs = [
        (
            *(steps_s[repeat, way] for way in ("fit", "sweep")),
            steps_s[repeat, "sweep"] / steps_s[repeat, "fit"],
            call_s[repeat, "sweep"] - call_s[repeat, "fit"],
        )
        for repeat in repeats
    ]
    middle = tuple(map(median, zip(*pairs, strict=True)))
    table = [
        [name, f"{fit_s:.3g} s", f"{sweep_s:.3g} s", f"{ratio:.2f}", f"{more_s:.1f} s"]
        for name, (fit_s, sweep_s, ratio, more_s) in zip([*repeats, "median"], [*pairs, middle], strict=True)
    ]
    header = ("repeat", "steps of fit", "steps of the sweep", "ratio", "extra time of the whole call")
    return markdown_table(header, table)


def parity_table(folder: Path) -> str:
    """What validation says after the same training, for every loop."""
    rows = _rows(folder / "rows.csv")
    table = [[row["setting"], LABELS[row["way"]], row["epochs"], row["val_acc1"], row["val_loss"]] for row in rows]
    return markdown_table(("setting", "loop", "epochs", "val/acc1", "val/loss"), table)


def faults_table(folder: Path) -> str:
    """What became of runs that were killed again and again, by the way that trained them."""
    rows = _rows(folder / "faults.csv")
    table = []
    for way in dict.fromkeys(row["way"] for row in rows):
        of_way = [row for row in rows if row["way"] == way]
        counts = Counter(row["outcome"] for row in of_way)
        parts = (part for row in of_way if row["detail"] for part in row["detail"].split(", "))
        details = dict.fromkeys(re.sub(r"^\d+ ", "", part) for part in parts)
        table.append(
            [
                way,
                str(len(of_way)),
                str(sum(int(row["kills"]) for row in of_way)),
                *(str(counts[outcome]) for outcome in ("equal", "differs", "failed")),
                "; ".join(details),
            ]
        )
    return markdown_table(("way", "runs", "kills", "equal to the bit", "differ", "failed", "what differs"), table)


RESULT_TABLES: dict[str, Callable[[Path], str]] = {
    "runs": runs_table,
    "epoch-times": epoch_times_table,
    "cpu-speed": cpu_speed_table,
    "finders": finders_table,
    "clearness": clearness_table,
    "heads": heads_table,
    "sweep-speed": sweep_speed_table,
    "parity": parity_table,
    "faults": faults_table,
}
