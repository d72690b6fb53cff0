"""Which images of a folder without train/ and val/ are validated: a function of each image's own name."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex, index_folder, index_to_validate
from woof_lightning.data.imagewoof import open_data, prepare_data
from woof_lightning.data.splitting import Split, check_sides
from woof_lightning.errors import UserError

# The numbers below 20 of the images that seeds 0 and 1 validate.
SIDES = [[0, 6, 12, 16], [0, 4, 5, 13]]
NAMES = [f"cat/IMG {number:04d}.jpg" for number in range(5000)]


def val_of(index: ImageIndex) -> set[str]:
    return set(index.val.paths)


@pytest.fixture
def classes(small_folder: Path, tmp_path: Path) -> Path:
    """A writable folder of two classes with twelve images each, without train/ and val/."""
    root = tmp_path / "classes"
    for split in ("train", "val"):
        for name in (small_folder / split).iterdir():
            (root / name.name).mkdir(parents=True, exist_ok=True)
            for file in name.iterdir():
                shutil.copy(file, root / name.name / f"{split}-{file.name}")
    return root


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_the_share_is_val_share_on_average(share: float) -> None:
    found = sum(map(Split(share).is_val, NAMES)) / len(NAMES)
    assert abs(found - share) < 4 * (share * (1 - share) / len(NAMES)) ** 0.5


def test_sides_are_those_of_every_version() -> None:
    """Another hash would validate old runs on images that they were trained on."""
    for seed, numbers in enumerate(SIDES):
        assert [number for number in range(20) if Split(seed=seed).is_val(NAMES[number])] == numbers


def test_a_larger_share_only_adds() -> None:
    small, large = ({name for name in NAMES if Split(share).is_val(name)} for share in (0.1, 0.3))
    assert small < large


@given(st.text(max_size=20))
def test_both_ways_to_write_an_umlaut_have_one_side(name: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert Split().is_val(composed) == Split().is_val(decomposed)


def test_images_that_are_added_or_removed_leave_the_others_where_they_are(classes: Path) -> None:
    before = index_folder(classes, split=Split(0.3))
    assert before.counts()["train"] + before.counts()["val"] == 24
    assert before.classes == tuple(sorted(place.name for place in classes.iterdir()))
    first = classes / before.classes[0]
    for number in range(30):
        shutil.copy(next(first.iterdir()), first / f"0 new {number}.jpg")
    removed = next(file for file in sorted((classes / before.classes[1]).iterdir()))
    removed.unlink()
    (classes / "another class").mkdir()
    for number in range(20):
        shutil.copy(next(first.iterdir()), classes / "another class" / f"{number}.jpg")
    after = index_folder(classes, split=Split(0.3))
    old = set(before.train.paths) | val_of(before)
    gone = {f"{before.classes[1]}/{removed.name}"}
    assert val_of(after) & old == val_of(before) - gone
    assert set(after.train.paths) & old == set(before.train.paths) - gone
    assert after.fingerprint != before.fingerprint


def test_labels_and_states_stay_with_their_images(classes: Path) -> None:
    index = index_folder(classes, split=Split(0.3))
    for sample in (*index.train, *index.val):
        assert index.classes[sample.label] == sample.path.split("/")[0]
        assert (classes / sample.path).stat().st_size == sample.size_bytes
    assert not set(index.train.paths) & val_of(index)
    assert list(index.val.paths) == sorted(index.val.paths)


def test_the_place_does_not_matter_and_the_seed_does(classes: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(classes, tmp_path / "moved"))
    here, there = (index_folder(root, split=Split(0.3)) for root in (classes, moved))
    assert (here.fingerprint, val_of(here)) == (there.fingerprint, val_of(there))
    assert val_of(index_folder(classes, split=Split(0.3, seed=1))) != val_of(here)


def test_hashes_know_where_the_validation_images_begin(classes: Path) -> None:
    """The same files in the same order, of which more are validated, are another data set."""
    one = index_folder(classes, split=Split(0.3))
    paths = [*one.train, *one.val]
    middle = len(one.train) - 1
    other = ImageIndex(
        one.root, one.classes, one.breeds, one.train[:middle], one.train.of(paths[middle:]), split=one.split
    )
    assert [*other.train, *other.val] == paths
    assert other.fingerprint != one.fingerprint
    assert other.state_of_files != one.state_of_files


def test_a_class_on_one_side_is_named_with_a_seed_that_does() -> None:
    lonely = [name for name in NAMES if not Split().is_val(name)][:3]
    with pytest.raises(
        UserError, match=r"cat \(3 images, none to validate on\).* set data.split_seed (\d+)"
    ) as refused:
        check_sides(Split(), {"cat": lonely, "dog": NAMES})
    seed = int(str(refused.value).partition("data.split_seed ")[2].partition(",")[0])
    check_sides(Split(seed=seed), {"cat": lonely, "dog": NAMES})
    validated = [name for name in NAMES if Split().is_val(name)][:2]
    with pytest.raises(UserError, match=r"cat \(2 images, none to train on\)"):
        check_sides(Split(), {"cat": validated, "dog": NAMES})


def test_a_class_with_one_image_needs_another() -> None:
    with pytest.raises(UserError, match=r"cat \(1 image, none to validate on\)") as refused:
        check_sides(Split(), {"cat": [name for name in NAMES if not Split().is_val(name)][:1]})
    assert "split_seed" not in str(refused.value)


def test_settings_without_an_effect_are_refused(small_folder: Path) -> None:
    assert open_data(DataConfig(folder=small_folder)).split is None
    for settings in ({"val_share": 0.3}, {"split_seed": 1}):
        with pytest.raises(UserError, match="has train/ and val/, which are used as they are"):
            open_data(DataConfig(folder=small_folder, **settings))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_leaves_something_on_both_sides(share: float) -> None:
    with pytest.raises(UserError, match="data.val_share is .*: expected a share above 0 and below 1"):
        DataConfig(val_share=share)


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        ([], "has 0 class folders with images: expected a folder for each class, at least 2, or train/ and val/"),
        (["one"], "has 1 class folders with images"),
        (["photos/cat", "photos/dog"], r"has 1 class folders with images.*do you mean .*/photos\?"),
        (["train/cat", "train/dog"], "has no folder val/: .*, or name .*/train to have its images divided"),
        (["cat", "cat/young", "cat/old"], "or train/ and val/ with such folders$"),
        (["."], "such folders; 1 images lie in .*own itself$"),
        (["val/cat", "val/dog"], "has no folder train/"),
        (["Training/cat", "validation/cat"], "holds Training/, validation/: expected train/ and val/, by these names"),
    ],
)
def test_a_folder_without_two_classes_is_refused(folders: list[str], told: str, classes: Path, tmp_path: Path) -> None:
    root = tmp_path / "own"
    root.mkdir()
    image = next(classes.rglob("*.JPEG"))
    for name in folders:
        (root / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, root / name)
    with pytest.raises(UserError, match=told):
        prepare_data(DataConfig(folder=root))


def test_a_data_set_in_root_is_never_divided(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    classes.rename(tmp_path / "data" / "imagewoof2-160")
    with pytest.raises(UserError, match="has no folder train/"):
        prepare_data(DataConfig(root=tmp_path / "data", variant="160px"))


def test_all_images_of_class_folders_or_those_of_val_alone_are_validated(classes: Path, small_folder: Path) -> None:
    everything = index_to_validate(classes)
    assert everything.counts() == {"train": 0, "val": 24}
    val = index_folder(small_folder).val
    shutil.rmtree(small_folder / "train")
    alone = index_to_validate(small_folder)
    assert (alone.val, alone.counts()["train"]) == (val, 0)
    (small_folder / "val").rename(small_folder / "train")
    with pytest.raises(UserError, match="has no folder val/"):
        index_to_validate(small_folder)
