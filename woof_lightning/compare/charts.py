"""The figures of `woof compare` as charts that answer to the pointer. Bokeh draws them in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from woof_lightning.compare.curves import limits_without_spikes
from woof_lightning.compare.figures import LOSS, Curve, Shown, singles
from woof_lightning.compare.read import Run

# Seen on a dark ground: the blue is lighter, and the last one, which is black on a light ground, is white.
COLOURS_ON_DARK = ("#2E91D2", "#E8742A", "#15B587", "#D994BA", "#E69F00", "#7CC6F0", "#F2F2F2")
# In the order of curves.LINE_STYLES: the lengths of dashes and gaps, in px.
DASHES: tuple[list[int], ...] = ([], [7, 4], [2, 3], [8, 3, 2, 3])
HEIGHT_PX = 330
# How near to a curve the pointer must be to read it, as the width of a line that is not seen.
REACH_PX = 20
MOST_READ_AT_ONCE = 8
# What page.js sets anew whenever a run is hidden or shown.
SET_BY_THE_PAGE = ("label", "colour", "dash")
TOOLTIP = "<b>@label</b><br>$snap_x{custom}<br>$snap_y{custom}"
READ_X = """
const steps = source.data.steps_per_epoch[special_vars.index];
if (name === "step") return `step ${Math.round(value)}`;
if (name !== "epoch") return `${name} ${+value.toPrecision(4)}`;
return `epoch ${+value.toFixed(2)}` + (steps > 0 ? `, step ${Math.round(value * steps)}` : "");
"""
# In a line, segment_index is the place of the point that is nearest to the pointer.
READ_Y = """
const {index, segment_index: point} = special_vars, {raws} = source.data;
const reported = raws === undefined ? "" : `, reported ${+raws[index][point].toPrecision(5)}`;
return `${name} ${+value.toPrecision(5)}${reported}`;
"""


@dataclass(frozen=True)
class Chart:
    """A chart of the page.

    Args:
        shown: What it shows.
        item: What Bokeh's script embeds, as JSON can hold it.
    """

    shown: Shown
    item: dict[str, Any]


def chart_id(figure: str) -> str:
    """Returns the id of the element that a figure's chart is embedded into."""
    return f"chart-{figure}"


def charts_of(shown: Sequence[Shown], runs: Sequence[Run]) -> list[Chart]:
    """Returns the chart of each figure."""
    from bokeh.core.types import ID
    from bokeh.embed import json_item

    return [Chart(one, dict(json_item(_plot(one, runs), ID(chart_id(one.figure.name))))) for one in shown]


def bokeh_script() -> str:
    """Returns the script that draws the charts; it needs no network."""
    from bokeh.resources import Resources

    script, _log_level = Resources(mode="inline", components=["bokeh"]).js_raw
    return str(script)


def _plot(shown: Shown, runs: Sequence[Run]) -> Any:
    """Returns Bokeh's model of a chart. Colours that depend on light and dark are set by page.js."""
    from bokeh.models import AdaptiveTicker, BasicTickFormatter, DataRange1d, Range1d
    from bokeh.plotting import figure

    plot = figure(
        height=HEIGHT_PX,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="box_zoom",  # A double click resets it.
        x_axis_label=shown.x_label,
        y_axis_label=shown.figure.y_label,
        x_range=DataRange1d(range_padding=0.02),
        x_axis_type=shown.figure.x_scale,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
    )
    if shown.counts:
        plot.xaxis.ticker = AdaptiveTicker(
            base=10, mantissas=[1, 2, 5], min_interval=1, desired_num_ticks=8, num_minor_ticks=0
        )
        plot.xaxis.formatter = BasicTickFormatter(use_scientific=False)
    plot.yaxis.formatter = BasicTickFormatter(power_limit_low=-4)
    for axis in plot.axis:
        axis.update(axis_label_text_font_style="normal", axis_label_text_font_size="13px")
        axis.update(
            axis_label_text_font="system-ui", major_label_text_font="system-ui", major_label_text_font_size="12px"
        )
        axis.update(axis_line_color=None, major_tick_line_color=None, minor_tick_line_color=None)
    limits = _limits(shown)
    if limits is not None:
        plot.y_range = Range1d(start=limits[0], end=limits[1])
    _add_curves(plot, shown, runs)
    return plot


def _limits(shown: Shown) -> tuple[float, float] | None:
    """Returns the limits of the y axis if spikes would flatten the losses."""
    if shown.figure.metric != LOSS:
        return None
    points = [curve.points for curve in shown.curves]
    return limits_without_spikes([part for one in points for part in (one.y, one.raw or ())])


def _add_curves(plot: Any, shown: Shown, runs: Sequence[Run]) -> None:
    """Adds the curves of a chart: all lines as one source of data, and all single points as another."""
    from bokeh.models import ColumnDataSource, MultiLine, Scatter
    from bokeh.models.renderers import GlyphRenderer

    order = shown.drawing_order()
    lines = ColumnDataSource(data=_columns(shown, [curve for curve in order if curve.points.has_line], runs))
    dots = ColumnDataSource(data=_dots(shown, [curve for curve in order if not curve.points.has_line], runs))
    renderers = [
        GlyphRenderer(data_source=source, glyph=glyph)
        for source, glyph in (
            (lines, MultiLine(xs="xs", ys="raws", line_color="colour", line_alpha=0.3)),
            (lines, MultiLine(xs="xs", ys="ys", line_color="colour", line_dash="dash", line_width=2)),
            (lines, MultiLine(xs="xs", ys="ys", line_width=REACH_PX, line_alpha=0)),
            (dots, Scatter(x="x", y="y", size=8, line_color=None, fill_color="colour")),
        )
        if source.data["curve"] and (glyph.ys if isinstance(glyph, MultiLine) else "y") in source.data
    ]
    plot.renderers.extend(renderers)
    for renderer in renderers:
        if renderer.glyph.line_alpha == 0 or isinstance(renderer.glyph, Scatter):
            plot.add_tools(_hover(renderer, shown))


def _hover(renderer: Any, shown: Shown) -> Any:
    """Returns the tool that tells the values of the curve under the pointer."""
    from bokeh.models import CustomJSHover, HoverTool

    args = {"source": renderer.data_source}
    return HoverTool(
        renderers=[renderer],
        tooltips=TOOLTIP,
        formatters={
            "$snap_x": CustomJSHover(args=args | {"name": shown.x_value}, code=READ_X),
            "$snap_y": CustomJSHover(args=args | {"name": shown.figure.value}, code=READ_Y),
        },
        limit=MOST_READ_AT_ONCE,
    )


def _columns(shown: Shown, curves: Sequence[Curve], runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the columns of lines: a row per curve."""
    points = [curve.points for curve in curves]
    columns: dict[str, Any] = {
        "curve": [shown.curves.index(curve) for curve in curves],
        "xs": [singles(one.x) for one in points],
        "ys": [singles(one.y) for one in points],
        "steps_per_epoch": [runs[curve.runs[0]].steps_per_epoch or 0 for curve in curves],
    }
    if any(one.raw is not None for one in points):
        columns["raws"] = [singles(one.raw or ()) for one in points]
    return columns | {name: [""] * len(curves) for name in SET_BY_THE_PAGE}


def _dots(shown: Shown, curves: Sequence[Curve], runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the columns of the points of curves that have no line: a row per point."""
    rows = [
        (shown.curves.index(curve), x, y, runs[curve.runs[0]].steps_per_epoch or 0)
        for curve in curves
        for x, y in zip(curve.points.x, curve.points.y, strict=True)
    ]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 4
    return dict(zip(("curve", "x", "y", "steps_per_epoch"), columns, strict=True)) | {
        name: [""] * len(rows) for name in SET_BY_THE_PAGE
    }
