"""Figures of a single run as PNG: confusion matrix and learning-rate sweep."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from woof_lightning.compare.tables import printable
from woof_lightning.runs.folder import writing_durably
from woof_lightning.runs.lr_curve import LRCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette for colour-blind readers: https://jfly.uni-koeln.de/color/
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MOST_IN_LABEL = 40
# More labels and numbers cannot be read, and take minutes to draw.
MOST_LABELS, MOST_INCHES = 40, 25.0


def label(name: str) -> str:
    """Returns a name as a matplotlib label: on one line, shortened if it is long, and not read as a formula."""
    name, half = printable(name), MOST_IN_LABEL // 2
    if len(name) > MOST_IN_LABEL:
        name = f"{name[:half]}…{name[-half:]}"
    # matplotlib hides labels that start with an underscore.
    return f"{' ' if name.startswith('_') else ''}{name}".replace("$", r"\$")


def save_png(figure: Figure, target: Path, *, dpi: int = 120, fingerprint: str | None = None) -> None:
    """Writes a figure as PNG. Characters that the font does not have become boxes; the tables show such names.

    Args:
        figure: The figure.
        target: The file.
        dpi: Its resolution.
        fingerprint: What the file's description says; a test can tell by it whether the figure is up to date.
    """
    metadata = None if fingerprint is None else {"Description": fingerprint}
    with warnings.catch_warnings(), writing_durably(target) as file:
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(file, format="png", dpi=dpi, metadata=metadata)


def draw_confusion(confusion: Sequence[Sequence[int]], breeds: Sequence[str], target: Path) -> None:
    """Draws a confusion matrix.

    Args:
        confusion: confusion[i][j] is the number of images of class i that were classified as class j. Beyond 40
            classes, numbers are left out and only some classes are labelled.
        breeds: The names of the classes. A further column of the matrix is labelled "none of them".
        target: The PNG file.
    """
    # Imported here because importing matplotlib takes longer than drawing.
    from matplotlib.figure import Figure

    columns = [*breeds, "none of them"][: len(confusion[0])]
    side_inch = min(max(6.0, 0.55 * len(breeds) + 3), MOST_INCHES)
    figure = Figure(figsize=(side_inch, side_inch), layout="constrained")
    axes = figure.add_subplot()
    images = [max(1, sum(row)) for row in confusion]
    shares = [[count / images[i] for count in row] for i, row in enumerate(confusion)]
    axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    shown = range(0, len(columns), -(-len(columns) // MOST_LABELS))
    axes.set_xticks(shown, [label(columns[j]) for j in shown], rotation=45, ha="right", rotation_mode="anchor")
    rows = [i for i in shown if i < len(breeds)]
    axes.set_yticks(rows, [label(breeds[i]) for i in rows])
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    axes.set_title("Validation images per class and answer")
    for i, row in enumerate(confusion if len(columns) <= MOST_LABELS else []):
        for j, count in enumerate(row):
            axes.text(j, i, str(count), ha="center", va="center", color="black" if shares[i][j] > 0.6 else "white")
    save_png(figure, target)


def part_that_matters(losses: Sequence[float]) -> tuple[float, float]:
    """Returns the lowest and highest loss of a sweep to draw, since its diverging end would flatten the rest."""
    low, start = min(losses), losses[0]
    margin = max(start - low, 0.05 * abs(start))
    return low - margin, start + 1.5 * margin


def draw_lr_curve(curve: LRCurve, marks: Mapping[str, float], target: Path) -> None:
    """Draws the loss of a learning-rate sweep over the learning rate.

    Args:
        curve: The sweep.
        marks: The learning rates to mark, by label.
        target: The PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.plot(curve.lr, curve.raw_loss, ".", color="0.6", label="loss of each batch")
    axes.plot(curve.lr, curve.loss, color="black", label="smoothed loss")
    for (label, lr), colour, style in zip(marks.items(), COLOURS, ("-", "--", ":"), strict=False):
        axes.axvline(lr, color=colour, linestyle=style, label=f"{label}: {lr:.3g}")
    if curve.finite().loss:
        axes.set_ylim(*part_that_matters(curve.finite().loss))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss (nats)")
    axes.set_title("Learning-rate sweep")
    axes.grid(alpha=0.3)
    # Outside the axes, where it covers no marks.
    figure.legend(loc="outside lower center", ncols=2)
    save_png(figure, target)
