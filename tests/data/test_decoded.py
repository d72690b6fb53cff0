"""The file of decoded images: the same pixels, and every kind of damage is noticed."""

from __future__ import annotations

import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from woof_lightning.data.decoded import FOOTER, MAGIC, ROW, DecodedImages, decoded_bytes, write_decoded
from woof_lightning.data.decoding import read_image
from woof_lightning.errors import DamagedCacheError, UnreadableImageError

SIZES = [(5, 7), (20, 3), (1, 1), (64, 48), (9, 9)]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Images of several sizes, formats and modes."""
    rng = np.random.default_rng(0)
    found = []
    for number, (width, height) in enumerate(SIZES):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        image, suffix = Image.fromarray(pixels), ("jpg", "png", "webp", "jpg", "gif")[number]
        found.append(tmp_path / f"{number}.{suffix}")
        (image.convert("L") if number == 3 else image).save(found[-1])
    return found


@pytest.fixture
def file(paths: list[Path], tmp_path: Path) -> Path:
    """These images, decoded."""
    write_decoded(tmp_path / "decoded", paths, len(paths))
    return tmp_path / "decoded"


def test_the_pixels_are_those_of_the_files(paths: list[Path], tmp_path: Path) -> None:
    write_decoded(tmp_path / "decoded", paths, len(paths))
    images = DecodedImages(tmp_path / "decoded")
    assert len(images) == len(paths)
    for _ in range(2):  # The second time, they are not verified again.
        for place in reversed(range(len(paths))):
            found, expected = images.read(place), read_image(paths[place])
            assert found.dtype == torch.uint8
            assert torch.equal(found, expected)
            assert tuple(found.shape) == (3, *SIZES[place][::-1])


def test_two_reads_of_an_image_share_no_memory(file: Path) -> None:
    images = DecodedImages(file)
    first = images.read(0)
    before = first.clone()
    first.zero_()
    assert torch.equal(images.read(0), before)


def test_the_size_is_known_before(file: Path) -> None:
    pixels = sum(width * height for width, height in SIZES)
    assert file.stat().st_size == decoded_bytes(pixels, len(SIZES))


def test_another_process_reads_the_same(file: Path) -> None:
    images = pickle.loads(pickle.dumps(DecodedImages(file)))
    assert torch.equal(images.read(3), DecodedImages(file).read(3))


def test_an_image_that_cannot_be_decoded_is_named(paths: list[Path], tmp_path: Path) -> None:
    paths[2].write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match=paths[2].name):
        write_decoded(tmp_path / "decoded", paths, len(paths))


@pytest.mark.parametrize("kept_bytes", [0, 1, FOOTER.itemsize - 1, FOOTER.itemsize, 100, -ROW.itemsize, -8, -1])
def test_a_file_that_was_cut_short_is_not_opened(file: Path, kept_bytes: int) -> None:
    size_bytes = file.stat().st_size
    os.truncate(file, kept_bytes % size_bytes)
    with pytest.raises(DamagedCacheError, match=str(file)):
        DecodedImages(file)


def test_a_file_of_another_version_is_not_opened(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: -len(MAGIC)] + b"WOOFPIX0")
    with pytest.raises(DamagedCacheError, match="another version"):
        DecodedImages(file)


@pytest.mark.parametrize("place", [0, ROW.itemsize, len(SIZES) * ROW.itemsize - 1])
def test_a_damaged_table_is_noticed_at_once(file: Path, place: int) -> None:
    flip(file, file.stat().st_size - FOOTER.itemsize - len(SIZES) * ROW.itemsize + place)
    with pytest.raises(DamagedCacheError, match="table"):
        DecodedImages(file)


@pytest.mark.parametrize("images", [len(SIZES) + 1, len(SIZES) - 1, 10**12, -1])
def test_a_wrong_number_of_images_is_noticed_at_once(file: Path, images: int) -> None:
    content = file.read_bytes()
    footer = np.frombuffer(content[-FOOTER.itemsize :], FOOTER).copy()
    footer["images"] = images
    file.write_bytes(content[: -FOOTER.itemsize] + footer.tobytes())
    with pytest.raises(DamagedCacheError):
        DecodedImages(file)


def test_damaged_pixels_are_noticed_when_they_are_read_and_the_file_goes(file: Path) -> None:
    whole = DecodedImages(file)
    flip(file, int(whole._table["offset"][3]) + 10)
    images = DecodedImages(file)
    for place in (0, 1, 2, 4):
        images.read(place)
    with pytest.raises(DamagedCacheError, match="decodes them again"):
        images.read(3)
    assert not file.exists()


def test_pixels_are_verified_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crc32, images, verified = zlib.crc32, DecodedImages(file), list[int]()

    def noting(content: Any) -> int:
        verified.append(len(content))
        return crc32(content)

    monkeypatch.setattr(zlib, "crc32", noting)
    for place in (2, 2, 1, 2):
        images.read(place)
    assert len(verified) == 2


def test_a_file_that_is_cut_short_while_it_is_used_ends_with_an_error(file: Path) -> None:
    images = DecodedImages(file)
    images.read(4)
    os.truncate(file, int(images._table["offset"][4]) + 10)
    images.read(3)
    with pytest.raises(DamagedCacheError):
        images.read(4)


def test_a_file_that_is_deleted_while_it_is_used_is_read_to_the_end(file: Path, paths: list[Path]) -> None:
    images = DecodedImages(file)
    file.unlink()
    assert torch.equal(images.read(3), read_image(paths[3]))


def flip(file: Path, place: int) -> None:
    """Changes one byte of a file."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_the_whole_file_is_on_the_disk_when_it_is_written(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    write_decoded(tmp_path / "decoded", paths, len(paths))
    assert synced == [(tmp_path / "decoded").stat().st_size]
