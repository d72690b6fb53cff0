from __future__ import annotations

import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from woof_lightning.data import checking, decoding, images
from woof_lightning.data.checking import check_images
from woof_lightning.data.decoding import read_image
from woof_lightning.data.images import in_order, index_folder
from woof_lightning.data.notes import tell
from woof_lightning.errors import UnreadableImageError, UserError


def test_index_is_sorted_and_labels_follow_the_folders(small_folder: Path) -> None:
    index = index_folder(small_folder)
    assert index.classes == tuple(sorted(index.classes))
    assert index.counts() == {"train": 16, "val": 8}
    assert [s.path for s in index.train] == sorted(s.path for s in index.train)
    assert all(index.classes[s.label] == s.path.split("/")[1] for s in index.train)


def test_hidden_files_and_litter_are_skipped(small_folder: Path) -> None:
    before = index_folder(small_folder)
    (small_folder / "train" / ".ipynb_checkpoints").mkdir()
    (small_folder / "train" / before.classes[0] / "._resource.jpg").write_text("x", encoding="utf-8")
    (small_folder / "train" / before.classes[0] / "Thumbs.db").write_text("x", encoding="utf-8")
    (small_folder / "val" / "desktop.ini").write_text("x", encoding="utf-8")
    index = index_folder(small_folder)
    assert (index.train, index.val) == (before.train, before.val)
    assert before.passed_over == ()
    assert [(one.path.removeprefix(f"train/{before.classes[0]}/"), one.is_litter) for one in index.passed_over] == [
        ("train/.ipynb_checkpoints", False),
        ("val/desktop.ini", True),
        ("._resource.jpg", True),
        ("Thumbs.db", True),
    ]


def test_files_that_are_not_used_are_counted_and_named(small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = index_folder(small_folder)
    folder = small_folder / "train" / before.classes[0]
    for name in ("a.heic", "b.HEIC", "notes.txt", "README"):
        (folder / name).write_text("x", encoding="utf-8")
    (small_folder / "val" / "stray.jpg").write_text("x", encoding="utf-8")
    index = index_folder(small_folder)
    assert (index.train, index.val, index.fingerprint) == (before.train, before.val, before.fingerprint)
    kinds = {".heic": 2, ".jpg beside the class folders": 1, ".txt": 1, "without a suffix": 1}
    assert Counter(one.kind for one in index.passed_over) == kinds
    assert index.described()["not_used"] == kinds
    assert "not_used" not in before.described()
    tell(index)
    tell(before)
    (line,) = capsys.readouterr().err.splitlines()
    first = f"train/{folder.name}"
    assert f"2 .heic ({first}/a.heic, {first}/b.HEIC), 1 .jpg beside the class folders (val/stray.jpg)" in line
    assert f"1 without a suffix ({first}/README). Images are read as .jpg" in line
    assert line.endswith(f"The whole list: woof data --folder {small_folder} --check")


def test_images_in_subfolders_belong_to_their_class(small_folder: Path) -> None:
    before = index_folder(small_folder)
    first = small_folder / "train" / before.classes[0]
    (first / "more" / "deeper").mkdir(parents=True)
    moved = sorted(first.glob("*.JPEG"))[0].rename(first / "more" / "deeper" / "moved.jpg")
    (first / "more" / "around").symlink_to(first)
    index = index_folder(small_folder)
    assert index.counts() == before.counts()
    (sample,) = (s for s in index.train if s.path.endswith("moved.jpg"))
    assert (sample.path, sample.label) == (f"train/{first.name}/more/deeper/moved.jpg", 0)
    assert sample.size_bytes == moved.stat().st_size


def test_an_empty_class_says_what_it_holds_instead(small_folder: Path) -> None:
    victim = next((small_folder / "val").iterdir())
    for file in victim.iterdir():
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(UserError, match=f"{victim} holds no image .*of other kinds it holds .heic"):
        index_folder(small_folder)


@pytest.mark.parametrize("suffix", decoding.SUFFIXES)
def test_every_suffix_that_is_listed_is_read(small_folder: Path, suffix: str, tmp_path: Path) -> None:
    before = index_folder(small_folder)
    first = next((small_folder / "train").rglob("*.JPEG"))
    kind = Image.registered_extensions().get(suffix, "PPM")
    Image.new("RGB", (8, 8)).save(first.with_name(f"new{suffix.upper()}"), format=kind)
    index = index_folder(small_folder)
    assert len(index.train) == len(before.train) + 1
    check_images(index, tmp_path)


def test_fingerprint_depends_on_the_content_and_not_on_the_place(small_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(small_folder, moved)
    before = index_folder(small_folder).fingerprint
    assert index_folder(moved).fingerprint == before
    next((moved / "val").rglob("*.JPEG")).unlink()
    assert index_folder(moved).fingerprint != before


def test_missing_split_is_named(small_folder: Path) -> None:
    shutil.rmtree(small_folder / "val")
    with pytest.raises(UserError, match="has no folder val/"):
        index_folder(small_folder)


def test_empty_class_is_named(small_folder: Path) -> None:
    victim = next((small_folder / "val").iterdir())
    for file in victim.iterdir():
        file.unlink()
    with pytest.raises(UserError, match=f"{victim} holds no image"):
        index_folder(small_folder)


def test_differing_classes_are_named(small_folder: Path) -> None:
    (small_folder / "val" / "cat").mkdir()
    with pytest.raises(UserError, match="only in train: none; only in val: cat"):
        index_folder(small_folder)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_greyscale_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"grey{suffix}"
    Image.new("L", (20, 10), 77).save(file)
    image = read_image(file)
    assert (tuple(image.shape), image.dtype) == ((3, 10, 20), torch.uint8)
    assert (image - 77).abs().max() <= 1


def test_transparency_and_palettes_become_rgb(tmp_path: Path) -> None:
    for mode in ("RGBA", "P", "LA"):
        file = tmp_path / f"{mode}.png"
        Image.new(mode, (4, 4)).save(file)
        assert read_image(file).shape == (3, 4, 4)


@pytest.mark.parametrize("content", [b"", b"<html>", "half"])
def test_unreadable_image_is_named_before_training(small_folder: Path, tmp_path: Path, content: bytes | str) -> None:
    victim = sorted((small_folder / "train").rglob("*.JPEG"))[-1]
    whole = victim.read_bytes()
    victim.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    with pytest.raises(UnreadableImageError, match=str(victim)):
        check_images(index_folder(small_folder), tmp_path)


def test_a_class_of_one_s_own_is_called_as_its_folder(small_folder: Path) -> None:
    index = index_folder(small_folder)
    assert (
        list(index.breeds) == list(index.classes) == sorted(place.name for place in (small_folder / "train").iterdir())
    )


def test_images_are_checked_again_only_after_a_change(
    small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "not" / "there yet"
    check_images(index_folder(small_folder), cache)
    # The second is remembered where the first has made the folder.
    next((small_folder / "val").rglob("*.JPEG")).touch()
    assert check_images(index_folder(small_folder), cache).longest_side_px == 128
    monkeypatch.setattr(decoding, "read_image", lambda path: pytest.fail(f"{path} was read again"))
    assert check_images(index_folder(small_folder), cache).longest_side_px == 128
    next((small_folder / "train").rglob("*.JPEG")).touch()
    with pytest.raises(pytest.fail.Exception):
        check_images(index_folder(small_folder), cache)


def test_only_the_headers_of_many_files_are_read(
    small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "DECODE_ALL_UP_TO_FILES", 1)
    monkeypatch.setattr(decoding, "read_image", lambda path: pytest.fail(f"{path} was decoded"))
    assert check_images(index_folder(small_folder), tmp_path).longest_side_px == 128
    victim = next((small_folder / "val").rglob("*.JPEG"))
    victim.write_text("no image", encoding="utf-8")
    with pytest.raises(UnreadableImageError, match=str(victim)):
        check_images(index_folder(small_folder), tmp_path)


def test_a_cache_that_cannot_be_written_is_no_error(small_folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    assert check_images(index_folder(small_folder), blocked / "cache").longest_side_px == 128


def png_that_claims(width: int, height: int) -> bytes:
    """Returns a PNG of a few bytes whose header claims a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(20_000, 10_000), (60_000, 60_000)])
def test_an_image_of_absurd_size_is_not_decoded(
    size: tuple[int, int], small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = next((small_folder / "train").rglob("*.JPEG")).with_suffix(".png")
    file.write_bytes(png_that_claims(*size))
    real = decoding.read_image
    monkeypatch.setattr(
        decoding, "read_image", lambda path: pytest.fail("decoded") if path.suffix == ".png" else real(path)
    )
    with pytest.raises(UnreadableImageError, match=r"claims"):
        check_images(index_folder(small_folder), tmp_path)


@pytest.mark.parametrize(("extra", "listed"), [(5, "c0, c1, c2, c3, c4;"), (7, "c0, c1, c2, c3, c4 and 2 more;")])
def test_a_long_list_of_classes_is_cut(extra: int, listed: str, small_folder: Path) -> None:
    for number in range(extra):
        (small_folder / "train" / f"c{number}").mkdir()
    with pytest.raises(UserError) as refused:
        index_folder(small_folder)
    assert f"only in train: {listed} only in val: none." in str(refused.value)


@pytest.mark.parametrize("count", [0, 2, 3, 7])
def test_results_come_in_order_and_not_all_at_once(count: int) -> None:
    taken: list[str] = []

    def paths() -> Iterator[Path]:
        for number in range(count):
            taken.append(str(number))
            yield Path(str(number))

    results = in_order(str, paths(), ahead=2)
    for number, result in enumerate(results):
        assert result == str(number)
        assert len(taken) <= number + 2
    assert len(taken) == count


def test_hashes_do_not_depend_on_how_many_lines_are_hashed_at_once(
    small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for lines in (1, 3, 10_000):
        monkeypatch.setattr(images, "LINES_AT_ONCE", lines)
        index = index_folder(small_folder)
        found.append((index.fingerprint, index.state_of_files))
    assert len(set(found)) == 1
