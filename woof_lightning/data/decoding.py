"""Decodes image files: upright, RGB, 8 bits a channel, whatever the format; and reads their size from the header."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from woof_lightning.errors import UnreadableImageError, reason_of

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
    # Pillow reads these if it was built with their libraries, as its wheels are. (Asking it for a list of all that it
    # supports would import tkinter.)
    *((".avif",) if features.check_module("avif") else ()),
    *((".jp2", ".j2k", ".jpx") if features.check_codec("jpg_2000") else ()),
)
# torchvision decodes JPEG twice as fast as Pillow. (A damaged PNG can crash it: tests/upstream/test_torchvision.py.)
JPEG = b"\xff\xd8\xff"  # Not the suffix: names can be wrong.
# This many pixels take 300 MB when decoded. A file of a few KB can claim to hold many GB.
MOST_PIXELS = 100_000_000


def read_image(path: Path) -> Tensor:
    """Decodes an image file: its first frame, turned upright as its EXIF orientation says.

    16 bits a channel become 8 by dropping the lower ones. Floats from 0 to 1 are scaled to 255.

    Returns:
        [3, H, W], uint8, RGB. Greyscale is repeated over the three channels.

    Raises:
        UnreadableImageError: If the file cannot be decoded. The message names it.
    """
    try:
        content = np.fromfile(path, np.uint8)
        if content[: len(JPEG)].tobytes() == JPEG:
            return _with_torchvision(content)
        with Image.open(io.BytesIO(content.tobytes())) as image:
            pixels = _eight_bits(ImageOps.exif_transpose(image), image.format)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    except Exception as error:  # What a decoder raises depends on how the file is damaged.
        raise UnreadableImageError(
            f"{path} cannot be decoded as an image ({reason_of(error)}): replace the file or remove it"
        ) from error


def read_untrusted_image(path: Path) -> Tensor:
    """Decodes an image file, but first checks in its header that it will fit into memory.

    Returns:
        [3, H, W], uint8, RGB, as read_image does.

    Raises:
        UnreadableImageError: If the file cannot be decoded or claims an absurd size. The message names it.
    """
    image_size_px(path)
    return read_image(path)


def image_size_px(path: Path) -> tuple[int, int]:
    """Returns the width and height that a file's header claims, without decoding it.

    Raises:
        UnreadableImageError: If it is no image or claims an absurd size. The message names the file.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns above 89 million pixels. Here the limit is MOST_PIXELS.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Not Image.open(path): some decoders cannot take a name that is no UTF-8.
            with path.open("rb") as file, Image.open(file) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{path} claims an absurd size ({error}): remove the file") from error
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{path} is not there (any more): replace the file, or mend the link") from error
    except UnidentifiedImageError as error:
        why = "no known image begins as it does" if path.stat().st_size else "it is empty"
        raise UnreadableImageError(f"{path} is not an image ({why}): replace the file or remove it") from error
    except Exception as error:  # What Pillow raises depends on how the file is damaged.
        raise UnreadableImageError(
            f"{path} is not an image ({reason_of(error)}): replace the file or remove it"
        ) from error
    if width * height > MOST_PIXELS:
        raise UnreadableImageError(
            f"{path} claims {width} x {height} px: expected at most {MOST_PIXELS:,} pixels; shrink or remove the file"
        )
    return width, height


def _with_torchvision(content: NDArray[np.uint8]) -> Tensor:
    decoded: Tensor = decode_image(torch.from_numpy(content), mode=ImageReadMode.RGB, apply_exif_orientation=True)
    return decoded


def _eight_bits(image: Image.Image, file_format: str | None) -> NDArray[np.uint8]:
    """Returns pixels [H, W, 3]. Pillow would clip what has more than 8 bits a channel.

    Raises:
        ValueError: If the range of the pixels is not known.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PPM"):
        return _grey(np.asarray(image) >> 8)
    if image.mode == "F":
        floats = np.asarray(image)
        if not (floats.min() >= 0 and floats.max() <= 1):
            raise ValueError(f"its pixels are floats from {floats.min():.3g} to {floats.max():.3g}, expected 0 to 1")
        return _grey(np.round(floats * 255))
    if image.mode == "I":
        raise ValueError("its pixels are 32-bit integers, expected 8 or 16 bits")
    return np.array(image.convert("RGB"))


def _grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)
