"""Tables of docs/results.md: what the post reports beside what `woof fit` and `woof lr-find` give."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import stdev
from typing import Any

from woof_lightning.compare.read import TOP1, TOP5
from woof_lightning.compare.tables import markdown_table
from woof_lightning.loops.ways import LABELS, WOOF_FIT
from woof_lightning.runs.metrics import read_metrics

# The post's experiments in its order, with the best top-1 that it reports.
POST_TOP1 = {"sgd_step": 0.69, "sgd_step_found_lr": 0.78, "sgd_onecycle": 0.795, "adamw_onecycle": 0.826}
NOT_RUN = "not run"
# Seeds of one recipe: how far single runs differ.
SEEDS = Path(__file__).parents[1] / "results" / "imagewoof-128-20epochs"
# 97.5 % quantiles of the normal distribution, and of Student's t by degrees of freedom.
NORMAL, STUDENT = 1.96, {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306}


def experiments_table(folder: Path) -> str:
    """A row an experiment: the post's top-1 and this project's, each with the gain over the row above.

    Args:
        folder: Holds a run's folder for each experiment that was run.
    """
    here = {name: found for name in POST_TOP1 if (found := _json(folder / name / "result.json"))}
    top1 = {name: float(result["best"][TOP1]) for name, result in here.items()}
    rows = []
    for name, above in zip(POST_TOP1, ["", *POST_TOP1], strict=False):
        cells = [NOT_RUN, *[""] * 5]
        if name in here:
            best, final = here[name]["best"], here[name]["final"]
            epoch = f"{best['epoch'] + 1} of {here[name]['epochs']}"
            cells = [f"{top1[name]:.3f}", gain(top1, name, above), epoch, f"{best[TOP5]:.3f}", f"{final[TOP1]:.3f}"]
            cells.append(here[name]["config"]["trainer"]["precision"])
        rows.append([name, f"{POST_TOP1[name]:.3g}", gain(POST_TOP1, name, above), *cells])
    post, ours = ("post, top-1", "gain"), ("here, best top-1", "gain", "its epoch", "its top-5", "final top-1")
    return markdown_table(("experiment", *post, *ours, "precision"), rows)


def beside_post_table(folder: Path, seeds: Path = SEEDS) -> str:
    """A row an experiment: the post's top-1, this project's, and how far single runs would differ by chance.

    Both top-1 are of one run, so an interval is as wide as that of a difference of two. It is twice given: for the
    choice of the images alone, and with that of the seed.

    Args:
        folder: Holds a run's folder for each experiment that was run.
        seeds: Holds runs of one recipe that differ in their seed.
    """
    best = [float(_json(file)["best"][TOP1]) for file in sorted(seeds.glob("*/result.json"))]
    of_seeds = STUDENT[len(best) - 1] * stdev(best)
    rows = []
    for name, post in POST_TOP1.items():
        found = _json(folder / name / "result.json")
        if not found:
            rows.append([name, f"{post:.3g}", NOT_RUN, *[""] * 5])
            continue
        top1 = float(found["best"][TOP1])
        of_images = NORMAL * math.sqrt(top1 * (1 - top1) / found["data"]["val"])
        by_chance = [f"±{100 * math.sqrt(2) * one:.1f}" for one in (of_images, math.hypot(of_images, of_seeds))]
        epoch = f"{found['best']['epoch'] + 1} of {found['epochs']}"
        cells = [f"{top1:.3f}", f"{100 * (top1 - post):+.1f}", *by_chance, f"{found['best'][TOP5]:.3f}", epoch]
        rows.append([name, f"{post:.3g}", *cells])
    chance = ("95 %, images", "95 %, images and seed")
    header = ("experiment", "post, top-1", "here, best top-1", "difference, points", *chance, "top-5", "its epoch")
    return markdown_table(header, rows)


def gain(top1: Mapping[str, float], name: str, above: str) -> str:
    """What an experiment gains over the one above, in points; empty where that one is not known."""
    return f"{100 * (top1[name] - top1[above]):+.1f}" if above in top1 else ""


def sweeps_table(folder: Path) -> str:
    """What each run's sweep suggests, by every rule of `woof lr-find`; the one to follow is bold."""
    rules = ("steepest", "valley", "lightning")
    rows = []
    for file in sorted(folder.glob("*/lr_find/result.json")):
        found = _json(file)
        rates = {rule: "none" if found[rule] is None else f"{found[rule]:.2g}" for rule in rules}
        if found["suggested_by"] is not None:
            rates[found["suggested_by"]] = f"**{rates[found['suggested_by']]}**"
        rows.append([file.parts[-3], str(found["points"]), *rates.values()])
    return markdown_table(("config", "steps", "steepest", "valley", "Lightning's own"), rows)


def first_epochs_table(folder: Path) -> str:
    """The validations that two runs share, every digit: `woof fit`'s and the hand-rolled loop's of the same recipe."""
    fit, by_hand = (validations(folder / name) for name in ("adamw_onecycle", "adamw_onecycle-hand_rolled"))
    rows = [
        [str(epoch + 1), *(repr(values[epoch][name]) for name in (TOP1, "val/loss") for values in (fit, by_hand))]
        for epoch in sorted(fit.keys() & by_hand.keys())
    ]
    header = (f"{metric}, {LABELS[way]}" for metric in ("top-1", "loss") for way in (WOOF_FIT, "hand_rolled"))
    return markdown_table(("epoch", *header), rows)


def validations(run: Path) -> dict[int, dict[str, float]]:
    """The rows of a run's metrics.csv that end an epoch, by epoch."""
    return {int(row["epoch"]): row for row in read_metrics(run / "metrics.csv") if TOP1 in row}


def _json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


POST_TABLES: dict[str, Callable[[Path], str]] = {
    "experiments": experiments_table,
    "beside-post": beside_post_table,
    "sweeps": sweeps_table,
    "first-epochs": first_epochs_table,
}
