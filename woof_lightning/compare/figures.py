"""What each figure of `woof compare` shows: curves, of which those that are equal are one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from woof_lightning.compare.draw import part_that_matters
from woof_lightning.compare.read import TOP1, TOP5, Run

if TYPE_CHECKING:
    from numpy import floating
    from numpy.typing import NDArray

# The scale of the smoothing of the loss: in epochs, so that it does not depend on how often a run reports; in reports
# if the epochs are unknown.
SMOOTHED_EPOCHS, SMOOTHED_REPORTS = 1.0, 10.0
EPOCHS, STEPS = "epochs", "optimizer steps"
LOSS = "train/loss"
EQUAL = "equal"


@dataclass(frozen=True)
class Points:
    """The points of a run in a figure.

    Args:
        x: Epochs, steps, minutes or learning rates.
        y: The values, smoothed if `raw` has the single ones.
        raw: The single reports at the same x; None if the values are not smoothed.
    """

    x: Sequence[float]
    y: Sequence[float]
    raw: Sequence[float] | None = None

    @property
    def has_line(self) -> bool:
        """Whether the points give a line, which needs two finite neighbours."""
        return any(math.isfinite(one) and math.isfinite(other) for one, other in pairwise(self.y))


@dataclass(frozen=True)
class Curve:
    """A curve of one run, or of several whose points are equal.

    Args:
        runs: The places of its runs in the comparison.
        points: Its points.
        begins_like: A run whose longer curve begins with these points; None if there is none.
    """

    runs: tuple[int, ...]
    points: Points
    begins_like: int | None = None


# Returns the points of a run over epochs (True) or steps (False); None if it has none, or its epochs are unknown.
PointsOf = Callable[[bool, Run], "Points | None"]


@dataclass(frozen=True)
class Figure:
    """The description of a figure.

    Args:
        name: The name of its file without the ending.
        title: The title above it.
        y_label: The label of the y axis, with its unit.
        value: What a value is called beside a run's name.
        points_of: The function that returns the points of a run.
        metric: The metric that decides on epochs or steps.
        x_label: The label of the x axis; by default epochs, or steps if the epochs of a run are unknown.
        x_value: What an x is called beside a run's name, if the axis has a label of its own.
        x_scale: The scale of the x axis.
    """

    name: str
    title: str
    y_label: str
    value: str
    points_of: PointsOf
    metric: str = ""
    x_label: str = ""
    x_value: str = ""
    x_scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class Shown:
    """A figure with its curves.

    Args:
        figure: Its description.
        x_label: The label of its x axis.
        curves: Its curves, in the order of their first runs.
    """

    figure: Figure
    x_label: str
    curves: list[Curve]

    @property
    def counts(self) -> bool:
        """Whether the x axis counts epochs or steps, so that its ticks are whole numbers."""
        return self.x_label in (EPOCHS, STEPS)

    @property
    def x_value(self) -> str:
        """What an x is called beside a run's name."""
        return {EPOCHS: "epoch", STEPS: "step"}.get(self.x_label, self.figure.x_value)

    def drawing_order(self) -> list[Curve]:
        """Returns the curves, longest first: a run that was cut lies on top of the one that it began like."""
        return sorted(self.curves, key=lambda curve: -max(curve.points.x))


def metric_points(name: str, by_epoch: bool, run: Run) -> Points | None:
    """Returns a metric over epochs or steps."""
    if name not in run.series:
        return None
    x = run.epochs(name) if by_epoch else run.steps(name)
    return None if x is None else Points(x, run.series[name].value)


def loss_points(by_epoch: bool, run: Run) -> Points | None:
    """Returns the training loss over epochs or steps, smoothed."""
    single = metric_points(LOSS, by_epoch, run)
    if single is None:
        return None
    over = SMOOTHED_EPOCHS if by_epoch else SMOOTHED_REPORTS
    places = single.x if by_epoch else range(len(single.y))
    return Points(single.x, smoothed(single.y, places, over), single.y)


def points_over_time(_: bool, run: Run) -> Points | None:
    """Returns top-1 over the minutes of training and validation."""
    series = run.series.get(TOP1)
    if series is None or not series.elapsed_s:
        return None
    return Points([elapsed_s / 60 for elapsed_s in series.elapsed_s], series.value)


def sweep_points(_: bool, run: Run) -> Points | None:
    """Returns the loss of a learning-rate sweep until it diverges."""
    curve = None if run.sweep is None else run.sweep.finite()
    if curve is None or not curve.loss:
        return None
    most = part_that_matters(curve.loss)[1]
    end = next((place for place, loss in enumerate(curve.loss) if loss > most), len(curve))
    return Points(curve.lr[:end], curve.loss[:end])


FIGURES = (
    Figure("top1", "Validation top-1", "fraction of the images", "top-1", partial(metric_points, TOP1), TOP1),
    Figure("top5", "Validation top-5", "fraction of the images", "top-5", partial(metric_points, TOP5), TOP5),
    Figure("loss", "Training loss: pale each report, strong smoothed", "nats", "smoothed loss", loss_points, LOSS),
    Figure("lr", "Learning rate", "learning rate", "learning rate", partial(metric_points, "lr"), "lr"),
    Figure(
        "momentum", "Momentum, or AdamW's first beta", "momentum", "momentum", partial(metric_points, "momentum"),
        "momentum",
    ),
    Figure(
        "top1_over_time", "Validation top-1 over time", "fraction of the images", "top-1", points_over_time,
        x_label="minutes of training and validation", x_value="minute",
    ),
    Figure(
        "lr_find", "Learning-rate sweep, smoothed", "training loss (nats)", "loss", sweep_points,
        x_label="learning rate", x_value="learning rate", x_scale="log",
    ),
)  # fmt: skip
# Runs with equal curves in all of these have equal results.
RESULTS = ("top1", "top5", "loss")


def shown_figures(runs: Sequence[Run]) -> list[Shown]:
    """Returns the figures that at least one run has points for."""
    found = []
    for figure in FIGURES:
        by_epoch = all(run.epochs(figure.metric) is not None for run in runs if figure.metric in run.series)
        curves = curves_of([figure.points_of(by_epoch, run) for run in runs])
        if curves:
            found.append(Shown(figure, figure.x_label or (EPOCHS if by_epoch else STEPS), curves))
    return found


def curves_of(points: Sequence[Points | None]) -> list[Curve]:
    """Returns the curves of the runs' points. Points are equal if they are so in single precision."""
    found: dict[tuple[bytes, ...], Curve] = {}
    for run, of_run in enumerate(points):
        if of_run is not None:
            key = tuple(singles(part).tobytes() for part in (of_run.x, of_run.y, of_run.raw or ()))
            earlier = found.get(key, Curve((), of_run))
            found[key] = replace(earlier, runs=(*earlier.runs, run))
    return [replace(curve, begins_like=_longer(key, found)) for key, curve in found.items()]


def _longer(key: tuple[bytes, ...], curves: dict[tuple[bytes, ...], Curve]) -> int | None:
    """Returns the first run of a longer curve that begins with the points of this one."""
    longer = (
        curve.runs[0]
        for other, curve in curves.items()
        if other != key and all(long.startswith(short) for long, short in zip(other, key, strict=True))
    )
    return next(longer, None)


def singles(values: Sequence[float]) -> NDArray[floating]:
    """Returns numbers in single precision, which is what TensorBoard stores; in double if one would overflow."""
    import numpy as np

    double = np.asarray(values, dtype=np.float64) + 0.0  # -0.0 becomes 0.0.
    double[np.isnan(double)] = np.nan  # Any NaN becomes the same.
    with np.errstate(over="ignore"):
        single = double.astype(np.float32)
    return single if np.array_equal(np.isfinite(single), np.isfinite(double)) else double


def equal_runs(shown: Sequence[Shown], count: int) -> list[int]:
    """Returns, for each run, the place of its group, numbered in the order of the runs.

    Runs are in one group if their top-1, top-5 and training loss are the same at every step. A run without any of
    these is alone.

    Args:
        shown: The figures.
        count: The number of runs.
    """
    of_run: list[list[int | None]] = [[] for _ in range(count)]
    for figure in shown:
        if figure.figure.name in RESULTS:
            curve_of = {run: place for place, curve in enumerate(figure.curves) for run in curve.runs}
            for run, curves in enumerate(of_run):
                curves.append(curve_of.get(run))
    groups: dict[tuple[object, ...], int] = {}
    for run, curves in enumerate(of_run):
        key = tuple(curves) if any(curve is not None for curve in curves) else ("alone", run)
        groups.setdefault(key, len(groups))
        of_run[run] = [groups[key]]
    return [group for (group,) in of_run if group is not None]


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
