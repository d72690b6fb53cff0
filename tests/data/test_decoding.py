"""One picture in every format, depth and orientation is the same picture."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import Woof
from woof_lightning.data.checking import check_images
from woof_lightning.data.decoding import SUFFIXES, read_image, read_untrusted_image
from woof_lightning.data.images import index_folder
from woof_lightning.errors import UnreadableImageError, UserError

ORIENTATION = 274
# How a camera that was held differently stores the same picture, by the value of the EXIF tag.
STORED = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}
LOSSLESS: dict[str, dict[str, Any]] = {".png": {}, ".tif": {}, ".webp": {"lossless": True}}
LOSSY: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 100, "subsampling": 0},
    ".avif": {"quality": 100, "subsampling": "4:4:4"},
}


@pytest.fixture
def picture() -> Image.Image:
    """A picture of 24 x 16 px without symmetry: red grows to the right, green downwards, one corner is blue."""
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[..., 0] = np.arange(24) * 10
    pixels[..., 1] = np.arange(16)[:, None] * 15
    pixels[:8, :8, 2] = 200
    return Image.fromarray(pixels)


def pixels_of(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def png_of_16_bits(pixels: NDArray[np.uint16]) -> bytes:
    """Returns a PNG with 16 bits a channel, which Pillow writes in grey only. [H, W] is grey, [H, W, 3] RGB."""
    height, width = pixels.shape[:2]
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    chunks = (header, b"IDAT" + zlib.compress(lines), b"IEND")
    packed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def read_or_name(file: Path) -> torch.Tensor | None:
    """Returns the image, or None if the file is refused by its name. Anything else fails the test."""
    try:
        return read_untrusted_image(file)
    except UnreadableImageError as error:
        if str(file) not in str(error):
            raise
        return None


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [*LOSSLESS, *(suffix for suffix in LOSSY if suffix in SUFFIXES)])
def test_a_picture_is_turned_upright(suffix: str, orientation: int, picture: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = tmp_path / f"photo{suffix}"
    STORED[orientation](picture).save(file, exif=exif, **(LOSSLESS | LOSSY)[suffix])
    difference = (read_image(file).int() - pixels_of(picture).int()).abs()
    assert difference.shape == (3, 16, 24)
    assert difference.float().mean() <= (0 if suffix in LOSSLESS else 6)


@pytest.mark.parametrize("grey", [True, False])
def test_16_bits_give_the_picture_of_8_bits(grey: bool, picture: Image.Image, tmp_path: Path) -> None:
    small = np.array(picture.convert("L") if grey else picture)
    file = tmp_path / "deep.png"
    for deep in (small.astype(np.uint16) * 257, small.astype(np.uint16) * 256):
        file.write_bytes(png_of_16_bits(deep))
        expected = torch.from_numpy(small if not grey else np.repeat(small[..., None], 3, 2)).permute(2, 0, 1)
        assert torch.equal(read_image(file), expected)


@pytest.mark.parametrize("suffix", [".tif", ".jp2", ".pgm"])
def test_16_bits_of_grey_give_the_picture_of_8_bits(suffix: str, picture: Image.Image, tmp_path: Path) -> None:
    small = np.array(picture.convert("L"))
    file = tmp_path / f"deep{suffix}"
    if suffix == ".pgm":
        file.write_bytes(b"P5 24 16 65535\n" + (small.astype(">u2") * 257).tobytes())
    else:
        Image.fromarray(small.astype(np.uint16) * 257).save(file)
    assert torch.equal(read_image(file), torch.from_numpy(small).expand(3, -1, -1))


def test_floats_are_read_from_0_to_1_and_others_refused(picture: Image.Image, tmp_path: Path) -> None:
    small, file = np.array(picture.convert("L")), tmp_path / "float.tif"
    Image.fromarray(small.astype(np.float32) / 255).save(file)
    assert torch.equal(read_image(file), torch.from_numpy(small).expand(3, -1, -1))
    for odd in (small.astype(np.float32) * 3, -small.astype(np.float32) / 255, np.full((4, 4), np.nan, np.float32)):
        Image.fromarray(odd).save(file)
        with pytest.raises(UnreadableImageError, match=r"float.tif .*floats from .* expected 0 to 1"):
            read_image(file)


def test_integers_of_unknown_range_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "sensor.tif"
    Image.fromarray(np.full((4, 4), 100_000, np.int32)).save(file)
    with pytest.raises(UnreadableImageError, match=r"sensor.tif .*32-bit integers"):
        read_image(file)


@pytest.mark.parametrize("format", ["GIF", "TIFF", "WEBP", "PNG", "MPO"])
def test_of_several_frames_the_first_is_read_whatever_the_name(
    format: str, picture: Image.Image, tmp_path: Path
) -> None:
    file = tmp_path / "frames.jpg"
    others = [Image.new("RGB", picture.size, colour) for colour in ("white", "black")]
    picture.save(file, format=format, save_all=True, append_images=others)
    image = read_image(file)
    assert image.shape == (3, 16, 24)
    assert (image.int() - pixels_of(picture).int()).abs().float().mean() < 20


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "F"])
def test_every_kind_of_pixel_is_read_or_named(mode: str, tmp_path: Path) -> None:
    written = 0
    for suffix in SUFFIXES:
        file = tmp_path / f"{mode.replace(';', '')}{suffix}"
        try:
            Image.new(mode, (6, 4)).save(file)
        except (OSError, ValueError, KeyError):  # This format has no such pixels.
            continue
        written += 1
        image = read_or_name(file)
        assert image is None or (image.shape, image.dtype) == ((3, 4, 6), torch.uint8)
    assert written


def test_a_damaged_file_of_any_format_is_named(picture: Image.Image, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for suffix in SUFFIXES:
        if suffix not in Image.registered_extensions():
            continue
        whole = io.BytesIO()
        picture.save(whole, format=Image.registered_extensions()[suffix])
        for number in range(20):
            content = bytearray(whole.getvalue())
            for place in generator.integers(0, len(content), 1 + number):
                content[place] = generator.integers(0, 256)
            file = tmp_path / f"damaged{suffix}"
            file.write_bytes(content[: generator.integers(1, len(content) + 1)])
            read_or_name(file)


def test_a_long_thin_image_is_refused_before_it_is_resized(small_folder: Path, woof: Woof) -> None:
    file = next((small_folder / "val").rglob("*.JPEG")).with_name("line.png")
    Image.new("RGB", (1, 40_000)).save(file)
    assert file.stat().st_size < 400
    options = ("--data.folder", small_folder, "--data.batch_size", 8, "--data.num_workers", 0)
    outcome = woof("fit", *options)
    assert outcome.code == 2
    assert "line.png is 40,000 times as long as it is wide: at data.image_size 224 it would be resized" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_long_image_that_fits_is_used(small_folder: Path, tmp_path: Path) -> None:
    file = next((small_folder / "val").rglob("*.JPEG")).with_name("line.png")
    Image.new("RGB", (3000, 10)).save(file)
    checked = check_images(index_folder(small_folder), tmp_path)
    assert (checked.longest_side_px, checked.longest_shape_ratio) == (3000, 300)
    assert checked.longest_shape.endswith("line.png")


def test_a_link_to_nothing_is_named(small_folder: Path, tmp_path: Path) -> None:
    link = next((small_folder / "train").rglob("*.JPEG")).with_name("link.jpg")
    link.symlink_to("nowhere.jpg")
    with pytest.raises(UserError, match=r"link.jpg is not there .*: replace the file, or mend the link"):
        check_images(index_folder(small_folder), tmp_path)


def test_names_that_cannot_be_printed_are_read_and_shown(small_folder: Path, woof: Woof) -> None:
    for split in ("train", "val"):
        folder = small_folder / split
        first = sorted(folder.iterdir())[0]
        image = next(first.iterdir())
        os.rename(image, os.path.join(os.fsencode(first), b"odd\xff\n\x1b.JPEG"))  # noqa: PTH104, PTH118
        os.rename(first, os.path.join(os.fsencode(folder), b"breed\xfe $a^2$"))  # noqa: PTH104, PTH118
    listed = woof("data", "--folder", small_folder)
    assert (listed.code, listed.err) == (0, "")
    assert "breed\\udcfe $a^2$" in listed.out
    small = ("--data.folder", small_folder, "--data.batch_size", 8, "--data.image_size", 32, "--data.num_workers", 0)
    fitted = woof("fit", *small, "--trainer.max_epochs", 1, "--model.arch", "shufflenet_v2_x0_5", "--name", "odd")
    assert fitted.code == 0, fitted.err
    assert woof("validate", "--ckpt", "runs/odd", "--num_workers", 0).code == 0
    predicted = woof("predict", "--ckpt", "runs/odd", small_folder / "val", "--top", 1)
    assert predicted.code == 0, predicted.err
    assert "odd\\udcff\\n\\x1b.JPEG" in predicted.out
