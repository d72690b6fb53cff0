"""The figures of `woof cost`, drawn from its summary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from woof_lightning.compare.draw import COLOURS, save_png
from woof_lightning.compare.tables import three_digits
from woof_lightning.cost.features import FEATURES, SIDES
from woof_lightning.cost.plan import LEAN, NETS, OFF, ON, ONE_LOG, WATERFALL
from woof_lightning.cost.rows import STEP
from woof_lightning.loops.ways import LABELS, REFERENCE, WOOF_FIT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# In the waterfall: Lightning and the loop by hand. In the fixed cost: without and with what users switch on.
TWO = (COLOURS[0], COLOURS[1])
ONE_PERCENT = 0.01


def draw_figures(found: dict[str, Any], out: Path) -> list[Path]:
    """Draws the figures that the summary has rows for and returns their files.

    Each PNG file contains the fingerprint of the summary as its description.

    Args:
        found: A summary.
        out: The folder for the files.
    """
    estimates = {(e["way"], e["condition"]): e for e in found["estimates"] if e["measure"] == STEP}
    figures: dict[str, tuple[Callable[[Axes, dict[tuple[str, str], Any]], None], tuple[str, str]]] = {
        "fixed.png": (draw_fixed, (WOOF_FIT, ON)),
        "waterfall.png": (draw_waterfall, (f"{SIDES[0]}:callbacks", WATERFALL)),
        "share.png": (draw_share, (WOOF_FIT, ON)),
    }
    drawn = []
    for name, (draw, needed) in figures.items():
        if needed in estimates:
            from matplotlib.figure import Figure

            figure = Figure(figsize=(9, 5.5), layout="constrained")
            draw(figure.add_subplot(), estimates)
            save_png(figure, out / name, dpi=110, fingerprint=fingerprint(found))
            drawn.append(out / name)
    return drawn


def fingerprint(found: dict[str, Any]) -> str:
    """Returns a hash of the estimates of a summary."""
    return hashlib.sha256(json.dumps(found["estimates"], sort_keys=True).encode()).hexdigest()


def draw_fixed(axes: Axes, estimates: dict[tuple[str, str], Any]) -> None:
    """Draws what each way adds to a step of the bare loop with the same reports."""
    rows = [key for key in estimates if key[1] in (OFF, ON) and key[0] != REFERENCE]
    rows.sort(key=lambda key: estimates[key]["over"]["median"])
    for place, (way, condition) in enumerate(rows):
        over = estimates[way, condition]["over"]
        errors = [[over["median"] - over["low"]], [over["high"] - over["median"]]]
        axes.barh(place, over["median"], xerr=errors, color=TWO[condition == ON], ecolor="0.3", capsize=2)
        axes.annotate(
            three_digits(over["median"]),
            (max(over["high"], 0), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.set_yticks(range(len(rows)), [LABELS[way] for way, _ in rows])
    axes.set_xlabel("µs a step over the bare loop with the same reports (bar: median, line: 95 % interval)")
    axes.set_title("What a loop costs per step, on a net too small to matter")
    for colour, text in zip(TWO, ("no bar, no reports", "as its users have it, with reports"), strict=True):
        axes.barh(0, 0, color=colour, label=text)
    axes.legend(loc="lower right")
    axes.margins(x=0.15)


def draw_waterfall(axes: Axes, estimates: dict[tuple[str, str], Any]) -> None:
    """Draws what each feature adds, in Lightning's Trainer and in a loop by hand."""
    for side, colour, label in zip(SIDES, TWO, ("Lightning's Trainer", "a loop by hand"), strict=True):
        offset = 0.2 if side == SIDES[1] else -0.2
        before = 0.0
        for place, feature in enumerate(FEATURES):
            estimate = estimates[f"{side}:{feature}", WATERFALL]
            added = estimate["over"]["median"] if place else estimate["median"]
            axes.barh(place + offset, added, left=before, height=0.36, color=colour)
            axes.annotate(
                three_digits(added, signed=place > 0),
                (max(before + added, before), place + offset),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
            before += added
        axes.barh(0, 0, color=colour, label=label)
    axes.set_yticks(range(len(FEATURES)), [("+ " if place else "") + name for place, name in enumerate(FEATURES)])
    axes.invert_yaxis()
    axes.set_xlabel("µs per training step, median")
    axes.set_title("One feature after the other")
    axes.legend(loc="upper right")
    # Bars keep the edge of an axis, whatever its margins are; the texts need room.
    axes.set_xlim(right=1.1 * axes.get_xlim()[1])


def draw_share(axes: Axes, estimates: dict[tuple[str, str], Any]) -> None:
    """Draws the fixed cost as a share of the step, over the time of the step itself."""
    steps_ms = [10 ** (power / 10) for power in range(-5, 36)]
    ways = [(way, ON) for way in ("fabric", WOOF_FIT, LEAN, ONE_LOG, "fastai", "lightning")]
    for (way, condition), colour in zip([key for key in ways if key in estimates], COLOURS, strict=False):
        cost_ms = estimates[way, condition]["over"]["median"] / 1e3
        if cost_ms > 0:
            axes.plot(steps_ms, [100 * cost_ms / step_ms for step_ms in steps_ms], color=colour, label=LABELS[way])
    axes.axhline(100 * ONE_PERCENT, color="0.4", linestyle="--")
    axes.annotate("1 %", (steps_ms[0], 1), xytext=(2, 3), textcoords="offset points", color="0.3")
    for condition in [name for name in NETS if name.startswith("resnet")]:
        if (REFERENCE, condition) in estimates:
            step_ms = estimates[REFERENCE, condition]["median"] / 1e3
            axes.axvline(step_ms, color="0.7", linestyle=":")
            text = f"{condition}, batch {NETS[condition].batch_size}, one core"
            axes.annotate(
                text, (step_ms, 100), xytext=(-3, 0), textcoords="offset points",
                rotation=90, ha="right", va="top", fontsize=8, color="0.3",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(steps_ms[0], steps_ms[-1])
    axes.set_ylim(0.001, 200)
    axes.set_xlabel("the bare loop's own time per step (ms)")
    axes.set_ylabel("fixed cost, % of that time")
    axes.set_title("The longer the step, the less a framework matters")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower left")
