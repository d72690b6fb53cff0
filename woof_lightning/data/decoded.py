"""One file with the decoded pixels of many images, which every worker, run and loop reads instead of decoding.

The file is read, not mapped into memory: a mapped file that is cut short ends the process that reads it, without a
message.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from woof_lightning.data.decoding import read_untrusted_image
from woof_lightning.data.images import in_order
from woof_lightning.errors import DamagedCacheError

# Increase the number with every change of the layout: magic, pixels of each image [H, W, 3], table, footer.
MAGIC = b"WOOFPIX1"
# Where an image's pixels begin, its sides in px, and the CRC-32 of its pixels.
ROW = np.dtype([("offset", "<i8"), ("height", "<i4"), ("width", "<i4"), ("crc32", "<u4")])
FOOTER = np.dtype([("images", "<i8"), ("table_crc32", "<u4"), ("magic", "S8")])


def write_decoded(file: Path, paths: Iterable[Path], count: int) -> None:
    """Decodes images, on all cores, into a new file, and waits until it is on the disk.

    Args:
        file: The file to write.
        paths: The image files. Their places in this order are their numbers in the file.
        count: The number of images.

    Raises:
        UnreadableImageError: If an image cannot be decoded.
        OSError: If the disk is full or cannot be written to.
    """
    table = np.zeros(count, ROW)
    with file.open("wb") as out:
        out.write(MAGIC)
        images = in_order(read_untrusted_image, paths)
        for place, image in enumerate(tqdm(images, "decoding images", count, leave=False, disable=None)):
            pixels = image.permute(1, 2, 0).contiguous().numpy()
            table[place] = (out.tell(), *pixels.shape[:2], zlib.crc32(pixels.data))
            out.write(pixels.data)
        out.write(table.data)
        out.write(np.array([(len(table), zlib.crc32(table.data), MAGIC)], FOOTER).data)
        out.flush()
        os.fsync(out.fileno())


def decoded_bytes(pixels: int, images: int) -> int:
    """Returns the size of a file of decoded images.

    Args:
        pixels: The number of pixels of all images together.
        images: The number of images.
    """
    return len(MAGIC) + 3 * pixels + images * ROW.itemsize + FOOTER.itemsize


class DecodedImages:
    """The decoded images of a file that write_decoded wrote. Worker processes can share one.

    The table is verified at once, the pixels of an image when a process reads them for the first time.

    Args:
        file: The file.

    Raises:
        DamagedCacheError: If the file was cut short or damaged, or another version wrote it.
        OSError: If it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._open()

    def _open(self) -> None:
        self._opened = self.file.open("rb", buffering=0)
        self._table = _read_table(self._opened, self.file)
        self._verified = np.zeros(len(self._table), bool)

    def __len__(self) -> int:
        return len(self._table)

    def __getstate__(self) -> Path:
        return self.file

    def __setstate__(self, file: Path) -> None:
        self.file = file
        self._open()

    def read(self, place: int) -> Tensor:
        """Returns an image as read_image does: [3, H, W], uint8, RGB.

        Args:
            place: The image's number.

        Raises:
            DamagedCacheError: If its pixels are damaged. The file is removed then, so that the next run writes it anew.
        """
        offset, height, width, crc32 = self._table[place].tolist()
        pixels = np.empty((height, width, 3), np.uint8)
        complete = _read_at(self._opened, offset, pixels) == pixels.nbytes
        if not self._verified[place] or not complete:
            if not complete or zlib.crc32(pixels.data) != crc32:
                with suppress(OSError):
                    self.file.unlink()
                raise damaged(self.file, f"the pixels of image {place} are not those that were written")
            self._verified[place] = True
        return torch.from_numpy(pixels).permute(2, 0, 1)


def _read_table(opened: BinaryIO, file: Path) -> NDArray[np.void]:
    size_bytes = os.fstat(opened.fileno()).st_size
    footer = np.zeros(1, FOOTER)
    if size_bytes < FOOTER.itemsize or _read_at(opened, size_bytes - FOOTER.itemsize, footer) != FOOTER.itemsize:
        raise damaged(file, "it was cut short")
    images, table_crc32, magic = footer[0].tolist()
    if magic != MAGIC:
        raise damaged(file, "it was cut short, or another version of this program wrote it")
    table_start = size_bytes - FOOTER.itemsize - images * ROW.itemsize
    table = np.zeros(max(images, 0) if table_start >= len(MAGIC) else 0, ROW)
    if _read_at(opened, max(table_start, 0), table) != table.nbytes or zlib.crc32(table.data) != table_crc32:
        raise damaged(file, "its table of images is damaged")
    return table


def _read_at(opened: BinaryIO, offset: int, into: NDArray[np.generic]) -> int:
    """Reads into an array from a place in a file, and returns the number of bytes read."""
    buffer = into.reshape(-1).view(np.uint8).data
    if hasattr(os, "preadv"):  # Windows does not have it, but its workers do not share a place in the file either.
        return os.preadv(opened.fileno(), [buffer], offset)
    opened.seek(offset)
    read: Callable[[memoryview], int] = opened.readinto  # type: ignore[attr-defined]
    return read(buffer)


def damaged(file: Path, how: str) -> DamagedCacheError:
    """Returns the error for a file of decoded images that cannot be used."""
    return DamagedCacheError(
        f"the decoded images in {file} cannot be used ({how}): run the command again, which decodes them again; or "
        "set data.cache off"
    )
