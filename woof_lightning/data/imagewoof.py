"""Imagewoof: its archives, breeds and noisy labels, and the way from settings to images on disk.

Source: https://github.com/fastai/imagenette. The archives' sizes and checksums are those that
fastai publishes; the images are ImageNet's and for research only.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import tarfile
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from tqdm import tqdm

from woof_lightning.data import synthetic
from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import SPLITS, ImageIndex, check_images, class_counts, index_folder, with_labels
from woof_lightning.data.temporary import alone_at, temporary_folder_beside
from woof_lightning.errors import UserError, is_disk_error

BASE_URL = "https://s3.amazonaws.com/fast-ai-imageclas/"
MIB = 2**20
# JPEGs hardly compress: an archive that unpacks to ten times its size is not one of images.
MOST_UNPACKED_PER_ARCHIVE_BYTE = 10
TIMEOUT_S = 30
NOISY_LABELS_FILE = "noisy_imagewoof.csv"


@dataclass(frozen=True)
class Archive:
    """An official archive; it unpacks to a folder of the same name."""

    stem: str
    size_bytes: int
    first_mib_md5: str


@dataclass(frozen=True)
class Breed:
    """A class of Imagewoof and how many images of it there are."""

    name: str
    train: int
    val: int


ARCHIVES = {
    "full": Archive("imagewoof2", 1_343_715_595, "2cc1c1e36e20cb6fd24ffb978edcb487"),
    "320px": Archive("imagewoof2-320", 328_387_740, "7a1fd92672a559a85de76e4810a20c21"),
    "160px": Archive("imagewoof2-160", 92_612_825, "3559b194123981a540b87132dbda412f"),
}
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


# A net that sees every image enlarged more than this sees little but interpolation.
MOST_ENLARGEMENT = 2


def breed_of(class_name: str) -> str:
    """The breed of a class folder of Imagewoof or of the synthetic set; else the name itself."""
    if class_name in BREEDS:
        return BREEDS[class_name].name
    return synthetic.BREEDS.get(class_name, class_name)


def data_folder(config: DataConfig) -> Path:
    """Where the data set of these settings lies or would lie."""
    if config.folder is not None:
        return config.folder
    return config.root / ("synthetic" if config.variant == "synthetic" else ARCHIVES[config.variant].stem)


def prepare_data(config: DataConfig) -> ImageIndex:
    """Brings the data set of these settings onto the disk where it is not yet, and indexes it.

    Raises:
        UserError: When it is not there and cannot be brought, or is not whole.
    """
    folder = data_folder(config)
    if config.folder is not None:
        if not folder.is_dir():
            raise UserError(f"data.folder is {folder}: there is no such folder. Expected one with train/ and val/")
    elif config.variant == "synthetic":
        synthetic.draw(folder)
    elif not folder.is_dir():
        _bring(config, folder)
    return open_data(config)


def prepare_checked_data(config: DataConfig) -> ImageIndex:
    """As prepare_data, and makes sure that every image can be read and that the settings suit them.

    Raises:
        UserError: When that is not so.
    """
    index = prepare_data(config)
    longest_side_px = check_images(index)
    if config.image_size > MOST_ENLARGEMENT * longest_side_px:
        raise UserError(
            f"data.image_size is {config.image_size}, but the largest image of {index.root} is {longest_side_px} px: "
            f"expected at most {MOST_ENLARGEMENT * longest_side_px}"
        )
    return index


def open_data(config: DataConfig) -> ImageIndex:
    """Indexes a data set that is on disk, with noisy labels where they are asked for.

    Raises:
        UserError: When it is not whole, or has no noisy labels.
    """
    index = index_folder(data_folder(config), breed_of)
    if config.folder is None and config.variant in ARCHIVES:
        check_counts(index)
    return with_noisy_labels(index, config.noisy_labels) if config.noisy_labels else index


def check_counts(index: ImageIndex) -> None:
    """Raises a UserError, naming each class, when a split has not the official number of images."""
    if missing := count_problems(index):
        raise UserError(
            f"{index.root} is not the whole of Imagewoof ({missing}): remove that folder to get it anew, or name your "
            "own images with data.folder"
        )


def count_problems(index: ImageIndex) -> str:
    """The first classes that have not the official number of images; empty where all have."""
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
    """The index with the official noisy training labels of that percentage.

    Raises:
        UserError: When the data set comes without noisy labels.
    """
    table = index.root / NOISY_LABELS_FILE
    column = f"noisy_labels_{percent}"
    try:
        with table.open(newline="") as file:
            labels = {row["path"]: index.classes.index(row[column]) for row in csv.DictReader(file)}
        return with_labels(index, labels)
    except FileNotFoundError as error:
        raise UserError(
            f"data.noisy_labels is {percent}, but {table} does not exist: "
            "noisy labels come with Imagewoof alone; set data.noisy_labels 0"
        ) from error
    except (KeyError, ValueError) as error:
        raise UserError(f"{table} has no {column} for every training image ({error}): get the data set anew") from error


def _bring(config: DataConfig, folder: Path) -> None:
    if config.archive is None and not config.download:
        raise UserError(
            f"there is no {folder}: data.root is {config.root}, data.variant {config.variant}. Let it be "
            "downloaded (data.download true), name a local archive (data.archive FILE) or your own images "
            "(data.folder DIR), or try the embedded data with --config configs/demo.yaml"
        )
    made_root = not config.root.exists()
    try:
        with alone_at(folder):
            if folder.is_dir():  # By another process, which was waited for.
                return
            if config.archive is not None:
                unpack(config.archive, folder)
            else:
                _download_and_unpack(ARCHIVES[config.variant], folder)
    except (UserError, OSError) as error:
        if made_root:
            with suppress(OSError):  # Not empty: it holds what the next attempt goes on with.
                config.root.rmdir()
        if isinstance(error, OSError) and is_disk_error(error):
            raise UserError(
                f"{folder} could not be written ({error.strerror}): make room or make data.root ({config.root}) "
                "writable and run the command again, or choose another data.root"
            ) from error
        raise


def _download_and_unpack(archive: Archive, folder: Path) -> None:
    file = folder.with_name(f"{archive.stem}.tgz")
    download(BASE_URL + file.name, file, archive)
    try:
        unpack(file, folder)
    except UserError:
        file.unlink()  # Its size and its start are right: the next attempt would take it for whole.
        raise
    file.unlink()


def download(url: str, target: Path, archive: Archive) -> None:
    """Fetches an archive, going on where an earlier attempt was cut, and checks it.

    Args:
        url: Where it lies.
        target: Where to put it; a partial file lies beside it with the suffix .part.
        archive: The size and the checksum to expect.

    Raises:
        UserError: When there is no connection, or what came is not that archive.
        OSError: When the disk is full or cannot be written.
    """
    part = target.with_name(target.name + ".part")
    if target.exists():
        target.replace(part)  # Checked below like a fresh one.
    try:
        _fetch(url, part, archive.size_bytes)
    except OSError as error:  # A URLError is one.
        if is_disk_error(error):
            raise
        raise UserError(
            f"{url} could not be downloaded ({error}): check the network and run the same command again, it goes on "
            "where it stopped; or name a local archive (data.archive FILE) or your own images (data.folder DIR), or "
            "try the embedded data with --config configs/demo.yaml"
        ) from error
    with part.open("rb") as file:
        md5 = hashlib.md5(file.read(MIB), usedforsecurity=False).hexdigest()
    size_bytes = part.stat().st_size
    if (size_bytes, md5) != (archive.size_bytes, archive.first_mib_md5):
        part.unlink()
        raise UserError(
            f"{url} is not the official archive: {size_bytes:,} bytes, md5 of the first MiB {md5}; expected "
            f"{archive.size_bytes:,} bytes and {archive.first_mib_md5}. The file was removed; run the command again, "
            "or name an archive that you trust with data.archive"
        )
    part.replace(target)


def _fetch(url: str, part: Path, size_bytes: int) -> None:
    have_bytes = part.stat().st_size if part.exists() else 0
    if have_bytes >= size_bytes:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have_bytes}-"} if have_bytes else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        goes_on = response.status == 206  # A server without ranges answers 200 and sends all.
        with (
            part.open("ab" if goes_on else "wb") as file,
            tqdm(
                desc=part.stem, total=size_bytes, initial=have_bytes if goes_on else 0,
                unit="B", unit_scale=True, disable=None,
            ) as bar,
        ):  # fmt: skip
            while block := response.read(MIB):
                file.write(block)
                bar.update(len(block))
    if part.stat().st_size < size_bytes:
        raise OSError(f"the connection ended after {part.stat().st_size:,} of {size_bytes:,} bytes")


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks an archive of Imagewoof and moves it into place when it is whole.

    Members that leave the folder, links and devices are refused, and so is an archive that grows
    more than tenfold.

    Args:
        archive: A tar file, compressed or not, whose members lie in one folder named as `folder`.
        folder: Where the data set shall lie.

    Raises:
        UserError: When the archive is missing, unreadable, damaged, unsafe, or holds something else.
        OSError: When the disk is full or cannot be written.
    """
    if not archive.is_file():
        raise UserError(f"data.archive is {archive}: there is no such file. Expected {folder.name}.tgz")
    if not os.access(archive, os.R_OK):
        raise UserError(f"data.archive is {archive}: it cannot be read; make it readable for this user")
    with temporary_folder_beside(folder, "unpacking") as temporary:
        try:
            _extract(archive, temporary, folder.name)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            if is_disk_error(error):
                raise
            raise UserError(
                f"{archive} cannot be unpacked ({error}): it is damaged or no tar archive; get it anew. "
                "Nothing was kept of it"
            ) from error
        unpacked = temporary / folder.name
        if not unpacked.is_dir():
            raise UserError(f"{archive} holds no folder {folder.name}/: check data.variant against the archive")
        if missing := count_problems(index_folder(unpacked)):
            raise UserError(
                f"{archive} does not hold the whole of Imagewoof ({missing}): get it anew, or unpack it yourself and "
                "name its folder with data.folder"
            )
        unpacked.replace(folder)


def _extract(archive: Path, target: Path, top_folder: str) -> None:
    size_bytes = archive.stat().st_size
    most_bytes = MOST_UNPACKED_PER_ARCHIVE_BYTE * size_bytes
    unpacked_bytes = 0
    with (
        archive.open("rb") as raw,
        tqdm.wrapattr(raw, "read", total=size_bytes, desc=f"unpacking {archive.name}", disable=None) as file,
        tarfile.open(fileobj=cast(BinaryIO, file), mode="r|*") as tar,
    ):
        for member in tar:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                raise UserError(
                    f"{archive} holds the member {member.name!r}, which leaves the folder or is neither a file "
                    "nor a folder: it is not an archive of Imagewoof. Nothing was kept of it"
                )
            unpacked_bytes += member.size
            if unpacked_bytes > most_bytes:
                raise UserError(
                    f"{archive} unpacks to more than {MOST_UNPACKED_PER_ARCHIVE_BYTE} times its size: "
                    "it is not an archive of images. Nothing was kept of it"
                )
            source = tar.extractfile(member) if member.isfile() else None
            if source is not None and path.parts and path.parts[0] == top_folder:
                place = target.joinpath(*path.parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as out:
                    shutil.copyfileobj(source, out)
