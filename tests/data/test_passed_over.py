"""Every file that a training does not use is listed with a reason, and so is every image in both splits."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Woof
from woof_lightning.data import checking
from woof_lightning.data.checking import check_images, examined
from woof_lightning.data.config import DataConfig
from woof_lightning.data.duplicates import in_both
from woof_lightning.data.images import index_folder
from woof_lightning.data.imagewoof import open_checked_data, prepare_checked_data
from woof_lightning.data.listing import PassedOver, summary
from woof_lightning.data.splitting import Split
from woof_lightning.errors import UnreadableImageError, UserError

SMALL = ("--data.image_size", 32, "--data.num_workers", 0, "--data.batch_size", 4, "--model.arch", "shufflenet_v2_x0_5")


@pytest.fixture
def own(small_folder: Path, tmp_path: Path) -> Path:
    """A folder of two classes, with images that cannot be read and files that are not used."""
    root = tmp_path / "my photos"
    names = ("Müllers Hund", "cat")
    for name, drawn in zip(names, sorted((small_folder / "train").iterdir()), strict=True):
        (root / name / "deep er").mkdir(parents=True)
        for number, file in enumerate(sorted(drawn.iterdir())):
            shutil.copy(file, root / name / ("deep er" if number % 2 else "") / f"IMG {number} ä.jpg")
    return root


def clutter(root: Path) -> None:
    (root / "cat" / "zero.jpg").touch()
    (root / "cat" / "cut.jpg").write_bytes((root / "cat" / "IMG 0 ä.jpg").read_bytes()[:300])
    (root / "cat" / "link.jpg").symlink_to("nowhere.jpg")
    (root / "cat" / "up").symlink_to("..")
    (root / "cat" / "a.HEIC").write_text("x", encoding="utf-8")
    (root / "cat" / ".hidden.jpg").write_text("x", encoding="utf-8")
    (root / ".git").mkdir()
    (root / ".DS_Store").write_text("x", encoding="utf-8")
    (root / "stray.jpg").write_text("x", encoding="utf-8")
    (root / "nothing").mkdir()


NOT_USED = {
    ".DS_Store": "of the file manager",
    ".git": "hidden folder",
    "stray.jpg": ".jpg beside the class folders",
    "cat/.hidden.jpg": "hidden file",
    "cat/a.HEIC": ".heic",
    "cat/up": "link to a folder above",
    "nothing/": "empty class folder",
}
UNREADABLE = {"cat/cut.jpg", "cat/link.jpg", "cat/zero.jpg"}


def test_each_file_that_is_not_used_is_listed_with_its_kind(own: Path) -> None:
    before = index_folder(own, split=Split(0.3))
    assert before.passed_over == ()
    clutter(own)
    index = index_folder(own, split=Split(0.3))
    assert {one.path: one.kind for one in index.passed_over} == NOT_USED
    assert all(one.reason for one in index.passed_over)
    assert set(index.train.paths) | set(index.val.paths) == {*before.train.paths, *before.val.paths, *UNREADABLE}


def test_a_link_to_the_whole_folder_brings_no_other_class(own: Path) -> None:
    (own / "cat" / "all").symlink_to(own)
    (own / "cat" / "own").symlink_to(own / "cat")
    index = index_folder(own, split=Split(0.3))
    assert sorted(one.path for one in index.passed_over) == ["cat/all", "cat/own"]
    assert sum(index.counts().values()) == 16


def test_the_terminal_shows_a_count_and_the_first_few() -> None:
    files = [PassedOver(f"{number}.heic", ".heic", "") for number in range(5)]
    files += [PassedOver(".DS_Store", "of the file manager", ""), PassedOver("a\nb.txt", ".txt", "")]
    assert summary(files) == r"5 .heic (0.heic, 1.heic, 2.heic and 2 more), 1 .txt (a\nb.txt)"
    assert summary(files[5:6]) == ""


def test_all_images_that_cannot_be_read_are_named_at_once(own: Path, tmp_path: Path) -> None:
    clutter(own)
    index = index_folder(own, split=Split(0.3))
    with pytest.raises(UnreadableImageError) as refused:
        check_images(index, tmp_path)
    assert "3 images of" in str(refused.value)
    assert all(str(own / path) in str(refused.value) for path in UNREADABLE)
    assert "zero.jpg is not an image (it is empty)" in str(refused.value)
    for number in range(4):
        (own / "cat" / f"zero {number}.jpg").touch()
    with pytest.raises(UnreadableImageError, match="7 images of .*(?s:.)*and 2 more"):
        check_images(index_folder(own, split=Split(0.3)), tmp_path)


def test_they_are_checked_again_until_they_can_be_read(own: Path, tmp_path: Path) -> None:
    (own / "cat" / "link.jpg").symlink_to(own / "elsewhere.jpg")
    index = index_folder(own, split=Split(0.3))
    assert examined(index, tmp_path).unreadable.keys() == {"cat/link.jpg"}
    shutil.copy(own / "cat" / "IMG 0 ä.jpg", own / "elsewhere.jpg")
    assert examined(index, tmp_path).unreadable == {}


def test_they_are_left_out_if_the_settings_say_so(own: Path) -> None:
    whole = index_folder(own, split=Split(0.3))
    clutter(own)
    config = DataConfig(folder=own, val_share=0.3, image_size=32, skip_unreadable=True)
    index = prepare_checked_data(config)
    assert (index.train.paths, index.val.paths) == (whole.train.paths, whole.val.paths)
    assert index.fingerprint == whole.fingerprint
    assert {one.path for one in index.passed_over} == {*NOT_USED, *UNREADABLE}
    in_another_process = open_checked_data(config)
    assert in_another_process.fingerprint == index.fingerprint
    for file in (own / "cat").rglob("IMG*"):
        file.write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="my photos has no train image of cat that can be read"):
        prepare_checked_data(config)


def test_a_class_of_other_kinds_alone_is_refused_and_an_empty_one_passed_over(own: Path) -> None:
    (own / "birds").mkdir()
    assert index_folder(own, split=Split(0.3)).classes == ("Müllers Hund", "cat")
    (own / "birds" / "a.heic").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="birds holds no image .*of other kinds it holds .heic: fill it or remove it"):
        index_folder(own, split=Split(0.3))


def test_a_class_that_is_empty_in_both_splits_is_passed_over(small_folder: Path) -> None:
    before = index_folder(small_folder)
    for split in ("train", "val"):
        (small_folder / split / "a class").mkdir()
    index = index_folder(small_folder)
    assert (index.classes, index.fingerprint) == (before.classes, before.fingerprint)
    assert [one.path for one in index.passed_over] == ["train/a class/", "val/a class/"]


def test_what_lies_beside_train_and_val_is_listed_for_a_folder_of_one_s_own(small_folder: Path) -> None:
    (small_folder / "test" / "cat").mkdir(parents=True)
    (small_folder / "labels.csv").write_text("x", encoding="utf-8")
    assert index_folder(small_folder).passed_over == ()
    found = {one.path: one.kind for one in index_folder(small_folder, split=Split()).passed_over}
    assert found == {"test/": "folder beside train/ and val/", "labels.csv": ".csv beside the class folders"}


def copies(root: Path) -> list[tuple[str, str]]:
    """Copies a training image into val/ twice, and adds files of its size; returns the pairs."""
    index = index_folder(root)
    train = index.train[0].path
    folder = root / "val" / index.classes[1]
    for name in ("copy.jpg", "copy of it.jpg"):
        shutil.copy(root / train, folder / name)
    content = bytearray((root / train).read_bytes())
    content[13] ^= 1  # The unit of its resolution: the image stays whole.
    (folder / "other.jpg").write_bytes(content)
    return [(train, f"val/{index.classes[1]}/{name}") for name in ("copy of it.jpg", "copy.jpg")]


def test_images_in_both_splits_are_found(small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_both(index_folder(small_folder)) == []
    pairs = copies(small_folder)
    index = index_folder(small_folder)
    read: list[Path] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self) or real(self))  # type: ignore[func-returns-value]
    assert in_both(index) == pairs
    sizes = Counter(file.stat().st_size for file in read)
    assert set(sizes) == set(index.train.sizes_bytes) & set(index.val.sizes_bytes)
    assert len(read) < len(index.train)


def test_many_images_are_compared_only_when_asked(
    small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = copies(small_folder)
    monkeypatch.setattr(checking, "DECODE_ALL_UP_TO_FILES", 5)
    index = index_folder(small_folder)
    assert examined(index, tmp_path).in_both is None
    assert [tuple(pair) for pair in examined(index, tmp_path, complete=True).in_both or ()] == pairs
    # It is remembered from then on.
    monkeypatch.setattr(checking, "in_both", lambda index: pytest.fail("compared again"))
    assert [tuple(pair) for pair in examined(index, tmp_path).in_both or ()] == pairs


@pytest.mark.parametrize("verb", [["fit"], ["loop", "bare"]])
def test_a_run_tells_and_records_what_it_does_not_use(verb: list[str], own: Path, woof: Woof) -> None:
    clutter(own)
    options = [*verb, "--data.folder", own, *SMALL, "--trainer.max_epochs", 1, "--data.val_share", 0.3, "--name", "run"]
    refused = woof(*options)
    assert refused.code == 2
    assert "3 images of" in refused.err
    shutil.copy(own / "cat" / "IMG 0 ä.jpg", own / "cat" / "copy 1.jpg")
    index = index_folder(own, split=Split(0.3))
    sides = dict.fromkeys(index.val.paths, "val")
    name = next(f"c{n}.jpg" for n in range(99) if Split(0.3).is_val(f"cat/c{n}.jpg") != ("cat/IMG 0 ä.jpg" in sides))
    (own / "cat" / "copy 1.jpg").rename(own / "cat" / name)
    done = woof(*options, "--data.skip_unreadable", "true")
    assert done.code == 0, done.err
    assert "has no train/ and val/: by their names" in done.err
    assert "1 .heic (cat/a.HEIC)" in done.err
    assert "3 unreadable (cat/cut.jpg" in done.err
    assert " validation images are training images too, byte for byte" in done.err
    data = json.loads(Path("runs/run/result.json").read_text(encoding="utf-8"))["data"]
    assert (data["val_share"], data["split_seed"], data["in_both"]) == (0.3, 0, 1)
    assert data["train"] + data["val"] == 17
    assert data["not_used"]["unreadable"] == 3
    config = Path("runs/run/config.yaml").read_text(encoding="utf-8")
    assert "val_share: 0.3" in config
    resumed = woof(*options, "--data.skip_unreadable", "true", "--resume", "--data.split_seed", 1)
    assert resumed.code == 2
    assert "data.split_seed was 0, now 1" in resumed.err


def test_data_check_lists_every_file(own: Path, woof: Woof) -> None:
    clean = woof("data", "--folder", own, "--val_share", 0.3, "--check")
    assert (clean.code, clean.out.splitlines()[0]) == (0, "every file is an image, used once"), clean.err
    clutter(own)
    for number in range(9):
        (own / "cat" / f"{number}.heic").write_text("x", encoding="utf-8")
    listed = woof("data", "--folder", own, "--val_share", 0.3, "--check")
    assert listed.code == 2
    files = [line.partition("  ")[0] for line in listed.out.splitlines()[1:]]
    assert set(files) == {*NOT_USED, *UNREADABLE, *(f"cat/{number}.heic" for number in range(9))}
    assert "3 images of" in listed.err
