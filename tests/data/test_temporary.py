"""Temporary folders beside a data set."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from woof_lightning.data.temporary import alone_at, temporary_folder_beside


def make(folder: Path, begun: Any) -> None:
    with alone_at(folder):
        begun.set()
        time.sleep(0.5)
        folder.mkdir()


@pytest.mark.process
def test_who_comes_second_waits_until_the_folder_is_there(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    begun, folder = context.Event(), tmp_path / "data" / "set"
    first = context.Process(target=make, args=(folder, begun))
    first.start()
    assert begun.wait(10)
    with alone_at(folder):
        assert folder.is_dir()
    first.join(10)
    assert first.exitcode == 0


def test_a_temporary_folder_lies_beside_and_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "set"
    with temporary_folder_beside(folder, "drawing") as temporary:
        assert temporary.parent == folder.parent
        assert temporary.name.startswith(".set.drawing-")
        assert list(temporary.iterdir()) == []
        (temporary / "deep").mkdir()
        (temporary / "deep" / "file").write_text("x", encoding="utf-8")
    assert not temporary.exists()
    with suppress(RuntimeError), temporary_folder_beside(folder, "drawing") as temporary:
        (temporary / "file").write_text("x", encoding="utf-8")
        raise RuntimeError
    assert list(folder.parent.iterdir()) == []


def test_one_that_was_moved_away_is_no_error(tmp_path: Path) -> None:
    with temporary_folder_beside(tmp_path / "set", "drawing") as temporary:
        (temporary / "file").write_text("x", encoding="utf-8")
        temporary.rename(tmp_path / "set")
    assert (tmp_path / "set/file").read_text(encoding="utf-8") == "x"


def test_leftovers_of_the_same_work_are_removed_first(tmp_path: Path) -> None:
    mine, others = tmp_path / ".set.drawing-killed", tmp_path / ".set.unpacking-now"
    for place in (mine, others):
        place.mkdir()
        (place / "file").write_text("x", encoding="utf-8")
    with temporary_folder_beside(tmp_path / "set", "drawing"):
        assert not mine.exists()
        assert others.exists()
