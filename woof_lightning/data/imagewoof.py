"""Imagewoof: its breeds and noisy labels, and how a data set gets onto the disk and is indexed.

Source: https://github.com/fastai/imagenette. The images are from ImageNet and for research only.
"""

from __future__ import annotations

import csv
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from woof_lightning.data import synthetic
from woof_lightning.data.archives import ARCHIVES, Archive, download, extract
from woof_lightning.data.cache import keep_decoded
from woof_lightning.data.checking import check_images, examined, with_pairs
from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import (
    SPLITS,
    ImageIndex,
    class_counts,
    index_folder,
    index_to_validate,
    with_labels,
)
from woof_lightning.data.splitting import Split
from woof_lightning.data.temporary import alone_at, temporary_folder_beside
from woof_lightning.data.transforms import check_shape
from woof_lightning.errors import UserError, is_disk_error

NOISY_LABELS_FILE = "noisy_imagewoof.csv"
# If every image is enlarged more than this, the net sees little but interpolated pixels.
MOST_ENLARGEMENT = 2


@dataclass(frozen=True)
class Breed:
    """A class of Imagewoof.

    Args:
        name: The breed.
        train: The number of its training images.
        val: The number of its validation images.
    """

    name: str
    train: int
    val: int


BREEDS = {
    "n02086240": Breed("Shih-Tzu", 941, 409),
    "n02087394": Breed("Rhodesian ridgeback", 942, 408),
    "n02088364": Breed("beagle", 932, 418),
    "n02089973": Breed("English foxhound", 580, 224),
    "n02093754": Breed("Border terrier", 949, 401),
    "n02096294": Breed("Australian terrier", 943, 407),
    "n02099601": Breed("golden retriever", 949, 401),
    "n02105641": Breed("Old English sheepdog", 928, 422),
    "n02111889": Breed("Samoyed", 921, 429),
    "n02115641": Breed("dingo", 940, 410),
}


def breed_of(class_name: str) -> str:
    """Returns the breed of a class folder of Imagewoof or of the synthetic set; for others the folder's name itself."""
    if class_name in BREEDS:
        return BREEDS[class_name].name
    return synthetic.BREEDS.get(class_name, class_name)


def data_folder(config: DataConfig) -> Path:
    """Returns the folder of the data set, whether it exists or not."""
    if config.folder is not None:
        return config.folder
    return config.root / ("synthetic" if config.variant == "synthetic" else ARCHIVES[config.variant].stem)


def prepare_data(config: DataConfig) -> ImageIndex:
    """Indexes the data set of these settings; draws, unpacks or downloads it first if it is not on the disk.

    Raises:
        UserError: If the data set is missing and cannot be obtained, or is incomplete.
    """
    folder = data_folder(config)
    if config.folder is not None:
        if not folder.is_dir():
            raise UserError(
                f"data.folder is {folder}: there is no such folder. Expected one with train/ and val/, or with a "
                "folder for each class"
            )
    elif config.variant == "synthetic":
        synthetic.draw(folder)
    elif not folder.is_dir():
        _obtain(config, folder)
    return open_data(config)


def prepare_checked_data(config: DataConfig) -> ImageIndex:
    """Prepares a data set like prepare_data, checks every image, and keeps the decoded images as data.cache says.

    Raises:
        UserError: If the data set is missing and cannot be obtained, is incomplete, contains an image that cannot be
            read, the images are too small or too long for data.image_size, or data.cache is disk and there is no room.
    """
    return checked_data(prepare_data(config), config)


def open_checked_data(config: DataConfig) -> ImageIndex:
    """Indexes a data set that another process has prepared with prepare_checked_data.

    Raises:
        UserError: If the data set is incomplete.
    """
    index = open_data(config)
    return index.without(examined(index).unreadable) if config.skip_unreadable else index


def data_to_validate(config: DataConfig) -> ImageIndex:
    """Checks the images of data.folder to validate on: those in val/, or all if it has only class folders.

    Raises:
        UserError: If the folder is missing, or its images cannot be used.
    """
    folder = data_folder(config)
    if not folder.is_dir():
        raise UserError(
            f"--folder is {folder}: there is no such folder. Expected one with val/, or with a folder for each class"
        )
    return checked_data(index_to_validate(folder, breed_of), config)


def checked_data(index: ImageIndex, config: DataConfig) -> ImageIndex:
    """Checks every image, and keeps the decoded images as data.cache says.

    Args:
        index: The images.
        config: The settings of the data.

    Raises:
        UserError: If an image cannot be read, the images are too small or too long for data.image_size, or data.cache
            is disk and there is no room.
    """
    checked = examined(index) if config.skip_unreadable else check_images(index)
    if checked.unreadable:
        index = index.without(checked.unreadable)
    longest_side_px = checked.longest_side_px
    if config.image_size > MOST_ENLARGEMENT * longest_side_px:
        raise UserError(
            f"data.image_size is {config.image_size}, but the largest image of {index.root} is {longest_side_px} px: "
            f"expected at most {MOST_ENLARGEMENT * longest_side_px}"
        )
    check_shape(index.root / checked.longest_shape, checked.longest_shape_ratio, config.image_size)
    keep_decoded(index, config, checked.pixels)
    return with_pairs(index, checked)


def open_data(config: DataConfig) -> ImageIndex:
    """Indexes a data set that is on the disk, with the noisy labels that the settings ask for.

    Raises:
        UserError: If the data set is incomplete, has no noisy labels although they are asked for, or has train/ and
            val/ although the settings divide it.
    """
    index = index_folder(data_folder(config), breed_of, None if config.folder is None else config.split)
    if config.folder is None and config.variant in ARCHIVES:
        check_counts(index)
    if index.split is None and config.split != Split():
        raise UserError(
            f"data.val_share is {config.val_share:g} and data.split_seed {config.split_seed}, but {index.root} has "
            "train/ and val/, which are used as they are: leave both settings out, or name a folder with class folders "
            "alone"
        )
    return with_noisy_labels(index, config.noisy_labels) if config.noisy_labels else index


def check_counts(index: ImageIndex) -> None:
    """Raises a UserError that names each class whose number of images is not the official one."""
    if missing := count_problems(index):
        raise UserError(
            f"{index.root} is not the whole of Imagewoof ({missing}): remove that folder to get the data set again, or "
            "name your own images with data.folder"
        )


def count_problems(index: ImageIndex) -> str:
    """Lists the first four classes whose number of images is not the official one; empty if there are none."""
    problems = []
    for split in SPLITS:
        found = class_counts(getattr(index, split), index.classes)
        expected = {synset: getattr(breed, split) for synset, breed in BREEDS.items()}
        problems += [
            f"{split}/{name}: {found.get(name, 0)} images, expected {expected.get(name, 0)}"
            for name in sorted({*found, *expected})
            if found.get(name, 0) != expected.get(name, 0)
        ]
    return "; ".join(problems[:4]) + "; …" * (len(problems) > 4)


def with_noisy_labels(index: ImageIndex, percent: int) -> ImageIndex:
    """Returns the index with the official noisy training labels.

    Args:
        index: Imagewoof with its own labels.
        percent: How many of the training labels are wrong: 1, 5, 25 or 50.

    Raises:
        UserError: If the data set comes without noisy labels.
    """
    table = index.root / NOISY_LABELS_FILE
    column = f"noisy_labels_{percent}"
    try:
        with table.open(newline="", encoding="utf-8") as file:
            labels = {row["path"]: index.classes.index(row[column]) for row in csv.DictReader(file)}
        return with_labels(index, labels)
    except FileNotFoundError as error:
        raise UserError(
            f"data.noisy_labels is {percent}, but {table} does not exist: only Imagewoof comes with noisy labels; "
            "set data.noisy_labels 0"
        ) from error
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{table} has no {column} for every training image ({error}): get the data set again"
        ) from error


def _obtain(config: DataConfig, folder: Path) -> None:
    if config.archive is None and not config.download:
        raise UserError(
            f"there is no {folder}: data.root is {config.root}, data.variant {config.variant}. Let it be "
            "downloaded (data.download true), name a local archive (data.archive FILE) or your own images "
            "(data.folder DIR), or try the embedded data with --config demo"
        )
    made_root = not config.root.exists()
    try:
        with alone_at(folder):
            if folder.is_dir():  # Another process made it while this one waited.
                return
            if config.archive is not None:
                unpack(config.archive, folder)
            else:
                _download_and_unpack(ARCHIVES[config.variant], folder)
    except (UserError, OSError) as error:
        if made_root:
            with suppress(OSError):  # It is not empty if it contains a download that the next attempt resumes.
                config.root.rmdir()
        if is_disk_error(error):
            raise UserError(
                f"{folder} could not be written ({error.strerror}): make room or make data.root ({config.root}) "
                "writable and run the command again, or choose another data.root"
            ) from error
        raise


def _download_and_unpack(archive: Archive, folder: Path) -> None:
    file = folder.with_name(archive.file_name)
    download(archive.url, file, archive)
    try:
        unpack(file, folder)
    except UserError:
        file.unlink()  # Its size and its first MiB are right, so the next attempt would accept it again.
        raise
    file.unlink()


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks an archive of Imagewoof, and moves the result into place once it is complete.

    Args:
        archive: A tar file, compressed or not, whose members are in one folder with the name of `folder`.
        folder: The folder of the data set.

    Raises:
        UserError: If the archive is missing, unreadable, damaged, unsafe, or does not contain the whole data set.
        OSError: If the disk is full or cannot be written to.
    """
    if not archive.is_file():
        raise UserError(f"data.archive is {archive}: there is no such file. Expected {folder.name}.tgz")
    if not os.access(archive, os.R_OK):
        raise UserError(f"data.archive is {archive}: it cannot be read; make it readable for this user")
    with temporary_folder_beside(folder, "unpacking") as temporary:
        unpacked = extract(archive, temporary, folder.name)
        if missing := count_problems(index_folder(unpacked)):
            raise UserError(
                f"{archive} does not hold the whole of Imagewoof ({missing}): get it again, or unpack it yourself and "
                "name its folder with data.folder"
            )
        unpacked.replace(folder)
