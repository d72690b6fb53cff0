"""Checks every image of a data set: whether it can be read, its size, and whether it is in both splits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from woof_lightning.data.decoding import image_size_px, read_untrusted_image
from woof_lightning.data.duplicates import in_both
from woof_lightning.data.images import ImageIndex, in_order, user_cache_dir
from woof_lightning.data.notes import lists_all
from woof_lightning.errors import UnreadableImageError

# Above this, only the headers are read, and nobody looks for images in both splits: that would read all files.
DECODE_ALL_UP_TO_FILES = 20_000
MOST_NAMED = 5


@dataclass(frozen=True)
class CheckedImages:
    """What a check of all images found.

    Args:
        longest_side_px: The longest side of any image.
        longest_shape: The path of the image whose sides differ most, relative to the data set's folder.
        longest_shape_ratio: Its long side over its short side.
        pixels: The number of pixels of all images together.
        in_both: Pairs of a training and a validation image whose files are equal; None if nobody has looked.
        unreadable: What is wrong with each image that cannot be read, by its path.
    """

    longest_side_px: int
    longest_shape: str
    longest_shape_ratio: float
    pixels: int
    in_both: Sequence[tuple[str, str]] | None
    unreadable: dict[str, str]

    def and_one(self, path: str, width: int, height: int) -> CheckedImages:
        """Returns what a check of these images and of one more found."""
        ratio = max(width, height) / max(1, min(width, height))
        shape = (path, ratio) if ratio > self.longest_shape_ratio else (self.longest_shape, self.longest_shape_ratio)
        longest_side_px, pixels = max(self.longest_side_px, width, height), self.pixels + width * height
        return CheckedImages(longest_side_px, *shape, pixels, self.in_both, self.unreadable)


def with_pairs(index: ImageIndex, checked: CheckedImages) -> ImageIndex:
    """Returns the index with the pairs of equal files that a check of it found.

    Args:
        index: The images.
        checked: What the check found.
    """
    if checked.in_both is None:
        return index
    return replace(index, in_both=tuple((train, val) for train, val in checked.in_both))


def check_images(index: ImageIndex, cache_dir: Path | None = None) -> CheckedImages:
    """Checks that every image can be read.

    Args:
        index: The images.
        cache_dir: Where to keep the result; by default the user's cache folder.

    Raises:
        UnreadableImageError: If images cannot be read. The message names the first ones.
    """
    checked = examined(index, cache_dir)
    check_readable(index, checked)
    return checked


def check_readable(index: ImageIndex, checked: CheckedImages) -> None:
    """Raises an UnreadableImageError that names the first images that cannot be read, if there are any.

    Args:
        index: The images.
        checked: What a check of them found.
    """
    problems = [f"{index.root / path} {problem}" for path, problem in checked.unreadable.items()]
    if len(problems) == 1:
        raise UnreadableImageError(problems[0])
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems[:MOST_NAMED])
        more = f"\n  - … and {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
        raise UnreadableImageError(
            f"{len(problems)} images of {index.root} cannot be read (data.skip_unreadable true trains without them). "
            f"{lists_all(index.root)}{lines}{more}"
        )


def examined(index: ImageIndex, cache_dir: Path | None = None, *, complete: bool = False) -> CheckedImages:
    """Reads every image, and says what it found.

    Up to 20,000 files are decoded, and those in both splits are found. If there are more, only their headers are read.
    If all can be read, the result is kept in `cache_dir` and reused until a file changes.

    Args:
        index: The images.
        cache_dir: Where to keep the result; by default the user's cache folder.
        complete: Whether to decode all files and find those in both splits, however many there are.
    """
    count = len(index.train) + len(index.val)
    all_of_it = complete or count <= DECODE_ALL_UP_TO_FILES
    record = (cache_dir or user_cache_dir()) / f"checked-{index.state_of_files}.json"
    try:
        kept = CheckedImages(**json.loads(record.read_text(encoding="utf-8")))
        if kept.in_both is not None or not all_of_it:
            return kept
    except (OSError, ValueError, TypeError):
        pass
    found = tqdm(
        in_order(_decoded_size if all_of_it else _claimed_size, index.paths),
        "checking images", count, leave=False, disable=None,
    )  # fmt: skip
    checked = CheckedImages(0, "", 0.0, 0, None, {})
    for path, size in zip(chain(index.train.paths, index.val.paths), found, strict=True):
        if isinstance(size, str):
            checked.unreadable[path] = size.removeprefix(f"{index.root / path} ")
        else:
            checked = checked.and_one(path, *size)
    if all_of_it:
        checked = replace(checked, in_both=in_both(index))
    if not checked.unreadable:  # What could not be read may be readable next time, as on a disk that was away.
        _remember(record, checked)
    return checked


def _decoded_size(path: Path) -> tuple[int, int] | str:
    """Returns an image's width and height, or why it cannot be read."""
    try:
        height, width = read_untrusted_image(path).shape[1:]
    except UnreadableImageError as error:
        return str(error)
    return int(width), int(height)


def _claimed_size(path: Path) -> tuple[int, int] | str:
    try:
        return image_size_px(path)
    except UnreadableImageError as error:
        return str(error)


def _remember(record: Path, checked: CheckedImages) -> None:
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(asdict(checked)), encoding="utf-8")
    except OSError:
        pass  # If the cache folder is read-only, the images are checked again next time.
