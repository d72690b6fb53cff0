"""A self-contained HTML page with sortable tables and figures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from string import Template

from woof_lightning.compare.curves import Drawn

Cells = Sequence[Sequence[str]]

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Runs compared</title>
<style>
body { font: 16px/1.4 system-ui, sans-serif; margin: 1rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; }
th button {
  font: inherit; font-weight: 600; text-align: left; background: none; border: 0; padding: 0; cursor: pointer;
}
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 0 1rem; }
</style>
</head>
<body>
<h1>Runs compared</h1>
$tables
$notes
<div class="figures">
$figures
</div>
<script>
// A click on a column's name sorts by that column, a second click reverses the order. Empty cells come last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = button.closest("table").tBodies[0];
    const column = head.cellIndex, falling = head.getAttribute("aria-sort") === "ascending";
    const text = row => row.cells[column].textContent;
    const order = (one, other) => {
      const [a, b] = [text(one), text(other)];
      if (!a || !b) return a ? -1 : b ? 1 : 0;
      const difference = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return falling ? -difference : difference;
    };
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    body.append(...[...body.rows].sort(order));
  });
}
</script>
</body>
</html>
""")


def page_of(tables: Sequence[tuple[str, Sequence[str], Cells]], figures: Sequence[Drawn], notes: Sequence[str]) -> str:
    """Returns the HTML of the page.

    Args:
        tables: The title, header and rows of each table.
        figures: The figures, which are embedded into the page.
        notes: Sentences to show below the tables.
    """
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return PAGE.substitute(
        tables="\n".join(table_of(*table) for table in tables),
        notes=f"<ul>{items}</ul>" if notes else "",
        figures="\n".join(figure_of(figure) for figure in figures),
    )


def table_of(title: str, header: Sequence[str], rows: Cells) -> str:
    """Returns the HTML of a table, with a button in each column's head."""
    names = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in header)
    lines = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<h2>{escape(title)}</h2>\n<div class="wide"><table>\n<thead><tr>{names}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody>\n</table></div>"
    )


def figure_of(figure: Drawn) -> str:
    """Returns the HTML of a figure, with the PNG embedded."""
    content = base64.b64encode(figure.file.read_bytes()).decode()
    return f'<figure><img alt="{escape(figure.title)}" src="data:image/png;base64,{content}"></figure>'
