"""The lesson's notebook as it is committed. `make test-lesson` runs it, with its hidden solutions."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import woof_lightning
from tests.lesson import NOTEBOOK, cells, notebook, solutions, source, with_solutions
from tests.test_docs import ROOT, headings

PARTS = 8


def programs() -> list[str]:
    """The code of all cells and of all hidden solutions."""
    return [source(cell) for cell in with_solutions()["cells"] if cell["cell_type"] == "code"]


def bindings(code: str) -> Iterator[str]:
    """Yields the names that a program binds outside of functions and classes."""
    nodes: list[ast.AST] = [ast.parse(code)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).split(".")[0]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif not isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)):
            nodes += ast.iter_child_nodes(node)


def test_no_output_is_committed() -> None:
    assert [cell for cell in cells("code") if cell["outputs"] or cell["execution_count"] is not None] == []
    assert [cell["metadata"] for cell in notebook()["cells"] if cell["metadata"]] == []


def test_the_file_is_written_as_jupyter_writes_it() -> None:
    """So that a teacher who saves it sees only his own changes."""
    written = json.dumps(notebook(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    assert NOTEBOOK.read_text(encoding="utf-8") == written


def test_any_python_3_kernel_runs_it() -> None:
    assert notebook()["metadata"]["kernelspec"]["name"] == "python3"


def test_cells_have_ids_of_their_own() -> None:
    found = notebook()
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)  # The first version with ids.
    ids = [cell["id"] for cell in with_solutions()["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]{1,64}", name) for name in ids)


def test_every_part_has_exercises_and_every_exercise_a_hidden_solution() -> None:
    texts = [source(cell) for cell in cells("markdown")]
    parts = [int(number) for text in texts for number in re.findall(r"^## (\d)\. ", text, re.MULTILINE)]
    exercises = [number for text in texts for number in re.findall(r"^### Exercise (\d)", text, re.MULTILINE)]
    hidden = [code for cell in cells("markdown") for code in solutions(cell)]
    assert parts == list(range(1, PARTS + 1))
    assert sorted(set(map(int, exercises))) == parts
    assert len(hidden) == len(exercises)
    assert all(hidden)
    # Nothing of a solution is outside of its fold.
    assert sum(text.count("```python") for text in texts) == len(hidden)


def test_solutions_change_no_name_of_the_lesson() -> None:
    """So the cells run with the solutions and without: that they use no name of a solution is ruff's to say."""
    of_cells = {name for cell in cells("code") for name in bindings(source(cell))}
    of_solutions = {name for cell in cells("markdown") for code in solutions(cell) for name in bindings(code)}
    assert {"train", "Classifier"} <= of_cells
    assert {"np", "EpochShuffle", "images"} <= of_solutions
    assert of_cells & of_solutions == {"_"}


def test_links_lead_somewhere() -> None:
    found = [
        link for cell in cells("markdown") for link in re.findall(r"\]\((?!http)([^)#]+)#?([^)]*)\)", source(cell))
    ]
    assert len(found) > 10
    for target, heading in found:
        file = NOTEBOOK.parent / target
        assert file.exists(), target
        assert not heading or heading in headings(file), f"{target}#{heading}"


def test_only_public_names_are_used() -> None:
    imports = [node for code in programs() for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if node.module and node.module.startswith("woof_lightning")]
    assert {alias.name for node in ours for alias in node.names} <= set(woof_lightning.__all__)
    assert {node.module for node in ours} == {"woof_lightning"}


def test_it_runs_where_processes_are_spawned() -> None:
    """On Windows and macOS a loading process cannot import what a notebook defines."""
    numbers = re.findall(r'num_workers"?[=,]\s*"?(\d+)', "\n".join(programs()))
    assert numbers
    assert set(numbers) == {"0"}


def test_texts_are_utf_8_on_every_system() -> None:
    calls = [node for code in programs() for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    named = [(ast.unparse(call.func), {word.arg for word in call.keywords}) for call in calls]
    texts = [words for name, words in named if name.endswith(("open", "read_text", "write_text", "subprocess.run"))]
    assert texts
    assert all("encoding" in words for words in texts)


@pytest.mark.process
@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_solutions_are_formatted_as_cells_are(command: tuple[str, ...], tmp_path: Path) -> None:
    copy = tmp_path / "docs" / "lesson.ipynb"
    copy.parent.mkdir()
    copy.write_text(json.dumps(with_solutions()), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    words = [sys.executable, "-m", "ruff", *command, "--no-cache", "docs/lesson.ipynb"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
