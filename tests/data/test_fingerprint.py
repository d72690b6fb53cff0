"""What makes a data set another one: a file, its name, its class, its size; and who notices."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Woof
from woof_lightning.data.images import index_folder
from woof_lightning.runs.folder import RunFolder


def a_file(folder: Path, split: str = "train") -> Path:
    return min((folder / split).rglob("*.JPEG"))


def append(folder: Path) -> None:
    file = a_file(folder)
    file.write_bytes(file.read_bytes() + b"\0")


def rename(folder: Path) -> None:
    a_file(folder).rename(a_file(folder).with_name("0000.JPEG"))


def remove(folder: Path) -> None:
    a_file(folder).unlink()


def append_to_validation(folder: Path) -> None:
    file = a_file(folder, "val")
    file.write_bytes(file.read_bytes() + b"\0")


def move_to_the_other_class(folder: Path) -> None:
    one, two = sorted((folder / "train").iterdir())
    file = min(one.iterdir())
    file.rename(two / f"moved-{file.name}")


def rename_a_class(folder: Path) -> None:
    for split in ("train", "val"):
        (folder / split / "s00000003").rename(folder / split / "s00000009")


CHANGES = [append, rename, remove, append_to_validation, move_to_the_other_class, rename_a_class]


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_changes_the_fingerprint(change: Callable[[Path], None], small_folder: Path) -> None:
    before = index_folder(small_folder).fingerprint
    assert index_folder(small_folder).fingerprint == before
    change(small_folder)
    assert index_folder(small_folder).fingerprint != before


def test_the_place_does_not(small_folder: Path, tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(small_folder, tmp_path / "elsewhere"))
    assert index_folder(elsewhere).fingerprint == index_folder(small_folder).fingerprint


@pytest.fixture
def own(small_fit: list[str], small_folder: Path) -> list[object]:
    return [*small_fit, "--data.folder", small_folder, "--data.batch_size", 8, "--trainer.max_epochs", 1]


@pytest.mark.parametrize("verb", [["fit"], ["loop", "bare"]])
def test_a_file_altered_with_its_name_kept_is_noticed_at_resume(
    verb: list[str], woof: Woof, own: list[object], small_folder: Path
) -> None:
    options = [*verb, *own, "--name", "run", "--trainer.limit_val_batches", "1.0"]
    assert woof(*options).code == 0
    before = RunFolder(Path("runs/run")).last.read_bytes()
    append(small_folder)
    done = woof(*options, "--resume")
    assert done.code == 2
    assert "cannot be resumed with other images" in done.err
    assert RunFolder(Path("runs/run")).last.read_bytes() == before


@pytest.mark.parametrize("verb", [["fit"], ["loop", "bare"]])
def test_as_many_classes_with_other_names_are_refused(
    verb: list[str], woof: Woof, own: list[object], small_folder: Path
) -> None:
    options = [*verb, *own, "--name", "run", "--trainer.limit_val_batches", "1.0"]
    assert woof(*options).code == 0
    rename_a_class(small_folder)
    resumed = woof(*options, "--resume")
    assert resumed.code == 2
    assert "cannot be resumed with other images" in resumed.err
    validated = woof("validate", "--ckpt", "runs/run")
    assert validated.code == 2
    assert "trained on 2 classes (s00000003, s00000004)" in validated.err
    assert "the data has 2 (s00000004, s00000009)" in validated.err
