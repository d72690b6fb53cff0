"""Figures of `woof compare`: a run has one colour and line style in all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from woof_lightning.runs.draw import COLOURS
from woof_lightning.runs.folder import writing_durably
from woof_lightning.runs.read import TOP1, TOP5, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = dict[str, Any]
Draw = Callable[["Axes", Run, Style], bool]
LINE_STYLES = ("-", "--", ":", "-.")
# So many runs can be told apart by colour and style; with more, a legend would hide the curves.
MOST_IN_LEGEND = len(COLOURS) * len(LINE_STYLES)
# Of each new value in the smoothed loss; its bias towards the start is divided out.
NEW_SHARE = 0.1


@dataclass(frozen=True)
class Drawn:
    """A figure on the disk.

    Args:
        file: The PNG.
        title: What it shows.
    """

    file: Path
    title: str


def draw_curves(runs: Sequence[Run], out: Path) -> list[Drawn]:
    """Draws each figure for which at least one run has values; each file carries the fingerprint of its lines.

    Args:
        runs: The runs; their place decides on their colour.
        out: The folder for the PNG files.
    """
    by_epoch = all(run.steps_per_epoch is not None for run in runs if run.series)

    def metric(name: str) -> Draw:
        return partial(draw_metric, name, by_epoch)

    figures: tuple[tuple[str, str, str, Draw], ...] = (
        ("top1", "Validation top-1", "fraction of the images", metric(TOP1)),
        ("top5", "Validation top-5", "fraction of the images", metric(TOP5)),
        ("loss", "Training loss, smoothed over single batches", "nats", partial(draw_loss, by_epoch)),
        ("lr", "Learning rate", "learning rate", metric("lr")),
        ("momentum", "Momentum, or AdamW's first beta", "momentum", metric("momentum")),
        ("top1_over_time", "Validation top-1 over time", "fraction of the images", draw_over_time),
        ("lr_find", "Learning-rate sweep, smoothed", "training loss (nats)", draw_sweep),
    )
    labels = {"top1_over_time": "minutes of training and validation", "lr_find": "learning rate"}
    drawn = []
    for name, title, unit, draw in figures:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        shown = [draw(axes, run, style_of(place)) for place, run in enumerate(runs)]
        if not any(shown):
            continue
        axes.set_title(title)
        axes.set_xlabel(labels.get(name, "epochs" if by_epoch else "optimizer steps"))
        axes.set_ylabel(unit)
        axes.grid(alpha=0.3)
        add_legend(axes, sum(shown), len(runs))
        with writing_durably(out / f"{name}.png") as file:
            figure.savefig(file, format="png", dpi=110, metadata={"Description": fingerprint(axes)})
        drawn.append(Drawn(out / f"{name}.png", title))
    return drawn


def fingerprint(axes: Axes) -> str:
    """A hash of the lines' names and points: the same values give the same hash, whatever draws them."""
    import numpy as np

    lines = [(str(line.get_label()), np.asarray(line.get_xydata(), dtype=float).tolist()) for line in axes.lines]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def style_of(place: int) -> Style:
    """The colour and the line style of a run."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": LINE_STYLES[place // len(COLOURS) % len(LINE_STYLES)]}


def draw_metric(name: str, by_epoch: bool, axes: Axes, run: Run, style: Style) -> bool:
    """Draws a metric over epochs or steps; tells whether the run has it."""
    if name not in run.series:
        return False
    marker = "." if len(run.series[name].value) == 1 else ""  # A line needs two points.
    axes.plot(places(run, name, by_epoch), run.series[name].value, label=run.name, marker=marker, **style)
    return True


def draw_loss(by_epoch: bool, axes: Axes, run: Run, style: Style) -> bool:
    """Draws the training loss, each report pale and smoothed strong."""
    if "train/loss" not in run.series:
        return False
    across, values = places(run, "train/loss", by_epoch), run.series["train/loss"].value
    axes.plot(across, values, color=style["color"], alpha=0.25, linewidth=0.7)
    axes.plot(across, smoothed(values), label=run.name, **style)
    return True


def draw_over_time(axes: Axes, run: Run, style: Style) -> bool:
    """Draws top-1 over the time spent."""
    series = run.series.get(TOP1)
    if series is None or not series.elapsed_s:
        return False
    axes.plot([elapsed_s / 60 for elapsed_s in series.elapsed_s], series.value, label=run.name, marker=".", **style)
    return True


def draw_sweep(axes: Axes, run: Run, style: Style) -> bool:
    """Draws the loss of a learning-rate sweep, up to where it explodes."""
    if run.sweep is None:
        return False
    curve = run.sweep.finite()
    most = 1.5 * curve.loss[0] if curve.loss else 0.0
    end = next((place for place, loss in enumerate(curve.loss) if loss > most), len(curve))
    axes.set_xscale("log")
    axes.plot(curve.lr[:end], curve.loss[:end], label=run.name, **style)
    return True


def places(run: Run, name: str, by_epoch: bool) -> list[float]:
    """Where a metric's values lie across."""
    epochs = run.epochs(name) if by_epoch else None
    return run.steps(name) if epochs is None else epochs


def smoothed(values: Sequence[float], new_share: float = NEW_SHARE) -> list[float]:
    """Exponential means, without the bias of starting at 0."""
    mean, weight, found = 0.0, 0.0, []
    for value in values:
        mean += new_share * (value - mean)
        weight += new_share * (1 - weight)
        found.append(mean / weight)
    return found


def add_legend(axes: Axes, shown: int, runs: int) -> None:
    """Names the runs, as long as they can be told apart."""
    if shown <= MOST_IN_LEGEND:
        axes.legend(fontsize=9 if shown <= len(COLOURS) else 6)
    if shown > MOST_IN_LEGEND or shown < runs:
        text = f"{shown} of {runs} runs" if shown < runs else f"{shown} runs"
        axes.annotate(text, (0.01, 0.01), xycoords="axes fraction", fontsize=8, color="0.4")
