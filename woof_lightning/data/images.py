"""Folders of images by class: an index, a fingerprint of the content, and a check of every file."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from woof_lightning.data.decoding import SUFFIXES, image_size_px, read_untrusted_image
from woof_lightning.data.samples import Sample, Samples
from woof_lightning.errors import UnreadableImageError, UserError
from woof_lightning.resources import usable_cores

SPLITS = ("train", "val")
DECODE_ALL_UP_TO_FILES = 20_000
LINES_AT_ONCE = 10_000
T = TypeVar("T")
CONVERT = f"Images are read as {' '.join(SUFFIXES)}; convert others"
# What file managers leave in every folder.
LITTER = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class ImageIndex:
    """The images and classes of a data set, without the pixels.

    Args:
        root: The folder that contains train/ and val/.
        classes: The names of the class folders, sorted. A label is an index into this list.
        breeds: A readable name for each class.
        train: The training images, sorted by path.
        val: The validation images, sorted by path.
        passed_over: The number of files that are not used, by what they are.
    """

    root: Path
    classes: tuple[str, ...]
    breeds: tuple[str, ...]
    train: Samples
    val: Samples
    passed_over: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of each file's path in the data set, its label and its size; the pixels are not read.

        It does not depend on where the folder is.
        """
        columns = [(split.paths, split.labels, split.sizes_bytes) for split in (self.train, self.val)]
        rows = chain.from_iterable(zip(*split, strict=True) for split in columns)
        return _hash_of(f"{path}\t{label}\t{size}" for path, label, size in rows)

    @cached_property
    def state_of_files(self) -> str:
        """A hash of the data set's place, and of each file's path, size and time of change when it was listed."""
        columns = [(split.paths, split.sizes_bytes, split.changed_ns) for split in (self.train, self.val)]
        rows = chain.from_iterable(zip(*split, strict=True) for split in columns)
        files = (f"{path}\t{size}\t{changed}" for path, size, changed in rows)
        return _hash_of(chain([str(self.root.resolve())], files))

    @property
    def paths(self) -> Iterator[Path]:
        """The files of all images, the training images first."""
        return (self.root / path for path in chain(self.train.paths, self.val.paths))

    def counts(self) -> dict[str, int]:
        """Returns the number of images per split."""
        return {"train": len(self.train), "val": len(self.val)}

    def tell_passed_over(self) -> None:
        """Prints on stderr which files are not used; nothing if all are."""
        if self.passed_over:
            listed = ", ".join(f"{count} {what}" for what, count in sorted(self.passed_over.items()))
            print(f"note: {self.root} holds files that are not used: {listed}. {CONVERT}", file=sys.stderr)


def _hash_of(lines: Iterable[str]) -> str:
    """Returns a hash of lines of text, of which not all are in memory at once."""
    state, rest = hashlib.sha256(), iter(lines)
    separator = ""
    while some := list(islice(rest, LINES_AT_ONCE)):
        state.update(os.fsencode(separator + "\n".join(some)))
        separator = "\n"
    return state.hexdigest()[:16]


def index_folder(root: Path, breed_of: Callable[[str], str] = lambda name: name) -> ImageIndex:
    """Lists the images of a folder.

    Args:
        root: A folder with train/<class>/ and val/<class>/. Images in subfolders of a class belong to it. Hidden files
            and folders are skipped. Files without the suffix of an image are counted in `passed_over`.
        breed_of: Turns the name of a class folder into a readable one.

    Raises:
        UserError: If a split is missing, a class has no image, the splits' classes differ, or there is only one class.
        UnreadableImageError: If a link leads nowhere.
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
    passed_over: Counter[str] = Counter()
    for split in SPLITS:
        stray = (entry.name for entry in os.scandir(root / split) if not entry.is_dir() and _is_shown(entry.name))
        passed_over.update(f"{_kind(name)} beside the class folders" for name in stray)
    train, val = (_samples(root, split, names[split], passed_over) for split in SPLITS)
    breeds = tuple(map(breed_of, names["train"]))
    return ImageIndex(root, names["train"], breeds, train, val, dict(passed_over))


def _class_names(root: Path, split: str) -> tuple[str, ...]:
    folder = root / split
    if not folder.is_dir():
        raise UserError(f"{root} has no folder {split}/: expected train/<class>/ and val/<class>/ in it")
    return tuple(sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith(".")))


def _samples(root: Path, split: str, classes: tuple[str, ...], passed_over: Counter[str]) -> Samples:
    samples = Samples()
    start = len(str(root / split)) - len(split)
    for label, name in enumerate(classes):
        found: list[tuple[str, int, int]] = []
        others: Counter[str] = Counter()
        for entry in _files_below(str(root / split / name)):
            if _is_image(entry.name):
                found.append(_state_of(entry, start))
            elif entry.name.lower() not in LITTER:
                others[_kind(entry.name)] += 1
        if not found:
            held = f"; of other kinds it holds {_listed(sorted(others))}" if others else ""
            raise UserError(
                f"the class folder {root / split / name} holds no image ({', '.join(SUFFIXES)}){held}: "
                "fill it or remove the class from both train/ and val/"
            )
        passed_over.update(others)
        samples.add_class(label, sorted(found))
    return samples


def _state_of(entry: os.DirEntry[str], start: int) -> tuple[str, int, int]:
    """Returns a file's path in the data set, which begins at a place in its whole path, its size and time of change."""
    try:
        status = entry.stat()
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{entry.path} is a link to nothing: mend the link or remove it") from error
    path = entry.path[start:]
    return path if os.sep == "/" else path.replace(os.sep, "/"), status.st_size, status.st_mtime_ns


def images_below(folder: Path) -> list[Path]:
    """Returns the files of a folder and its subfolders whose suffix is that of an image, in any order."""
    return [Path(entry.path) for entry in _files_below(str(folder)) if _is_image(entry.name)]


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _files_below(folder: str, above: frozenset[str] = frozenset()) -> Iterator[os.DirEntry[str]]:
    """Yields the files of a folder and its subfolders, without hidden ones. Links to folders above are not followed."""
    above |= {os.path.realpath(folder)}
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            yield entry
        elif os.path.realpath(entry.path) not in above:
            yield from _files_below(entry.path, above)


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in LITTER


def _kind(name: str) -> str:
    return Path(name).suffix.lower() or "without a suffix"


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
    return replace(index, train=index.train.with_labels(labels))


@dataclass(frozen=True)
class CheckedImages:
    """What a check of all images found.

    Args:
        longest_side_px: The longest side of any image.
        longest_shape: The path of the image whose sides differ most, relative to the data set's folder.
        longest_shape_ratio: Its long side over its short side.
        pixels: The number of pixels of all images together.
    """

    longest_side_px: int
    longest_shape: str
    longest_shape_ratio: float
    pixels: int

    def and_one(self, path: str, width: int, height: int) -> CheckedImages:
        """Returns what a check of these images and of one more found."""
        ratio = max(width, height) / max(1, min(width, height))
        shape = (path, ratio) if ratio > self.longest_shape_ratio else (self.longest_shape, self.longest_shape_ratio)
        return CheckedImages(max(self.longest_side_px, width, height), *shape, self.pixels + width * height)


def check_images(index: ImageIndex, cache_dir: Path | None = None) -> CheckedImages:
    """Checks that every image can be read.

    Up to 20,000 files are decoded. If there are more, only their headers are read. The result is kept in `cache_dir`
    and reused until a file changes.

    Args:
        index: The images.
        cache_dir: Where to keep the result; by default the user's cache folder.

    Raises:
        UnreadableImageError: If an image cannot be read. The message names the first one.
    """
    record = (cache_dir or user_cache_dir()) / f"checked-{index.state_of_files}.json"
    try:
        return CheckedImages(**json.loads(record.read_text()))
    except (OSError, ValueError, TypeError):
        pass
    count = len(index.train) + len(index.val)
    measure = _decoded_size_px if count <= DECODE_ALL_UP_TO_FILES else image_size_px
    sizes = tqdm(in_order(measure, index.paths), "checking images", count, leave=False, disable=None)
    checked = CheckedImages(0, "", 0.0, 0)
    for path, (width, height) in zip(chain(index.train.paths, index.val.paths), sizes, strict=True):
        checked = checked.and_one(path, width, height)
    _remember(record, checked)
    return checked


def in_order(do: Callable[[Path], T], paths: Iterable[Path], ahead: int = 256) -> Iterator[T]:
    """Yields what a function returns for each of many files, done on all cores.

    Args:
        do: The function.
        paths: The files.
        ahead: The number of files that are done together.
    """
    rest = iter(paths)
    with ThreadPoolExecutor(usable_cores()) as pool:
        while some := list(islice(rest, ahead)):
            yield from pool.map(do, some)


def _decoded_size_px(path: Path) -> tuple[int, int]:
    height, width = read_untrusted_image(path).shape[1:]
    return int(width), int(height)


def user_cache_dir() -> Path:
    """Returns the folder in which this program keeps what it can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "woof_lightning"


def _remember(record: Path, checked: CheckedImages) -> None:
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(asdict(checked)))
    except OSError:
        pass  # If the cache folder is read-only, the images are checked again next time.


def class_counts(samples: Iterable[Sample], classes: tuple[str, ...]) -> dict[str, int]:
    """Returns the number of images per class."""
    found = Counter(sample.label for sample in samples)
    return {name: found[label] for label, name in enumerate(classes)}
