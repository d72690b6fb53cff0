"""Tables, sections and the figure of docs/cost-of-change.md, from the gallery and the rows of `woof change`."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from docs.generate.result_tables import read_rows
from woof_lightning.changes.broken import IMPORT, OUTCOMES, SILENT
from woof_lightning.changes.count import Count
from woof_lightning.changes.find import BASE, BY_HAND, GALLERY, PACKAGES, ROADS, Change, changes, gallery, pairs
from woof_lightning.changes.measured import BROKEN, CONDITIONS, COUNTS, JUDGED, PAIRS, BrokenRow, read_broken
from woof_lightning.changes.merge import BY_PEOPLE, CONFLICT, FAILS, MERGED, RIGHT, RUNS, UNTOLD, WRONG
from woof_lightning.changes.show import diff_of
from woof_lightning.compare.tables import markdown_table
from woof_lightning.loops import ways

OWN_LABELS = {
    BY_HAND: "by hand",
    "by_hand_fp16": "by hand (fp16 with a scaler)",
    "lightning": "Lightning",
    "lightning_manual": "Lightning (manual optimization)",
    "lightning_expert": "Lightning (expert)",
    "fastai_expert": "fastai (expert)",
}
LABELS = {way: OWN_LABELS.get(way) or ways.LABELS[way] for way in (*PACKAGES, *ROADS)}
MANUAL = "lightning_manual"
EXPERTS = ("lightning_expert", "fastai_expert")
EMPTY, NOT_OFFERED = "", "not offered"
NOT_COMPARABLE = "not comparable"
EXAMPLES = Path(__file__).parents[1] / "examples"
# What makes a change in `woof fit`; for others there is a file in docs/examples.
WOOF_FIT_OPTIONS = {
    "schedule_per_batch": "--model.schedule onecycle",
    "mixed_precision": "--trainer.precision bf16-mixed",
    "accumulation": "--trainer.accumulate_grad_batches 4",
    "clipping": "--trainer.gradient_clip_val 1 --trainer.accumulate_grad_batches 4 --trainer.precision bf16-mixed",
    "ema": "--trainer.callbacks+=EMAWeightAveraging --trainer.callbacks.decay=0.9",
    "two_processes": "--trainer.devices 2",
}


def counts_in(folder: Path) -> dict[tuple[str, str], Count]:
    """Returns the counts of a folder, by change and way."""
    return {
        (row["change"], row["way"]): Count(
            int(row["added"]),
            int(row["removed"]),
            int(row["places"]),
            int(row["functions"]),
            tuple(row["names"].split()),
            tuple(row["torch_names"].split()),
        )
        for row in read_rows(folder / COUNTS)
    }


def broken_in(folder: Path) -> list[BrokenRow]:
    """Returns the rows of broken programs without those of imports."""
    return [row for row in read_broken(folder / BROKEN) if row.kind != IMPORT]


def columns() -> list[str]:
    """Returns the ways that have a road in some change."""
    return [way for way in PACKAGES if any(change.road(way) for change in changes())]


def roads(way: str) -> set[tuple[str, str]]:
    """Returns the changes that a way's documentation shows, each with the name of the road."""
    return {(cell.change, cell.way) for change in changes() if (cell := change.road(way))}


def lines_table(folder: Path, page: str = "") -> str:
    """Logical lines added and removed, a row for each change and a column for each way.

    Args:
        folder: Holds the rows.
        page: The page with the sections, if it is another one.
    """
    found = counts_in(folder)

    def cell_of(change: Change, way: str) -> str:
        cell = change.road(way)
        if cell is None:
            return NOT_OFFERED if way in change.not_offered else EMPTY
        counted = found[change.name, cell.way]
        return f"+{counted.added} -{counted.removed}{' (manual)' if cell.way == MANUAL else ''}"

    rows = [[link_to(change, page), *(cell_of(change, way) for way in columns())] for change in changes()]
    return markdown_table(("change", *(LABELS[way] for way in columns())), rows)


def outcomes_table(folder: Path) -> str:
    """What happens when one thing is forgotten, a row for each way."""
    rows = broken_in(folder)
    lines = []
    cells_of = {way: roads(way) for way in columns()} | {way: expert(way) for way in EXPERTS}
    for name, cells in cells_of.items():
        found = Counter(row.outcome for row in rows if (row.change, row.way) in cells)
        total = sum(found.values())
        share = f"{found[SILENT]} of {total} ({100 * found[SILENT] / total:.0f} %)"
        lines.append([LABELS[name], str(len(cells)), share, *(str(found[one]) for one in OUTCOMES if one != SILENT)])
    return markdown_table(("way", "changes", SILENT, *(one for one in OUTCOMES if one != SILENT)), lines)


def expert(way: str) -> set[tuple[str, str]]:
    """Returns the cells of a way that only people who know better take."""
    return {(change.name, way) for change in changes() if way in change.cells}


def silent_table(folder: Path) -> str:
    """Of the things that can be forgotten, how many end silent and wrong: a row for each change."""
    rows = broken_in(folder)

    def cell_of(change: Change, way: str) -> str:
        cell = change.road(way)
        if cell is None:
            return EMPTY
        silent, total = silent_of(rows, {(cell.change, cell.way)})
        return f"{silent} of {total}"

    lines = [[link_to(change), *(cell_of(change, way) for way in columns())] for change in changes()]
    return markdown_table(("change", *(LABELS[way] for way in columns())), lines)


def silent_of(rows: list[BrokenRow], cells: set[tuple[str, str]]) -> tuple[int, int]:
    """Returns how many broken programs of some cells end silent and wrong, and how many there are.

    Args:
        rows: The rows.
        cells: The cells, each as its change and its way.
    """
    own = [row.outcome for row in rows if (row.change, row.way) in cells]
    return own.count(SILENT), len(own)


def link_to(change: Change, page: str = "") -> str:
    """Returns a link to the section of a change."""
    return f"[{change.title}]({page}#{change.name.replace('_', '-')})"


def sections(folder: Path) -> str:
    """A section for each change: its diffs, counts, known differences and traps."""
    found, rows = counts_in(folder), broken_in(folder)
    return "\n".join(text for change in changes() for text in section(change, found, rows))


def section(change: Change, found: dict[tuple[str, str], Count], rows: list[BrokenRow]) -> Iterator[str]:
    """Yields the lines of a change's section."""
    docstring = importlib.import_module(f"woof_lightning.changes.{change.name}").__doc__ or ""
    yield f"### {change.name.replace('_', '-')}\n\n{docstring.strip()}\n"
    header = ("way", "lines", "places", "functions", "new names of the library", "new names of PyTorch", SILENT)
    lines = []
    for way, cell in change.cells.items():
        counted = found[change.name, way]
        silent, total = silent_of(rows, {(cell.change, cell.way)})
        names, torch_names = (", ".join(f"`{name}`" for name in part) for part in (counted.names, counted.torch_names))
        numbers = (f"+{counted.added} -{counted.removed}", str(counted.places), str(counted.functions))
        link = f"[{LABELS[way]}](../woof_lightning/changes/{change.name}/{cell.file.name})"
        lines.append([link, *numbers, names, torch_names, f"{silent} of {total}"])
    yield markdown_table(header, lines)
    for way, told in change.not_offered.items():
        yield f"{LABELS[way]} does not offer it: {told['says']} ([source]({told['link']}))\n"
    first = [way for way in (BY_HAND, "lightning", MANUAL) if way in change.cells][:2]
    yield beside(change, first)
    rest = [way for way in change.cells if way not in first]
    yield f"<details><summary>{', '.join(LABELS[way] for way in rest)}</summary>\n"
    for place in range(0, len(rest), 2):
        yield beside(change, rest[place : place + 2])
    yield "</details>\n"
    yield from in_woof_fit(change)
    inherited = gallery()[BASE].cells
    for way, cell in change.cells.items():
        base = inherited[ROADS.get(way, way)].known
        reasons = dict.fromkeys(reason for difference, reason in cell.known.items() if difference not in base)
        yield from (f"- {LABELS[way]}: {reason}" for reason in reasons)
    for trap in change.traps:
        made = trap.mistake
        here = f" Repeated here ({LABELS[made.way]}): **{made.outcome}**, {made.detail}." if made else ""
        yield f"- Reported: {trap.says} ([thread]({trap.link})){here}"
    yield ""


def in_woof_fit(change: Change) -> Iterator[str]:
    """Yields what a user of `woof fit` adds to make a change, if there is a way."""
    if options := WOOF_FIT_OPTIONS.get(change.name):
        yield f"In `woof fit`: `{options}`.\n"
    file = EXAMPLES / f"{change.name}.py"
    if file.exists():
        link = f"[docs/examples/{file.name}](examples/{file.name})"
        yield f"<details><summary>In woof fit: a subclass</summary>\n\n{link}\n"
        program = file.read_text(encoding="utf-8").strip()
        yield f"```python\n{program}\n```\n\n</details>\n"


def beside(change: Change, names: list[str]) -> str:
    """Returns the diffs of some ways beside each other, as HTML around Markdown."""
    cells = []
    for way in names:
        diff = "\n".join(diff_of(change.cells[way]))
        cells.append(f'<td valign="top">\n\n**{LABELS[way]}**\n\n```diff\n{diff}\n```\n\n</td>')
    return "<table><tr>\n" + "\n".join(cells) + "\n</tr></table>\n"


def conditions(folder: Path) -> str:
    """The conditions of the rows: each command with its machine and versions."""
    calls = json.loads((folder / CONDITIONS).read_text(encoding="utf-8"))
    return "".join(
        f"- `{call['command']}`: {call['date']}, {call['machine']['processor']}, 1 thread. {trained_run(call)}"
        f"{', '.join(f'{name} {version}' for name, version in call['versions'].items())}.\n"
        for call in calls
    )


def trained_run(call: Mapping[str, Any]) -> str:
    """What the command took as its net, if it took a run; otherwise an empty text."""
    if "run" not in call:
        return ""
    run = call["run"]
    return f"{run['arch']}, {run['image_size_px']} px, top-1 {run['best_top1']:.3f}. "


def heat_map(folder: Path) -> Figure:
    """Returns two maps of changes and ways: lines touched, and forgotten things that end silent and wrong."""
    found, rows = counts_in(folder), broken_in(folder)
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    touched, silent = np.full((2, len(changes()), len(columns())), np.nan)
    for row, change in enumerate(changes()):
        for column, way in enumerate(columns()):
            cell = change.road(way)
            if cell is not None:
                counted = found[change.name, cell.way]
                touched[row, column] = counted.added + counted.removed
                silent[row, column] = silent_of(rows, {(cell.change, cell.way)})[0]
    for axes, values, title in (
        (left, touched, "logical lines added and removed"),
        (right, silent, "forgotten things that end silent and wrong"),
    ):
        draw_map(axes, values, title)
    left.set_yticks(range(len(changes())), [change.title for change in changes()])
    return figure


def draw_map(axes: Axes, values: NDArray[np.float64], title: str) -> None:
    """Draws one map, with its numbers."""
    axes.imshow(values, cmap="Oranges", vmin=0, vmax=np.nanmax(values) * 1.3, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(column, row, f"{value:.0f}", ha="center", va="center")
    axes.set_xticks(range(len(columns())), [LABELS[way] for way in columns()], rotation=20, ha="right")
    axes.set_title(title)


def pairs_table(folder: Path) -> str:
    """What becomes of two changes in one program, a row for each way."""
    found = Counter((row["way"], row["outcome"]) for row in read_rows(folder / PAIRS))
    rows = []
    for way in dict.fromkeys(way for way, _ in found):
        counts = [found[way, outcome] for outcome in MERGED]
        rows.append([LABELS[way], str(sum(counts)), *map(str, counts)])
    return markdown_table(("way", "pairs", *MERGED), rows)


def judged_table(folder: Path) -> str:
    """Whether two changes together do what they should, a row for each reported pair and a column for each way."""
    found = {(row["first"], row["second"], row["way"]): row for row in read_rows(folder / JUDGED)}
    names = [way for way in LABELS if any(way == row_way for _, _, row_way in found)]
    rows = []
    for pair in pairs():
        reported = f"{pair.says} ([thread]({pair.link}))"
        program = f"[{pair.first.title}; {pair.second.title}](../{pair.file(BY_HAND).relative_to(GALLERY.parents[1])})"
        cells = []
        for way in names:
            row = found.get((pair.first.name, pair.second.name, way))
            cells.append(EMPTY if row is None else judged_text(row))
        rows.append([program, reported, *cells])
    return markdown_table(("changes", "reported", *(LABELS[way] for way in names)), rows)


def judged_text(row: dict[str, str]) -> str:
    """Returns what became of a pair of changes, in a few words."""
    if row["put_together"] == CONFLICT:
        return CONFLICT
    outcome = NOT_COMPARABLE if row["outcome"] == UNTOLD else row["outcome"].removeprefix("merges, and ")
    return f"conflict; by hand: {outcome}" if row["put_together"] == BY_PEOPLE else outcome


def mistakes_table(_: Path) -> str:
    """Reported mistakes, made again in a program here, and what happens."""
    rows = [
        [link_to(change), LABELS[trap.mistake.way], f"{trap.says} ([thread]({trap.link}))", trap.mistake.outcome]
        for change in changes()
        for trap in change.traps
        if trap.mistake is not None
    ]
    return markdown_table(("change", "way", "reported", "outcome here"), rows)


CHANGE_TABLES: dict[str, Callable[[Path], str]] = {
    "changes-lines": lines_table,
    "changes-overview": partial(lines_table, page="cost-of-change.md"),
    "changes-outcomes": outcomes_table,
    "changes-silent": silent_table,
    "changes-mistakes": mistakes_table,
    "changes-pairs": pairs_table,
    "changes-judged": judged_table,
    "changes-conditions": conditions,
    "changes": sections,
}


def lines_added_text(folder: Path, way: str, change: str) -> str:
    """Returns the logical lines that a change adds on a way's documented road."""
    cell = gallery()[change].road(way)
    if cell is None:
        raise LookupError(f"{way} does not make {change}")
    return str(counts_in(folder)[change, cell.way].added)


def silent_count_text(folder: Path, way: str) -> str:
    """Returns how many forgotten things end silent and wrong on a way's documented roads."""
    return str(silent_of(broken_in(folder), roads(way))[0])


def silent_percent_text(folder: Path, way: str) -> str:
    """Returns the share of forgotten things that end silent and wrong on a way's documented roads, in percent."""
    silent, total = silent_of(broken_in(folder), roads(way))
    return f"{100 * silent / total:.0f}"


def pairs_text(folder: Path, way: str, outcome: str = "") -> str:
    """Returns how many pairs of a way's changes end so, or how many there are."""
    ends = {"conflict": CONFLICT, "runs": RUNS, "": ""}[outcome]
    rows = [row for row in read_rows(folder / PAIRS) if row["way"] == way]
    return str(len([row for row in rows if not ends or row["outcome"] == ends]))


def together_text(folder: Path, way: str, outcome: str) -> str:
    """Returns how many reported pairs of changes end so in a way."""
    ends = {"right": RIGHT, "wrong": WRONG, "fails": FAILS, "untold": UNTOLD}[outcome]
    rows = [row for row in read_rows(folder / JUDGED) if row["way"] == way]
    return str(len([row for row in rows if row["outcome"] == ends]))


CHANGE_VALUES: dict[str, Callable[..., str]] = {
    "change_lines": lines_added_text,
    "change_silent": silent_count_text,
    "change_silent_percent": silent_percent_text,
    "change_pairs": pairs_text,
    "change_together": together_text,
}
