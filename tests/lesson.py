"""The lesson's notebook, and a copy of it in which the hidden solutions are cells: `python -m tests.lesson COPY`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parents[1] / "docs" / "lesson.ipynb"
SOLUTION = re.compile(r"^<details>\n<summary>Solution</summary>\n\n(.*?)\n\n</details>$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^```python\n(.*?)\n```$", re.DOTALL | re.MULTILINE)

Cell = dict[str, Any]


def notebook() -> dict[str, Any]:
    """Returns the notebook as it is in the file."""
    found: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return found


def cells(kind: str) -> list[Cell]:
    """Returns the notebook's cells of a kind: `code` or `markdown`."""
    return [cell for cell in notebook()["cells"] if cell["cell_type"] == kind]


def source(cell: Cell) -> str:
    """Returns the text of a cell."""
    return "".join(cell["source"])


def solutions(cell: Cell) -> list[str]:
    """Returns the code of each solution that a cell of text hides."""
    return ["\n".join(CODE.findall(solution)) for solution in SOLUTION.findall(source(cell))]


def with_solutions() -> dict[str, Any]:
    """Returns the notebook with a code cell for each hidden solution, after the cell that hides it."""
    copied = notebook()
    shown = []
    for cell in copied["cells"]:
        shown.append(cell)
        for number, code in enumerate(solutions(cell) if cell["cell_type"] == "markdown" else [], start=1):
            lines = code.splitlines(keepends=True)
            run: Cell = {"cell_type": "code", "id": f"{cell['id']}-solution-{number}", "metadata": {}, "source": lines}
            shown.append(run | {"execution_count": None, "outputs": []})
    return copied | {"cells": shown}


if __name__ == "__main__":
    copy = Path(sys.argv[1])
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(json.dumps(with_solutions(), indent=1), encoding="utf-8")
