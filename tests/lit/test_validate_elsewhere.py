"""`woof validate` on a folder that the run does not name: val/ alone, class folders alone, the run's images moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Outcome, Woof
from woof_lightning.data.cache import cache_file
from woof_lightning.data.config import DataConfig
from woof_lightning.data.imagewoof import prepare_checked_data

SMALL = ("--data.image_size", 32, "--data.num_workers", 0, "--data.batch_size", 8, "--model.arch", "shufflenet_v2_x0_5")
CKPT = ("--ckpt", "runs/run", "--num_workers", 0, "--json")


@pytest.fixture
def trained(woof: Woof, small_folder: Path) -> Path:
    """A run on class folders without train/ and val/; returns their folder."""
    root = Path("photos")
    for split in ("train", "val"):
        for name in sorted((small_folder / split).iterdir()):
            (root / name.name).mkdir(parents=True, exist_ok=True)
            for file in name.iterdir():
                shutil.copy(file, root / name.name / f"{split}-{file.name}")
    done = woof(
        "fit", "--data.folder", root, "--data.val_share", 0.3, *SMALL, "--trainer.max_epochs", 1, "--name", "run"
    )
    assert done.code == 0, done.err
    return root


def images(done: Outcome) -> int:
    assert done.code == 0, done.err
    return sum(map(sum, json.loads(done.out)["confusion"]))


def metrics(done: Outcome) -> tuple[float, ...]:
    return tuple(json.loads(done.out)[name] for name in ("val/loss", "val/acc1"))


def test_the_images_of_the_run_are_validated_as_in_the_run_wherever_they_are(woof: Woof, trained: Path) -> None:
    own = woof("validate", *CKPT)
    logged = json.loads(Path("runs/run/result.json").read_text(encoding="utf-8"))
    assert images(own) == logged["data"]["val"] < 24
    assert metrics(own)[1] == pytest.approx(logged["best"]["val/acc1"], abs=1e-6)
    named = woof("validate", *CKPT, "--folder", trained)
    assert (images(named), metrics(named)) == (images(own), metrics(own))
    trained.rename("moved")
    moved = woof("validate", *CKPT, "--folder", "moved")
    assert (images(moved), metrics(moved)) == (images(own), metrics(own))
    assert "by their names" in moved.err


def test_images_added_to_the_run_s_folder_are_divided_as_its_own(woof: Woof, trained: Path) -> None:
    before = images(woof("validate", *CKPT, "--folder", trained))
    (name, *_) = sorted(trained.iterdir())
    for number in range(20):
        shutil.copy(next(name.glob("*.JPEG")), name / f"new {number}.jpg")
    assert before < images(woof("validate", *CKPT, "--folder", trained)) < before + 20


def test_other_class_folders_are_validated_whole(woof: Woof, trained: Path) -> None:
    shutil.copytree(trained, "others")
    next(Path("others").rglob("*.JPEG")).unlink()
    done = woof("validate", *CKPT, "--folder", "others")
    assert images(done) == 23
    assert "all 23 images of others are validated" in done.err


def test_val_alone_is_enough(woof: Woof, trained: Path) -> None:
    own = images(woof("validate", *CKPT))
    shutil.copytree(trained, "others/val")
    done = woof("validate", *CKPT, "--folder", "others")
    assert (images(done), own) == (24, own)
    # With a train/ beside it, whatever is in there, val/ is validated.
    shutil.copytree(trained, "others/train")
    assert images(woof("validate", *CKPT, "--folder", "others")) == 24
    shutil.rmtree("others/val")
    refused = woof("validate", *CKPT, "--folder", "others")
    assert refused.code == 2
    assert "others has no folder val/" in refused.err


def test_a_validation_leaves_the_decoded_images_of_another_training(
    woof: Woof, trained: Path, small_folder: Path
) -> None:
    assert trained.is_dir()
    kept = cache_file(prepare_checked_data(DataConfig(folder=small_folder, image_size=32)))
    assert kept.is_file()
    assert images(woof("validate", *CKPT, "--folder", small_folder)) == 8
    assert kept.is_file()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("remove", "but the data has 1 (s00000004): expected the same. Only in the checkpoint: s00000003"),
        (
            "add",
            "but the data has 3 (a cat, s00000003, s00000004): expected the same. Only in the checkpoint: none; only",
        ),
        ("heic", "s00000003 holds no image"),
        ("nothing", "others holds no class folder with images: expected val/<class>/ or <class>/ in it"),
        ("nowhere", "--folder is others: there is no such folder"),
    ],
)
def test_other_classes_are_refused(change: str, told: str, woof: Woof, trained: Path) -> None:
    others = Path(shutil.copytree(trained, "others"))
    first = others / "s00000003"
    if change == "remove":
        shutil.rmtree(first)
    elif change == "add":
        shutil.copytree(first, others / "a cat")
    elif change == "heic":
        for file in first.iterdir():
            file.rename(file.with_suffix(".heic"))
    else:
        shutil.rmtree(others)
        if change == "nothing":
            others.mkdir()
    refused = woof("validate", *CKPT, "--folder", "others")
    assert refused.code == 2, refused
    assert told in refused.err
    assert not Path("runs/run/validate").exists()


def test_images_that_cannot_be_read_are_refused_or_left_out(woof: Woof, trained: Path) -> None:
    shutil.copytree(trained, "others")
    for name in ("a.jpg", "b.jpg"):
        (Path("others") / "s00000003" / name).touch()
    refused = woof("validate", *CKPT, "--folder", "others")
    assert refused.code == 2
    assert "2 images of others cannot be read" in refused.err
    done = woof("validate", *CKPT, "--folder", "others", "--skip_unreadable")
    assert images(done) == 24
    assert "2 unreadable" in done.err


def test_a_divided_run_can_be_validated_on_a_data_set_with_train_and_val(
    woof: Woof, trained: Path, small_folder: Path
) -> None:
    assert trained.is_dir()
    assert images(woof("validate", *CKPT, "--folder", small_folder)) == 8
