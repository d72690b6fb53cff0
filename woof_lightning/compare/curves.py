"""Figures of `woof compare`: a run has one colour and line style in all of them."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from woof_lightning.compare.draw import COLOURS, part_that_matters
from woof_lightning.compare.read import TOP1, TOP5, Run
from woof_lightning.runs.folder import writing_durably

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = dict[str, Any]
Draw = Callable[[bool, "Axes", Run, Style], bool]
LINE_STYLES = ("-", "--", ":", "-.")
# So many runs can be told apart by colour and style; with more, a legend would hide the curves.
MOST_IN_LEGEND = len(COLOURS) * len(LINE_STYLES)
# Over so much the loss is smoothed: in epochs, so that runs that report at other rates lag alike, or in reports.
SMOOTHED_EPOCHS, SMOOTHED_REPORTS = 1.0, 10.0
MOST_IN_LABEL = 40
# The first line's width and the last one's where lines lie on each other: the thin one lies on the thick one.
WIDEST, THINNEST = 8.0, 1.2


@dataclass(frozen=True)
class Drawn:
    """A figure on the disk.

    Args:
        file: The PNG.
        title: What it shows.
    """

    file: Path
    title: str


def style_of(place: int) -> Style:
    """The colour and the line style of a run."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": LINE_STYLES[place // len(COLOURS) % len(LINE_STYLES)]}


def draw_metric(name: str, by_epoch: bool, axes: Axes, run: Run, style: Style) -> bool:
    """Draws a metric over epochs or steps; tells whether the run has it."""
    if name not in run.series:
        return False
    across, values = places(run, name, by_epoch), run.series[name].value
    if across is None:
        return False
    axes.plot(across, values, label=label_of(run), marker=marker_of(values), **style)
    return True


def draw_loss(by_epoch: bool, axes: Axes, run: Run, style: Style) -> bool:
    """Draws the training loss, each report pale and smoothed strong; over epochs or steps."""
    if "train/loss" not in run.series:
        return False
    across, values = places(run, "train/loss", by_epoch), run.series["train/loss"].value
    if across is None:
        return False
    axes.plot(across, values, color=style["color"], alpha=0.25, linewidth=0.7)
    over = SMOOTHED_EPOCHS if by_epoch else SMOOTHED_REPORTS
    smooth = smoothed(values, across if by_epoch else range(len(values)), over)
    axes.plot(across, smooth, label=label_of(run), marker=marker_of(values), **style)
    return True


def draw_over_time(_: bool, axes: Axes, run: Run, style: Style) -> bool:
    """Draws top-1 over the time spent."""
    series = run.series.get(TOP1)
    if series is None or not series.elapsed_s:
        return False
    axes.plot(
        [elapsed_s / 60 for elapsed_s in series.elapsed_s], series.value, label=label_of(run), marker=".", **style
    )
    return True


def draw_sweep(_: bool, axes: Axes, run: Run, style: Style) -> bool:
    """Draws the loss of a learning-rate sweep, up to where it explodes."""
    curve = None if run.sweep is None else run.sweep.finite()
    if curve is None or not curve.loss:
        return False
    most = part_that_matters(curve.loss)[1]
    end = next((place for place, loss in enumerate(curve.loss) if loss > most), len(curve))
    axes.set_xscale("log")
    losses = curve.loss[:end]
    axes.plot(curve.lr[:end], losses, label=label_of(run), marker=marker_of(losses), **style)
    return True


def places(run: Run, name: str, by_epoch: bool) -> list[float] | None:
    """Where a metric's values lie across; None where they count epochs and it cannot be told of how many steps."""
    return run.epochs(name) if by_epoch else run.steps(name)


def marker_of(values: Sequence[float]) -> str:
    """A dot where there is no line: that needs two values side by side."""
    return "" if any(math.isfinite(one) and math.isfinite(other) for one, other in pairwise(values)) else "."


def smoothed(values: Sequence[float], across: Sequence[float], over: float) -> list[float]:
    """Exponential means, without the bias of starting at 0; a value that is not finite counts for nothing.

    Args:
        values: What is smoothed.
        across: Where each value lies, rising.
        over: The distance at which a value counts for 1/e of a new one.
    """
    mean, weight, found = 0.0, 0.0, []
    gaps = [later - earlier for earlier, later in pairwise(across)]
    for value, gap in zip(values, [*(gaps[:1] or [over]), *gaps], strict=False):
        if not math.isfinite(value):
            found.append(value)
            continue
        share = -math.expm1(-gap / over)
        mean += share * (value - mean)
        weight += share * (1 - weight)
        found.append(mean / weight)
    return found


def label_of(run: Run) -> str:
    """A run's name for matplotlib: a dollar begins no formula, an underscore hides nothing, a long one is cut."""
    name, half = run.name, MOST_IN_LABEL // 2
    if len(name) > MOST_IN_LABEL:
        name = f"{name[:half]}…{name[-half:]}"
    return f"{' ' if name.startswith('_') else ''}{name}".replace("$", r"\$")


@dataclass(frozen=True)
class Figure:
    """What a figure shows.

    Args:
        name: Its file's name without the ending.
        title: What stands above it.
        across: What lies across; by default epochs, or steps where one of its runs cannot count epochs.
        up: What goes up, with its unit.
        draw: Draws a run; tells whether the run has anything to draw.
        metric: The metric that decides on epochs or steps.
        same_lines: Whether several runs often have the very same line.
    """

    name: str
    title: str
    up: str
    draw: Draw
    metric: str = ""
    across: str = ""
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
        across="minutes of training and validation",
    ),
    Figure("lr_find", "Learning-rate sweep, smoothed", "training loss (nats)", draw_sweep, across="learning rate"),
)  # fmt: skip


def draw_curves(runs: Sequence[Run], out: Path) -> list[Drawn]:
    """Draws each figure for which at least one run has values; each file carries the fingerprint of what it shows.

    Args:
        runs: The runs; their place decides on their colour.
        out: The folder for the PNG files. A figure of an earlier comparison for which there are no values is removed.
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
        axes.set_xlabel(shown.across or ("epochs" if by_epoch else "optimizer steps"))
        axes.set_ylabel(shown.up)
        axes.grid(alpha=0.3)
        if shown.metric == "train/loss":
            cut_spikes(axes)
        add_legend(axes, count, len(runs))
        with writing_durably(target) as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # The font has not every script's; the tables have the name.
            figure.savefig(file, format="png", dpi=110, metadata={"Description": fingerprint(axes)})
        drawn.append(Drawn(target, shown.title))
    return drawn


def widths_of(count: int) -> list[float | None]:
    """The widths of so many lines, each thinner than the one below it by the same factor; one alone is as others."""
    if count == 1:
        return [None]
    return [WIDEST * (THINNEST / WIDEST) ** (place / (count - 1)) for place in range(count)]


def cut_spikes(axes: Axes) -> None:
    """Lets the highest values leave the figure where they would flatten all others."""
    import numpy as np

    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    values = values[np.isfinite(values)]
    most = 1.1 * np.quantile(values, 0.99) if len(values) else 0.0
    if len(values) and values.max() > 2 * most:
        axes.set_ylim(values.min() - 0.05 * (most - values.min()), most)


def fingerprint(axes: Axes) -> str:
    """A hash of words, scales, and the lines' names, looks and points: the same whatever version draws them."""
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
    """Names the runs, beside the curves where they are many, as long as they can be told apart."""
    if shown <= len(COLOURS):
        axes.legend(fontsize=9)
    elif shown <= MOST_IN_LEGEND:
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    notes = [f"{shown} of {runs} runs"] if shown < runs else []
    notes += [f"{shown} runs are too many to name"] if shown > MOST_IN_LEGEND else []
    if notes:
        axes.annotate("; ".join(notes), (0.01, 0.01), xycoords="axes fraction", fontsize=8, color="0.4")
