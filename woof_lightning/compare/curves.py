"""The figures of `woof compare` as PNG. A curve has the colour and line style of the first of its runs."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from woof_lightning.compare.draw import COLOURS, label, save_png
from woof_lightning.compare.figures import EQUAL, LOSS, Curve, Shown
from woof_lightning.compare.read import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = dict[str, Any]
LINE_STYLES = ("-", "--", ":", "-.")
# More curves cannot be distinguished by colour and style, and a longer legend would hide the curves.
MOST_IN_LEGEND = len(COLOURS) * len(LINE_STYLES)
# The characters in a line of the legend.
LEGEND_WIDTH = 72


def style_of(run: int) -> Style:
    """Returns the colour and the line style of the run at a place in the comparison.

    Neighbours differ in both, for readers who cannot tell the colours apart: 7 colours and 4 styles have no common
    divisor, so all 28 pairs are used.
    """
    return {"color": COLOURS[run % len(COLOURS)], "linestyle": LINE_STYLES[run % len(LINE_STYLES)]}


def draw_curves(runs: Sequence[Run], shown: Sequence[Shown], out: Path) -> list[Path]:
    """Draws each figure, and returns the PNG files.

    Each file contains a fingerprint of what it shows, as its description.

    Args:
        runs: The runs. Their order decides on their colours.
        shown: The figures.
        out: The folder for the PNG files.
    """
    import matplotlib.figure
    from matplotlib.ticker import MaxNLocator

    drawn = []
    for one in shown:
        figure = matplotlib.figure.Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        order = one.drawing_order()
        for curve in one.curves:
            style = style_of(curve.runs[0]) | {"zorder": 2 + order.index(curve) / len(order)}
            longer = None if curve.begins_like is None else runs[curve.begins_like].name
            draw_curve(axes, curve, legend_label([runs[run].name for run in curve.runs], longer), style)
        axes.set_title(one.figure.title)
        axes.set_xlabel(one.x_label)
        axes.set_ylabel(one.figure.y_label)
        axes.set_xscale(one.figure.x_scale)
        axes.grid(alpha=0.3)
        if one.counts:
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        if one.figure.metric == LOSS:
            cut_spikes(axes)
        add_legend(axes, len(one.curves), sum(len(curve.runs) for curve in one.curves), len(runs))
        drawn.append(out / f"{one.figure.name}.png")
        save_png(figure, drawn[-1], dpi=110, fingerprint=fingerprint(axes))
    return drawn


def draw_curve(axes: Axes, curve: Curve, name: str, style: Style) -> None:
    """Draws a curve: the single reports pale and the smoothed values strong, if it has both."""
    points = curve.points
    if points.raw is not None:
        axes.plot(points.x, points.raw, color=style["color"], alpha=0.25, linewidth=0.7)
    axes.plot(points.x, points.y, label=name, marker="" if points.has_line else ".", **style)


def legend_label(names: Sequence[str], longer: str | None = None) -> str:
    """Returns the entry of a curve in the legend.

    Args:
        names: The names of all its runs.
        longer: The run whose longer curve begins like this one, if there is one.
    """
    shown = [label(name) for name in names[:MOST_IN_LEGEND]]
    more = [f"{len(names) - len(shown)} more"] if len(names) > len(shown) else []
    marks = [EQUAL] * (len(names) > 1) + ([] if longer is None else [f"{EQUAL} to {label(longer)} so far"])
    if not marks:
        return shown[0]
    text = f"{' = '.join([*shown, *more])} ({'; '.join(marks)})"
    return "\n".join(textwrap.wrap(text, LEGEND_WIDTH, break_long_words=False, break_on_hyphens=False))


def cut_spikes(axes: Axes) -> None:
    """Cuts off the highest values if they would flatten all others."""
    limits = limits_without_spikes([line.get_ydata() for line in axes.lines])
    if limits is not None:
        axes.set_ylim(*limits)


def limits_without_spikes(values: Sequence[Any]) -> tuple[float, float] | None:
    """Returns the limits of a y axis that cut off the highest values; None if they do not flatten the others."""
    import numpy as np

    together = np.concatenate([np.asarray(part, dtype=float) for part in values])
    together = together[np.isfinite(together)]
    most = 1.1 * np.quantile(together, 0.99) if len(together) else 0.0
    if not len(together) or together.max() <= 2 * most:
        return None
    return float(together.min() - 0.05 * (most - together.min())), float(most)


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


def add_legend(axes: Axes, curves: int, shown: int, runs: int) -> None:
    """Adds a legend: beside the curves if there are many, none if they cannot be distinguished any more.

    Args:
        axes: The axes.
        curves: The number of curves in this figure.
        shown: The number of runs in this figure.
        runs: The number of runs compared.
    """
    if curves <= len(COLOURS):
        axes.legend(fontsize=9)
    elif curves <= MOST_IN_LEGEND:
        axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    notes = [f"{shown} of {runs} runs"] if shown < runs else []
    notes += [f"{curves} curves are too many to name"] if curves > MOST_IN_LEGEND else []
    if notes:
        axes.annotate("; ".join(notes), (0.01, 0.01), xycoords="axes fraction", fontsize=8, color="0.4")
