"""What a change takes to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from woof_lightning.changes import find
from woof_lightning.changes.count import Count, count, lines_of
from woof_lightning.changes.find import Cell, gallery

BASE = '''"""A program."""

from torch.optim import SGD


def train(folder):
    """Trains."""
    optimizer = SGD(
        [], lr=0.1
    )
    for step in range(3):
        # Takes a step.
        optimizer.step()
    return {"optimizer": optimizer}
'''
CHANGED = '''"""Another program."""

from torch.optim import SGD
from torch.nn.utils import clip_grad_norm_


def helped():
    return 1


def train(folder):
    """Trains otherwise."""
    optimizer = SGD([], lr=0.1, momentum=0.9)
    with folder:
        for step in range(3):
            clip_grad_norm_([], 1.0)
            optimizer.step()
    return {"optimizer": optimizer, "more": 1}
'''


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Count:
    for folder, text in (("base", BASE), ("change", CHANGED)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "by_hand_way.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(find, "GALLERY", tmp_path)
    return count(Cell("change", "by_hand"))


def test_lines_places_functions_and_names_are_counted(counted: Count) -> None:
    # Added: an import, `def` and its return below it; the optimizer, and `with`; the clipping. The loop has only moved.
    assert (counted.added, counted.removed) == (6, 1)
    assert (counted.places, counted.functions) == (3, 3)
    assert counted.names == ()
    assert counted.torch_names == ("clip_grad_norm_", "momentum")


def test_a_function_is_touched_if_it_only_loses_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, text in (("base", BASE), ("change", BASE.replace("        optimizer.step()\n", "        ...\n"))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "by_hand_way.py").write_text(
            f"def helped():\n    a = 1\n    return a\n\n\n{text}", encoding="utf-8"
        )
    changed = tmp_path / "change" / "by_hand_way.py"
    changed.write_text(changed.read_text(encoding="utf-8").replace("    a = 1\n", ""), encoding="utf-8")
    monkeypatch.setattr(find, "GALLERY", tmp_path)
    found = count(Cell("change", "by_hand"))
    assert (found.added, found.removed, found.functions) == (1, 2, 2)


def test_a_logical_line_is_told_without_its_layout() -> None:
    lines = list(lines_of(BASE))
    assert [line.function for line in lines] == ["", "train", "train", "train", "train"]
    assert lines[2].text == next(lines_of("optimizer = SGD([], lr=0.1,)")).text


def test_lightning_accumulates_with_one_argument() -> None:
    found = count(gallery()["accumulation"].cells["lightning"])
    assert (found.added, found.removed, found.places, found.functions) == (1, 1, 1, 1)
    assert (found.names, found.torch_names) == (("accumulate_grad_batches",), ())


def test_nothing_is_counted_for_the_base() -> None:
    for cell in gallery()["base"].cells.values():
        found = count(cell)
        assert (found.added, found.removed, found.places, found.names) == (0, 0, 0, ())
