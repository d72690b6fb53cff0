"""Folders of images by class: an index, a fingerprint of the content, and a check of every file."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, read_file
from tqdm import tqdm

from woof_lightning.data.config import usable_cores
from woof_lightning.errors import UnreadableImageError, UserError

SPLITS = ("train", "val")
# torchvision decodes these with libjpeg, libpng and libwebp, twice as fast as Pillow. Pillow decodes the others.
FAST_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SUFFIXES = (*FAST_SUFFIXES, ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
DECODE_ALL_UP_TO_FILES = 20_000
# This many pixels take 300 MB when decoded. A file of a few KB can claim to hold many GB.
MOST_PIXELS = 100_000_000


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Args:
        path: Its path relative to the data set's folder.
        label: The number of its class.
        size_bytes: The size of its file.
    """

    path: str
    label: int
    size_bytes: int


@dataclass(frozen=True)
class ImageIndex:
    """The images and classes of a data set, without the pixels.

    Args:
        root: The folder that contains train/ and val/.
        classes: The names of the class folders, sorted. A label is an index into this list.
        breeds: A readable name for each class.
        train: The training images, sorted by path.
        val: The validation images, sorted by path.
    """

    root: Path
    classes: tuple[str, ...]
    breeds: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of each file's path in the data set, its label and its size; the pixels are not read.

        It does not depend on where the folder is.
        """
        lines = [f"{s.path}\t{s.label}\t{s.size_bytes}" for s in (*self.train, *self.val)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def counts(self) -> dict[str, int]:
        """Returns the number of images per split."""
        return {"train": len(self.train), "val": len(self.val)}


def index_folder(root: Path, breed_of: Callable[[str], str] = lambda name: name) -> ImageIndex:
    """Lists the images of a folder.

    Args:
        root: A folder with train/<class>/ and val/<class>/. Hidden files and folders are skipped, and so are files
            without the suffix of an image.
        breed_of: Turns the name of a class folder into a readable one.

    Raises:
        UserError: If a split is missing, a class has no image, the splits' classes differ, or there is only one class.
    """
    names = {split: _class_names(root, split) for split in SPLITS}
    if names["train"] != names["val"]:
        only = {split: sorted(set(names[split]) - set(names[other])) for split, other in (SPLITS, SPLITS[::-1])}
        raise UserError(
            f"the classes of {root}/train and {root}/val differ: only in train: {_listed(only['train'])}; "
            f"only in val: {_listed(only['val'])}. Expected the same class folders in both"
        )
    if len(names["train"]) < 2:
        raise UserError(f"{root}/train has {len(names['train'])} class folders: expected at least 2")
    train, val = (_samples(root, split, names[split]) for split in SPLITS)
    return ImageIndex(root, names["train"], tuple(map(breed_of, names["train"])), train, val)


def _class_names(root: Path, split: str) -> tuple[str, ...]:
    folder = root / split
    if not folder.is_dir():
        raise UserError(f"{root} has no folder {split}/: expected train/<class>/ and val/<class>/ in it")
    return tuple(sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith(".")))


def _samples(root: Path, split: str, classes: tuple[str, ...]) -> tuple[Sample, ...]:
    samples = []
    for label, name in enumerate(classes):
        found = [
            Sample(f"{split}/{name}/{entry.name}", label, entry.stat().st_size)
            for entry in os.scandir(root / split / name)
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
        ]
        if not found:
            raise UserError(
                f"the class folder {root / split / name} holds no image ({', '.join(SUFFIXES)}): "
                "fill it or remove the class from both train/ and val/"
            )
        samples += sorted(found, key=lambda sample: sample.path)
    return tuple(samples)


def _listed(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    shown = ", ".join(names[:most])
    return (f"{shown} and {len(names) - most} more" if len(names) > most else shown) or "none"


def with_labels(index: ImageIndex, labels: dict[str, int]) -> ImageIndex:
    """Returns the same images with other training labels.

    Args:
        index: The images.
        labels: The label of each training image, by its path in the data set.

    Raises:
        KeyError: If a training image has no label.
    """
    return replace(index, train=tuple(replace(s, label=labels[s.path]) for s in index.train))


def read_image(path: Path) -> Tensor:
    """Decodes an image file.

    Returns:
        [3, H, W], uint8, RGB. Greyscale is repeated over the three channels.

    Raises:
        UnreadableImageError: If the file cannot be decoded. The message names it.
    """
    try:
        if path.suffix.lower() in FAST_SUFFIXES:
            decoded: Tensor = decode_image(read_file(str(path)), mode=ImageReadMode.RGB)
            return decoded
        with Image.open(path) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()
    except (RuntimeError, OSError, ValueError, SyntaxError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableImageError(
            f"{path} cannot be decoded as an image ({reason}): replace the file or remove it"
        ) from error


def read_untrusted_image(path: Path) -> Tensor:
    """Decodes an image file, but first checks in its header that it will fit into memory.

    Returns:
        [3, H, W], uint8, RGB. Greyscale is repeated over the three channels.

    Raises:
        UnreadableImageError: If the file cannot be decoded or claims an absurd size. The message names it.
    """
    _header_side(path)
    return read_image(path)


def check_images(index: ImageIndex, cache_dir: Path | None = None) -> int:
    """Checks that every image can be read, and returns the longest side of any image, in px.

    Up to 20,000 files are decoded. If there are more, only their headers are read. The result is kept in `cache_dir`
    and reused until a file changes.

    Args:
        index: The images.
        cache_dir: Where to keep the result; by default the user's cache folder.

    Raises:
        UnreadableImageError: If an image cannot be read. The message names the first one.
    """
    samples = (*index.train, *index.val)
    record = (cache_dir or _user_cache_dir()) / f"checked-{_state_of_files(index.root, samples)}.json"
    try:
        return int(json.loads(record.read_text())["longest_side_px"])
    except (OSError, ValueError, KeyError):
        pass
    measure = _decoded_side if len(samples) <= DECODE_ALL_UP_TO_FILES else _header_side
    paths = [index.root / sample.path for sample in samples]
    with ThreadPoolExecutor(usable_cores()) as pool:
        sides = tqdm(pool.map(measure, paths), "checking images", len(paths), leave=False, disable=None)
        longest_side_px = max(sides)
    _remember(record, {"longest_side_px": longest_side_px, "files": len(samples)})
    return longest_side_px


def _decoded_side(path: Path) -> int:
    height, width = read_untrusted_image(path).shape[1:]
    return int(max(height, width))


def _header_side(path: Path) -> int:
    try:
        with warnings.catch_warnings():
            # Pillow warns above 89 million pixels. Here the limit is MOST_PIXELS.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{path} claims an absurd size ({error}): remove the file") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise UnreadableImageError(f"{path} is not an image: replace the file or remove it") from error
    if width * height > MOST_PIXELS:
        raise UnreadableImageError(
            f"{path} claims {width} x {height} px: expected at most {MOST_PIXELS:,} pixels; shrink or remove the file"
        )
    return int(max(width, height))


def _state_of_files(root: Path, samples: Iterable[Sample]) -> str:
    state = hashlib.sha256(str(root.resolve()).encode())
    for sample in samples:
        state.update(f"{sample.path}\t{sample.size_bytes}\t{(root / sample.path).stat().st_mtime_ns}\n".encode())
    return state.hexdigest()[:16]


def _user_cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "woof_lightning"


def _remember(record: Path, content: dict[str, int]) -> None:
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(content))
    except OSError:
        pass  # If the cache folder is read-only, the images are checked again next time.


def class_counts(samples: Iterable[Sample], classes: tuple[str, ...]) -> dict[str, int]:
    """Returns the number of images per class."""
    found = Counter(sample.label for sample in samples)
    return {name: found[label] for label, name in enumerate(classes)}
