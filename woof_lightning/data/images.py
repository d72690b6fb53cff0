"""Folders of images by class: an index with the images to train and to validate on, and a fingerprint of it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, compress, islice
from operator import not_
from pathlib import Path
from typing import Any, TypeVar

from woof_lightning.data.decoding import SUFFIXES
from woof_lightning.data.listing import (
    ListedClass,
    PassedOver,
    beside_classes,
    first_of,
    folders_in,
    is_image,
    list_class,
)
from woof_lightning.data.samples import Sample, Samples
from woof_lightning.data.splitting import Split, check_sides
from woof_lightning.errors import UserError
from woof_lightning.resources import usable_cores

SPLITS = ("train", "val")
# Names that people give to splits. A folder that holds nothing else is no folder of classes.
SPLIT_NAMES = frozenset(
    ("train", "training", "trn", "val", "valid", "validation", "validate", "dev", "eval", "test", "testing")
)
LINES_AT_ONCE = 10_000
T = TypeVar("T")
EMPTY_CLASS = ("empty class folder", "it holds no file")


@dataclass(frozen=True)
class ImageIndex:
    """The images and classes of a data set, without the pixels.

    Args:
        root: The data set's folder.
        classes: The names of the class folders, sorted. A label is an index into this list.
        breeds: A readable name for each class.
        train: The training images, sorted by path.
        val: The validation images, sorted by path.
        passed_over: The files and folders that are not used, with the reasons.
        split: How the images were divided into those to train and to validate on; None if they are in folders for that.
        in_both: Pairs of a training and a validation image whose files are equal; None if nobody has looked.
    """

    root: Path
    classes: tuple[str, ...]
    breeds: tuple[str, ...]
    train: Samples
    val: Samples
    passed_over: tuple[PassedOver, ...] = ()
    split: Split | None = None
    in_both: tuple[tuple[str, str], ...] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """A hash of each file's path in the data set, its label and its size; the pixels are not read.

        It does not depend on where the folder is.
        """
        columns = [(split.paths, split.labels, split.sizes_bytes) for split in (self.train, self.val)]
        rows = chain.from_iterable(zip(*split, strict=True) for split in columns)
        return _hash_of(chain(self._border(), (f"{path}\t{label}\t{size}" for path, label, size in rows)))

    @cached_property
    def state_of_files(self) -> str:
        """A hash of the data set's place, and of each file's path, size and time of change when it was listed."""
        columns = [(split.paths, split.sizes_bytes, split.changed_ns) for split in (self.train, self.val)]
        rows = chain.from_iterable(zip(*split, strict=True) for split in columns)
        files = (f"{path}\t{size}\t{changed}" for path, size, changed in rows)
        return _hash_of(chain([str(self.root.resolve())], self._border(), files))

    def _border(self) -> list[str]:
        """Returns a line for hashes that says where the validation images begin, if their paths do not."""
        return [] if self.split is None else [f"{len(self.train)} to train on"]

    @property
    def paths(self) -> Iterator[Path]:
        """The files of all images, the training images first."""
        return (self.root / path for path in chain(self.train.paths, self.val.paths))

    def counts(self) -> dict[str, int]:
        """Returns the number of images per split."""
        return {"train": len(self.train), "val": len(self.val)}

    def described(self) -> dict[str, Any]:
        """Returns which images these are, for the record of a run."""
        split = {} if self.split is None else {"val_share": self.split.val_share, "split_seed": self.split.seed}
        not_used = Counter(one.kind for one in self.passed_over if not one.is_litter)
        return {
            "fingerprint": self.fingerprint,
            **self.counts(),
            **split,
            **({"not_used": dict(sorted(not_used.items()))} if not_used else {}),
            **({"in_both": len(self.in_both)} if self.in_both else {}),
        }

    def without(self, unreadable: Mapping[str, str]) -> ImageIndex:
        """Returns the index without images that cannot be read; they are passed over.

        Args:
            unreadable: What is wrong with each, by its path.

        Raises:
            UserError: If a class has no other image in a split.
        """
        train, val = (split.without(unreadable) for split in (self.train, self.val))
        left_out = (PassedOver(path, "unreadable", why) for path, why in unreadable.items())
        index = replace(self, train=train, val=val, passed_over=(*self.passed_over, *left_out))
        for name, split, before in (("train", train, self.train), ("val", val, self.val)):
            if missing := set(before.labels) - set(split.labels):
                names = first_of(sorted(self.classes[label] for label in missing))
                raise UserError(
                    f"{self.root} has no {name} image of {names} that can be read: replace the images, or remove that "
                    "class"
                )
        return index


def _hash_of(lines: Iterable[str]) -> str:
    """Returns a hash of lines of text, of which not all are in memory at once."""
    state, rest = hashlib.sha256(), iter(lines)
    separator = ""
    while some := list(islice(rest, LINES_AT_ONCE)):
        state.update(os.fsencode(separator + "\n".join(some)))
        separator = "\n"
    return state.hexdigest()[:16]


def index_folder(
    root: Path, breed_of: Callable[[str], str] = lambda name: name, split: Split | None = None
) -> ImageIndex:
    """Lists the images of a folder.

    Args:
        root: A folder with train/<class>/ and val/<class>/, or with <class>/. Images in subfolders of a class belong to
            it. What is no image, hidden, or in no class folder is listed in `passed_over`.
        breed_of: Turns the name of a class folder into a readable one.
        split: How the images of class folders without train/ and val/ are divided. None expects train/ and val/.

    Raises:
        UserError: If a class has no image to train on or none to validate on, the splits' classes differ, or there is
            only one class.
    """
    if split is not None and not any((root / name).is_dir() for name in SPLITS):
        return _index_classes(root, breed_of, split)
    names = {name: _class_names(root, name) for name in SPLITS}
    if names["train"] != names["val"]:
        only = {name: sorted(set(names[name]) - set(names[other])) for name, other in (SPLITS, SPLITS[::-1])}
        raise UserError(
            f"the classes of {root}/train and {root}/val differ: only in train: {first_of(only['train'])}; "
            f"only in val: {first_of(only['val'])}. Expected the same class folders in both"
        )
    passed_over = [] if split is None else beside_classes(root, "", SPLITS)
    for name in SPLITS:
        passed_over += beside_classes(root, name, names[name])
    classes: list[str] = []
    train, val = Samples(), Samples()
    for class_name in names["train"]:
        listed = {name: list_class(root, f"{name}/{class_name}") for name in SPLITS}
        passed_over += [one for found in listed.values() for one in found.passed_over]
        if not any(found.images or found.other_kinds() for found in listed.values()):
            passed_over += [PassedOver(f"{name}/{class_name}/", *EMPTY_CLASS) for name in SPLITS]
            continue
        for samples, (name, found) in zip((train, val), listed.items(), strict=True):
            if not found.images:
                raise _no_image(root / name / class_name, found, "remove the class from both train/ and val/")
            samples.add_class(len(classes), found.images)
        classes.append(class_name)
    if len(classes) < 2:
        raise UserError(f"{root}/train has {len(classes)} class folders with images: expected at least 2")
    return ImageIndex(root, tuple(classes), tuple(map(breed_of, classes)), train, val, tuple(passed_over))


def index_to_validate(root: Path, breed_of: Callable[[str], str] = lambda name: name) -> ImageIndex:
    """Lists the images of a folder to validate on; there are none to train on.

    Args:
        root: A folder with val/<class>/, or with <class>/, all of whose images are taken.
        breed_of: Turns the name of a class folder into a readable one.

    Raises:
        UserError: If there is no class folder, or one holds files but no image.
    """
    has_train, has_val = ((root / name).is_dir() for name in SPLITS)
    if has_train and not has_val:
        raise _missing_split(root, "val")
    names = _class_names(root, "val") if has_val else _class_folders(root)
    place = "val/" if has_val else ""
    passed_over = beside_classes(root, "", SPLITS) if has_val else []
    passed_over += beside_classes(root, place.rstrip("/"), names)
    val = Samples()
    classes: list[str] = []
    for name in names:
        found = list_class(root, f"{place}{name}")
        passed_over += _or_empty(found, root, f"{place}{name}")
        if found.images:
            val.add_class(len(classes), found.images)
            classes.append(name)
    if not classes:
        raise UserError(f"{root} holds no class folder with images: expected val/<class>/ or <class>/ in it")
    return ImageIndex(root, tuple(classes), tuple(map(breed_of, classes)), Samples(), val, tuple(passed_over))


def _index_classes(root: Path, breed_of: Callable[[str], str], split: Split) -> ImageIndex:
    names = _class_folders(root)
    passed_over = beside_classes(root, "", names)
    train, val = Samples(), Samples()
    paths: dict[str, list[str]] = {}
    for name in names:
        found = list_class(root, name)
        passed_over += _or_empty(found, root, name)
        if found.images:
            sides = [split.is_val(image.path) for image in found.images]
            train.add_class(len(paths), list(compress(found.images, map(not_, sides))))
            val.add_class(len(paths), list(compress(found.images, sides)))
            paths[name] = [image.path for image in found.images]
    if len(paths) < 2:
        raise UserError(
            f"{root} has {len(paths)} class folders with images: expected a folder for each class, at least 2, or "
            f"train/ and val/ with such folders{_where_images_lie(root, names)}"
        )
    check_sides(split, paths)
    return ImageIndex(root, tuple(paths), tuple(map(breed_of, paths)), train, val, tuple(passed_over), split)


def _where_images_lie(root: Path, classes: list[str]) -> str:
    """Returns where the images of a folder lie, if not in its class folders; nothing if that is not clear."""
    if count := sum(is_image(entry.name) for entry in os.scandir(root)):
        return f"; {count} images lie in {root} itself"
    deeper = (name for name in classes if folders_in(root / name))
    within = next((name for name in deeper if not any(is_image(entry.name) for entry in os.scandir(root / name))), None)
    return "" if within is None else f" (do you mean {root / within}?)"


def _or_empty(found: ListedClass, root: Path, place: str) -> list[PassedOver]:
    """Returns what is passed over in a class folder, or that it is empty."""
    if found.images:
        return found.passed_over
    if found.other_kinds():
        raise _no_image(root / place, found, "remove it")
    return [*found.passed_over, PassedOver(f"{place}/", *EMPTY_CLASS)]


def _no_image(folder: Path, found: ListedClass, otherwise: str) -> UserError:
    held = f"; of other kinds it holds {first_of(kinds)}" if (kinds := found.other_kinds()) else ""
    return UserError(f"the class folder {folder} holds no image ({', '.join(SUFFIXES)}){held}: fill it or {otherwise}")


def _class_folders(root: Path) -> list[str]:
    """Returns the names of class folders without train/ and val/ above them."""
    names = folders_in(root)
    if names and all(name.lower() in SPLIT_NAMES for name in names):
        raise UserError(
            f"{root} holds {first_of(f'{name}/' for name in names)}: expected train/ and val/, by these names, or a "
            "folder for each class"
        )
    return names


def _class_names(root: Path, split: str) -> list[str]:
    if not (root / split).is_dir():
        raise _missing_split(root, split)
    return folders_in(root / split)


def _missing_split(root: Path, missing: str) -> UserError:
    there = [name for name in SPLITS if (root / name).is_dir()]
    alone = f", or name {root / there[0]} to have its images divided by data.val_share" if there else ""
    return UserError(f"{root} has no folder {missing}/: expected train/<class>/ and val/<class>/ in it{alone}")


def with_labels(index: ImageIndex, labels: dict[str, int]) -> ImageIndex:
    """Returns the same images with other training labels.

    Args:
        index: The images.
        labels: The label of each training image, by its path in the data set.

    Raises:
        KeyError: If a training image has no label.
    """
    return replace(index, train=index.train.with_labels(labels))


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


def user_cache_dir() -> Path:
    """Returns the folder in which this program keeps what it can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "woof_lightning"


def class_counts(samples: Iterable[Sample], classes: tuple[str, ...]) -> dict[str, int]:
    """Returns the number of images per class."""
    found = Counter(sample.label for sample in samples)
    return {name: found[label] for label, name in enumerate(classes)}
