"""The figures of `woof compare`. Each run has the same colour and line style in all of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from woof_lightning.compare.draw import COLOURS, label, part_that_matters, save_png
from woof_lightning.compare.read import TOP1, TOP5, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = dict[str, Any]
# Draws a run in a style, over epochs (True) or steps (False), and returns whether the run has anything to draw.
Draw = Callable[[bool, "Axes", Run, Style], bool]
LINE_STYLES = ("-", "--", ":", "-.")
# More runs cannot be distinguished by colour and style, and a longer legend would hide the curves.
MOST_IN_LEGEND = len(COLOURS) * len(LINE_STYLES)
# The scale of the smoothing of the loss: in epochs, so that it does not depend on how often a run reports; in reports
# if the epochs are unknown.
SMOOTHED_EPOCHS, SMOOTHED_REPORTS = 1.0, 10.0
# If several runs often have the same line, each line is thinner than the one below it, so that all can be seen.
WIDEST, THINNEST = 8.0, 1.2


@dataclass(frozen=True)
class Drawn:
    """A figure on the disk.

    Args:
        file: The PNG file.
        title: What it shows.
    """

    file: Path
    title: str


def style_of(place: int) -> Style:
    """Returns the colour and the line style of the run at a place in the list."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": LINE_STYLES[place // len(COLOURS) % len(LINE_STYLES)]}


def draw_metric(name: str, by_epoch: bool, axes: Axes, run: Run, style: Style) -> bool:
    """Draws a metric over epochs or steps.

    Args:
        name: The metric.
        by_epoch: Whether to draw over epochs instead of steps.
        axes: The axes to draw into.
        run: The run.
        style: The colour, line style and line width of the run.

    Returns:
        Whether the run has the metric, and its epochs or steps are known.
    """
    if name not in run.series:
        return False
    x, values = x_values(run, name, by_epoch), run.series[name].value
    if x is None:
        return False
    axes.plot(x, values, label=label(run.name), marker=marker_of(values), **style)
    return True


def draw_loss(by_epoch: bool, axes: Axes, run: Run, style: Style) -> bool:
    """Draws the training loss over epochs or steps: the single reports pale, the smoothed loss strong."""
    if "train/loss" not in run.series:
        return False
    x, values = x_values(run, "train/loss", by_epoch), run.series["train/loss"].value
    if x is None:
        return False
    axes.plot(x, values, color=style["color"], alpha=0.25, linewidth=0.7)
    over = SMOOTHED_EPOCHS if by_epoch else SMOOTHED_REPORTS
    smooth = smoothed(values, x if by_epoch else range(len(values)), over)
    axes.plot(x, smooth, label=label(run.name), marker=marker_of(values), **style)
    return True


def draw_over_time(_: bool, axes: Axes, run: Run, style: Style) -> bool:
    """Draws top-1 over the time of training and validation."""
    series = run.series.get(TOP1)
    if series is None or not series.elapsed_s:
        return False
    axes.plot(
        [elapsed_s / 60 for elapsed_s in series.elapsed_s], series.value, label=label(run.name), marker=".", **style
    )
    return True


def draw_sweep(_: bool, axes: Axes, run: Run, style: Style) -> bool:
    """Draws the loss of a learning-rate sweep until it diverges."""
    curve = None if run.sweep is None else run.sweep.finite()
    if curve is None or not curve.loss:
        return False
    most = part_that_matters(curve.loss)[1]
    end = next((place for place, loss in enumerate(curve.loss) if loss > most), len(curve))
    axes.set_xscale("log")
    losses = curve.loss[:end]
    axes.plot(curve.lr[:end], losses, label=label(run.name), marker=marker_of(losses), **style)
    return True


def x_values(run: Run, name: str, by_epoch: bool) -> list[float] | None:
    """Returns the epochs or the steps of a metric's values; None if they are unknown."""
    return run.epochs(name) if by_epoch else run.steps(name)


def marker_of(values: Sequence[float]) -> str:
    """Returns a dot if the values give no line, which needs two finite neighbours; otherwise no marker."""
    return "" if any(math.isfinite(one) and math.isfinite(other) for one, other in pairwise(values)) else "."


def smoothed(values: Sequence[float], x: Sequence[float], over: float) -> list[float]:
    """Returns exponential moving averages, corrected for the bias of starting at 0.

    Values that are NaN or infinite are kept and do not affect the others.

    Args:
        values: The values to smooth.
        x: The position of each value, increasing.
        over: The distance in x at which the weight of a value falls to 1/e.
    """
    mean, weight, found = 0.0, 0.0, []
    gaps = [later - earlier for earlier, later in pairwise(x)]
    for value, gap in zip(values, [*(gaps[:1] or [over]), *gaps], strict=False):
        if not math.isfinite(value):
            found.append(value)
            continue
        share = -math.expm1(-gap / over)
        mean += share * (value - mean)
        weight += share * (1 - weight)
        found.append(mean / weight)
    return found


@dataclass(frozen=True)
class Figure:
    """The description of a figure.

    Args:
        name: The name of its file without the ending.
        title: The title above it.
        y_label: The label of the y axis, with its unit.
        draw: The function that draws a run.
        metric: The metric that decides on epochs or steps.
        x_label: The label of the x axis; by default epochs, or steps if the epochs of a run are unknown.
        same_lines: Whether several runs often have the same line.
    """

    name: str
    title: str
    y_label: str
    draw: Draw
    metric: str = ""
    x_label: str = ""
    same_lines: bool = False


FIGURES = (
    Figure("top1", "Validation top-1", "fraction of the images", partial(draw_metric, TOP1), TOP1),
    Figure("top5", "Validation top-5", "fraction of the images", partial(draw_metric, TOP5), TOP5),
    Figure("loss", "Training loss: pale each report, strong smoothed", "nats", draw_loss, "train/loss"),
    Figure("lr", "Learning rate", "learning rate", partial(draw_metric, "lr"), "lr", same_lines=True),
    Figure(
        "momentum", "Momentum, or AdamW's first beta", "momentum", partial(draw_metric, "momentum"), "momentum",
        same_lines=True,
    ),
    Figure(
        "top1_over_time", "Validation top-1 over time", "fraction of the images", draw_over_time,
        x_label="minutes of training and validation",
    ),
    Figure("lr_find", "Learning-rate sweep, smoothed", "training loss (nats)", draw_sweep, x_label="learning rate"),
)  # fmt: skip


def draw_curves(runs: Sequence[Run], out: Path) -> list[Drawn]:
    """Draws each figure that at least one run has values for, and returns the figures.

    Each PNG file contains a fingerprint of what it shows, as its description.

    Args:
        runs: The runs. Their order decides on their colours.
        out: The folder for the PNG files. Figures that no run has values for are removed from it.
    """
    import matplotlib.figure

    drawn = []
    for shown in FIGURES:
        figure = matplotlib.figure.Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        by_epoch = all(run.epochs(shown.metric) is not None for run in runs if shown.metric in run.series)
        widths = widths_of(len(runs)) if shown.same_lines else [None] * len(runs)
        count = sum(
            shown.draw(by_epoch, axes, run, style_of(place) | {"linewidth": width})
            for place, (run, width) in enumerate(zip(runs, widths, strict=True))
        )
        target = out / f"{shown.name}.png"
        if not count:
            target.unlink(missing_ok=True)
            continue
        axes.set_title(shown.title)
        axes.set_xlabel(shown.x_label or ("epochs" if by_epoch else "optimizer steps"))
        axes.set_ylabel(shown.y_label)
        axes.grid(alpha=0.3)
        if shown.metric == "train/loss":
            cut_spikes(axes)
        add_legend(axes, count, len(runs))
        save_png(figure, target, dpi=110, fingerprint=fingerprint(axes))
        drawn.append(Drawn(target, shown.title))
    return drawn


def widths_of(count: int) -> list[float | None]:
    """Returns the widths of overlapping lines, each thinner than the one below it; a single line has the default."""
    if count == 1:
        return [None]
    return [WIDEST * (THINNEST / WIDEST) ** (place / (count - 1)) for place in range(count)]


def cut_spikes(axes: Axes) -> None:
    """Cuts off the highest values if they would flatten all others."""
    import numpy as np

    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    values = values[np.isfinite(values)]
    most = 1.1 * np.quantile(values, 0.99) if len(values) else 0.0
    if len(values) and values.max() > 2 * most:
        axes.set_ylim(values.min() - 0.05 * (most - values.min()), most)


def fingerprint(axes: Axes) -> str:
    """Returns a hash of titles, labels, scales and lines, which does not depend on the version of matplotlib."""
    import numpy as np

    lines = [
        (
            *(str(line.get_label()), str(line.get_color()), str(line.get_linestyle()), line.get_alpha()),
            *(line.get_linewidth(), str(line.get_marker())),
            np.asarray(line.get_xydata(), dtype=float).tolist(),
        )
        for line in axes.lines
    ]
    words = (axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale(), axes.get_yscale())
    return hashlib.sha256(json.dumps([words, lines]).encode()).hexdigest()


def add_legend(axes: Axes, shown: int, runs: int) -> None:
    """Adds a legend: beside the curves if there are many runs, none if they cannot be distinguished any more.

    Args:
        axes: The axes.
        shown: The number of runs in this figure.
        runs: The number of runs compared.
    """
    if shown <= len(COLOURS):
        axes.legend(fontsize=9)
    elif shown <= MOST_IN_LEGEND:
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    notes = [f"{shown} of {runs} runs"] if shown < runs else []
    notes += [f"{shown} runs are too many to name"] if shown > MOST_IN_LEGEND else []
    if notes:
        axes.annotate("; ".join(notes), (0.01, 0.01), xycoords="axes fraction", fontsize=8, color="0.4")
