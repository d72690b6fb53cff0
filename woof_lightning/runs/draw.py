"""Figures of runs, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from woof_lightning.runs.folder import writing_durably


def draw_confusion(confusion: Sequence[Sequence[int]], breeds: Sequence[str], target: Path) -> None:
    """Draws a confusion matrix.

    Args:
        confusion: confusion[i][j] images of class i were taken for class j.
        breeds: The classes' names; a further column is named "none of them".
        target: The PNG file.
    """
    # Imported here: matplotlib takes longer to import than the rest of this module to run.
    from matplotlib.figure import Figure

    columns = [*breeds, "none of them"][: len(confusion[0])]
    side_inch = max(6.0, 0.55 * len(breeds) + 3)
    figure = Figure(figsize=(side_inch, side_inch), layout="constrained")
    axes = figure.add_subplot()
    shares = [[count / max(1, sum(row)) for count in row] for row in confusion]
    axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(breeds)), breeds)
    axes.set_xlabel("taken for")
    axes.set_ylabel("breed")
    axes.set_title("Validation images per breed and answer")
    for i, row in enumerate(confusion):
        for j, count in enumerate(row):
            axes.text(j, i, str(count), ha="center", va="center", color="black" if shares[i][j] > 0.6 else "white")
    with writing_durably(target) as file:
        figure.savefig(file, format="png", dpi=120)
