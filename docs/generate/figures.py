"""Figures of README and docs that no verb draws."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from docs.generate.change_tables import heat_map
from docs.generate.front import front_figure
from docs.generate.speed_tables import bars, measured_folders
from woof_lightning.compare.curves import fingerprint
from woof_lightning.compare.draw import COLOURS, save_png
from woof_lightning.compare.read import TOP1, Run, read_run
from woof_lightning.loops.ways import LABELS, WAYS

ROOT = Path(__file__).parents[2]
# The demo, trained in every way: docs/results/parity/measure.py.
DEMO_RUNS = ROOT / "docs" / "results" / "parity" / "demo"
SPEED = ROOT / "docs" / "results" / "speed"
CHANGES = ROOT / "docs" / "results" / "changes"
COST = ROOT / "docs" / "results" / "cost"
FRONT = ROOT / "docs" / "results" / "front.png"
# Each line lies on the one before it, which shows this much on both sides.
RIM_PT = 1.0


def draw_figures() -> None:
    """Draws every figure beside its rows; each file carries the fingerprint of what it shows."""
    figure = ways_together(DEMO_RUNS)
    save_png(figure, DEMO_RUNS / "top1.png", dpi=140, fingerprint=fingerprint(figure.axes[0]))
    for folder in measured_folders(SPEED):
        save_png(bars(folder), folder / "speed.png", dpi=110, fingerprint=rows_fingerprint(folder))
    save_png(heat_map(CHANGES), CHANGES / "heat_map.png", dpi=110, fingerprint=rows_fingerprint(CHANGES))
    save_png(front_figure(COST, CHANGES), FRONT, dpi=130, fingerprint=front_fingerprint())


def rows_fingerprint(folder: Path) -> str:
    """Returns a hash of all rows of a folder."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.glob("*.csv")))).hexdigest()


def front_fingerprint() -> str:
    """Returns a hash of what the figure of the first screen shows."""
    return hashlib.sha256((COST / "summary.json").read_bytes() + rows_fingerprint(CHANGES).encode()).hexdigest()


def ways_together(folder: Path) -> Figure:
    """Returns validation top-1 over epochs, a run and a line a way, each line thinner than the one below it.

    Args:
        folder: Holds the run of each way, in a folder of its name.
    """
    runs = [read_run(folder / way, LABELS[way]) for way in WAYS]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for place, (run, colour) in enumerate(zip(runs, (*COLOURS, "0.75"), strict=True)):
        width_pt = 1.5 + 2 * RIM_PT * (len(runs) - 1 - place)
        axes.plot(run.epochs(TOP1) or [], run.series[TOP1].value, label=run.name, color=colour, linewidth=width_pt)
    axes.set_title(f"One training, {len(runs)} ways: {lines_in_words(runs)}")
    axes.set_xlabel("epochs")
    axes.set_ylabel("validation top-1")
    axes.xaxis.set_major_locator(MultipleLocator(5))
    axes.grid(alpha=0.3)
    for line in axes.legend(loc="lower right").get_lines():
        line.set_linewidth(3)
    return figure


def lines_in_words(runs: Sequence[Run]) -> str:
    """Returns whether all runs have the same top-1 after every epoch."""
    # TensorBoard keeps float32.
    lines = {tuple(round(value, 6) for value in run.series[TOP1].value) for run in runs}
    return "every line is the same" if len(lines) == 1 else f"{len(lines)} different lines"
