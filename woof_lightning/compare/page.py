"""A self-contained HTML page with sortable tables and charts, in which runs can be hidden."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

from woof_lightning.compare.charts import COLOURS_ON_DARK, DASHES, Chart, bokeh_script, chart_id
from woof_lightning.compare.draw import COLOURS
from woof_lightning.compare.figures import EQUAL, Curve

SAME_RESULTS = "the same top-1, top-5 and training loss at every step"
STYLES = len(COLOURS) * len(DASHES)


@dataclass(frozen=True)
class PageTable:
    """A table of the page, with a row per run.

    Args:
        title: What it shows.
        header: The names of its columns; the first is the run's name.
        rows: Its cells, row by row.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Page:
    """Everything that the page shows.

    Args:
        tables: The results, and the settings if some differ.
        notes: Sentences below the tables.
        names: The names of the runs.
        groups: The group of each run; equal runs are in the same one.
        charts: The charts.
    """

    tables: Sequence[PageTable]
    notes: Sequence[str]
    names: Sequence[str]
    groups: Sequence[int]
    charts: Sequence[Chart]

    def html(self) -> str:
        """Returns the HTML, with all scripts and data in it."""
        results, *settings = map(self._table, self.tables)
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        count = len(self.names)
        return Template(_asset("page.html")).substitute(
            title=escape(self.names[0]) if count == 1 else f"{count} runs compared",
            style=f"{_asset('page.css')}\n{palette_css()}",
            equal="\n".join(map(self._equal_sentence, self._equal_groups())),
            results=results,
            charts="\n".join(map(self._chart, self.charts)),
            settings="\n".join(settings),
            notes=f'<h2>Notes</h2>\n<ul class="notes">{notes}</ul>' if notes else "",
            data=self._data(),
            bokeh=bokeh_script(),
            script=_asset("page.js"),
        )

    def _data(self) -> str:
        """Returns what page.js reads, as JSON that cannot end its element."""
        charts = [
            {"name": c.shown.figure.name, "curves": [curve.runs for curve in c.shown.curves], "item": c.item}
            for c in self.charts
        ]
        found = {"names": self.names, "colours": len(COLOURS), "dashes": DASHES, "charts": charts}
        return json.dumps(found, separators=(",", ":")).replace("<", "\\u003c")

    def _equal_groups(self) -> list[list[int]]:
        """Returns the runs of each group of several."""
        runs_of: dict[int, list[int]] = {}
        for run, group in enumerate(self.groups):
            runs_of.setdefault(group, []).append(run)
        return [runs for runs in runs_of.values() if len(runs) > 1]

    def _equal_sentence(self, runs: Sequence[int]) -> str:
        names = " = ".join(escape(self.names[run]) for run in runs)
        why = f"They have {SAME_RESULTS}, so one line shows them."
        return f'<p class="equal-runs"><b>{len(runs)} runs are {EQUAL}:</b> {names}. {why}</p>'

    def _table(self, table: PageTable) -> str:
        """Returns the HTML of a table, with a button in each column's head."""
        numbers = [all(map(_is_number, column)) for column in zip(*table.rows, strict=True)]
        names = "".join(
            f'<th scope="col"{_class(number)}><button type="button">{_words(name)}</button></th>'
            for name, number in zip(table.header, [False, *numbers[1:]], strict=True)
        )
        lines = "\n".join(
            f"<tr>{self._run_cell(run)}"
            + "".join(
                f"<td{_class(number)}>{escape(cell)}</td>" for cell, number in zip(row[1:], numbers[1:], strict=True)
            )
            + "</tr>"
            for run, row in enumerate(table.rows)
        )
        return (
            f'<h2>{escape(table.title)}</h2>\n<div class="wide" tabindex="0"><table>\n<thead><tr>{names}</tr></thead>\n'
            f"<tbody>\n{lines}\n</tbody>\n</table></div>"
        )

    def _run_cell(self, run: int) -> str:
        is_equal = self.groups.count(self.groups[run]) > 1
        name = escape(self.names[run])
        return (
            f'<td data-sort="{name}"><button type="button" data-run="{run}" aria-pressed="true" title="hide or show">'
            f'{self._swatch(run)}<span class="name">{name}</span></button>'
            f'{_mark(EQUAL, SAME_RESULTS) if is_equal else ""}<span class="mark" hidden>hidden</span></td>'
        )

    def _chart(self, chart: Chart) -> str:
        figure, curves = chart.shown.figure, chart.shown.curves
        shown = sum(len(curve.runs) for curve in curves)
        count = f'<p class="count">{shown} of {len(self.names)} runs</p>' if shown < len(self.names) else ""
        title = escape(figure.title)
        return (
            f'<figure aria-label="{title}"><h3>{title}</h3><div class="chart" id="{chart_id(figure.name)}"></div>'
            f'<ul class="legend">{"".join(map(self._legend_entry, curves))}</ul>{count}</figure>'
        )

    def _legend_entry(self, curve: Curve) -> str:
        buttons = " = ".join(
            f'<button type="button" data-run="{run}" aria-pressed="true" title="hide or show">'
            f"{escape(self.names[run])}</button>"
            for run in curve.runs
        )
        marks = [_mark(EQUAL, "the same curve")] if len(curve.runs) > 1 else []
        if curve.begins_like is not None:
            marks.append(
                _mark(f"{EQUAL} to {self.names[curve.begins_like]} so far", "the same curve as far as it goes")
            )
        return f"<li>{self._swatch(curve.runs[0])}<span>{buttons}{''.join(marks)}</span></li>"

    @staticmethod
    def _swatch(run: int) -> str:
        return (
            '<svg class="swatch" viewBox="0 0 30 10" aria-hidden="true">'
            f'<line class="style-{run % STYLES}" x1="0" y1="5" x2="30" y2="5"/></svg>'
        )


def palette_css() -> str:
    """Returns the colours of the curves for light and dark, and the line styles of the legends."""
    light, dark = (
        " ".join(f"--curve-{place}: {colour};" for place, colour in enumerate(colours))
        for colours in (COLOURS, COLOURS_ON_DARK)
    )
    styles = "\n".join(
        f".style-{place} {{ stroke: var(--curve-{place % len(COLOURS)}); "
        f"stroke-dasharray: {' '.join(map(str, DASHES[place % len(DASHES)])) or 'none'}; }}"
        for place in range(STYLES)
    )
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{styles}"


def _asset(name: str) -> str:
    return files("woof_lightning.compare").joinpath(name).read_text(encoding="utf-8")


def _mark(text: str, why: str) -> str:
    return f' <span class="equal" title="{escape(why)}">{escape(text)}</span>'


def _words(name: str) -> str:
    """Returns a column's name with each word in an element: a line must not end at the hyphen of top-1."""
    return " ".join(f"<span>{escape(word)}</span>" for word in name.split(" "))


def _class(number: bool) -> str:
    return ' class="number"' if number else ""


def _is_number(cell: str) -> bool:
    """Returns whether a cell is a number, or empty."""
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True
