"""The first screen and the tutorial: the figure of costs and mistakes, programs as diffs, the verdict's numbers."""

from __future__ import annotations

import ast
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.generate.change_tables import broken_in, roads, silent_of
from docs.generate.cost_summary import Estimate, read_summary
from woof_lightning.changes.find import BY_HAND
from woof_lightning.changes.show import difference
from woof_lightning.compare.draw import COLOURS
from woof_lightning.compare.tables import three_digits
from woof_lightning.loops.ways import LABELS

# From the cheapest step to the dearest. The programs of `woof change` by hand are those of the bare loop.
BARE = "bare"
DRAWN = (BARE, "ignite", "accelerate", "fabric", "woof_fit", "fastai", "lightning")
PROGRAMS = {BARE: BY_HAND, "woof_fit": None}
# With reports.
STEP = ("step_us", "on")


def step_costs(folder: Path) -> dict[str, Estimate]:
    """Returns what a step of the smallest net takes over the bare loop in each way with reports, in µs."""
    estimates = read_summary(folder)["estimates"]
    wanted = [one for one in estimates if (one["measure"], one["condition"]) == STEP and one["over"]]
    # The bare loop's own difference is that of its reports.
    return {one["way"]: one["over"] for one in wanted if one["way"] != BARE}


def front_figure(cost: Path, changes: Path) -> Figure:
    """Returns the cost of a step and the share of silent mistakes, a row for each way.

    Args:
        cost: Holds what `woof cost` measured.
        changes: Holds what `woof change` measured.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    draw_costs(left, cost)
    draw_mistakes(right, changes)
    left.set_yticks(range(len(DRAWN)), [LABELS[way] for way in DRAWN])
    left.invert_yaxis()
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(left=0)
    return figure


def draw_costs(axes: Axes, folder: Path) -> None:
    """Draws what each way adds to a step, with its interval."""
    costs = step_costs(folder)
    for place, way in enumerate(DRAWN):
        if way not in costs:
            axes.annotate("the reference", (0, place), (4, 0), textcoords="offset points", va="center")
            continue
        found = costs[way]
        ends = [[found["median"] - found["low"]], [found["high"] - found["median"]]]
        axes.barh(place, found["median"], xerr=ends, color=COLOURS[0], ecolor="0.3")
        text = f"+{three_digits(found['median'])}"
        axes.annotate(text, (found["high"], place), (4, 0), textcoords="offset points", va="center")
    axes.margins(x=0.15)
    axes.set_title("a step takes longer, by µs")


def draw_mistakes(axes: Axes, folder: Path) -> None:
    """Draws how many of the lines that can be forgotten are forgotten silently, in percent."""
    rows = broken_in(folder)
    for place, way in enumerate(DRAWN):
        program = PROGRAMS.get(way, way)
        if program is None:
            axes.annotate("as Lightning", (0, place), (4, 0), textcoords="offset points", va="center")
            continue
        silent, total = silent_of(rows, roads(program))
        axes.barh(place, 100 * silent / total, color=COLOURS[1])
        text = f"{100 * silent / total:.0f} %  ({silent} of {total})"
        axes.annotate(text, (100 * silent / total, place), (4, 0), textcoords="offset points", va="center")
    axes.margins(x=0.3)
    axes.set_title("of the lines that can be forgotten, silently wrong")


def cheap_from_ms_text(folder: Path, way: str, percent: str) -> str:
    """The step of the bare loop from which a way adds less than some percent to it, ms."""
    return three_digits(step_costs(folder)[way]["median"] / (10 * float(percent)))


def code_below_imports(file: Path) -> list[str]:
    """Returns the lines of a program from its first definition on."""
    text = file.read_text(encoding="utf-8")
    first = next(node for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
    return text.splitlines()[first.lineno - 1 :]


def diff_block(folder: Path) -> str:
    """The same training by hand and with Lightning, as a diff of all lines of the two programs in a folder."""
    by_hand, lightning = (code_below_imports(folder / f"{name}.py") for name in ("by_hand", "lightning_way"))
    return fenced_diff(by_hand, lightning, around=len(by_hand))


def steps_block(files: Path) -> str:
    """What changes from one program to the next, as a diff.

    Args:
        files: FOLDER/ONE..OTHER, the names of two files in one folder.
    """
    one, _, other = files.name.partition("..")
    before, after = ((files.parent / name).read_text(encoding="utf-8").splitlines()[2:] for name in (one, other))
    return fenced_diff(before, after, around=2)


def fenced_diff(before: list[str], after: list[str], *, around: int) -> str:
    """Returns a diff as a block of Markdown, with three dots between its parts.

    Args:
        before: The lines of one text.
        after: The lines of the other.
        around: Number of equal lines shown around a difference.
    """
    lines = [line.rstrip() for line in difference(before, after, around=around)]
    return "\n".join(["```diff", *lines, "```", ""])
