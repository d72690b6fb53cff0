"""The official Imagewoof archives: resumable downloads that are checked, and safe unpacking.

Source: https://github.com/fastai/imagenette. The sizes and checksums are those that fastai publishes.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from tqdm import tqdm

from woof_lightning.errors import UserError, is_disk_error

BASE_URL = "https://s3.amazonaws.com/fast-ai-imageclas/"
MIB = 2**20
# JPEGs hardly compress, so an archive of images does not grow tenfold.
MOST_UNPACKED_PER_ARCHIVE_BYTE = 10
TIMEOUT_S = 30


@dataclass(frozen=True)
class Archive:
    """An official archive.

    Args:
        stem: The name of its file without the ending, and of the folder that it unpacks to.
        size_bytes: The size of its file.
        first_mib_md5: The MD5 checksum of the first MiB of its file.
    """

    stem: str
    size_bytes: int
    first_mib_md5: str

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self.stem}.tgz"

    @property
    def url(self) -> str:
        """Where to download it."""
        return BASE_URL + self.file_name


ARCHIVES = {
    "full": Archive("imagewoof2", 1_343_715_595, "2cc1c1e36e20cb6fd24ffb978edcb487"),
    "320px": Archive("imagewoof2-320", 328_387_740, "7a1fd92672a559a85de76e4810a20c21"),
    "160px": Archive("imagewoof2-160", 92_612_825, "3559b194123981a540b87132dbda412f"),
}


def download(url: str, target: Path, archive: Archive) -> None:
    """Downloads an archive and checks it; resumes a download that was interrupted.

    Args:
        url: The address of the archive.
        target: The file to write. Until it is complete, its content is in a file beside it with the suffix .part.
        archive: The expected size and checksum.

    Raises:
        UserError: If the connection fails, or the file that arrives is not that archive.
        OSError: If the disk is full or cannot be written to.
    """
    part = target.with_name(target.name + ".part")
    if target.exists():
        target.replace(part)  # It may be damaged, so it is checked below like a fresh download.
    try:
        _fetch(url, part, archive.size_bytes)
    except OSError as error:  # A URLError is one.
        if is_disk_error(error):
            raise
        raise UserError(
            f"{url} could not be downloaded ({error}): check the network and run the same command again, which "
            "resumes the download; or name a local archive (data.archive FILE) or your own images (data.folder DIR), "
            "or try the embedded data with --config demo"
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
        resumes = response.status == 206  # A server that does not support ranges answers 200 and sends everything.
        with (
            part.open("ab" if resumes else "wb") as file,
            tqdm(
                desc=part.stem, total=size_bytes, initial=have_bytes if resumes else 0,
                unit="B", unit_scale=True, disable=None,
            ) as bar,
        ):  # fmt: skip
            while block := response.read(MIB):
                file.write(block)
                bar.update(len(block))
    if part.stat().st_size < size_bytes:
        raise OSError(f"the connection ended after {part.stat().st_size:,} of {size_bytes:,} bytes")


def extract(archive: Path, target: Path, top_folder: str) -> Path:
    """Extracts one folder of an archive and returns its path.

    Args:
        archive: A tar file, compressed or not.
        target: The folder to extract into.
        top_folder: The folder of the archive to extract. Members outside it are not written.

    Raises:
        UserError: If the archive is damaged, does not contain the folder, or is unsafe: a member is a link, a device or
            has a path outside the archive, or the content is more than ten times as large as the archive.
        OSError: If the disk is full or cannot be written to.
    """
    try:
        _extract(archive, target, top_folder)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if is_disk_error(error):
            raise
        raise UserError(
            f"{archive} cannot be unpacked ({error}): it is damaged or no tar archive; get it again. "
            "Nothing of it was kept"
        ) from error
    unpacked = target / top_folder
    if not unpacked.is_dir():
        raise UserError(f"{archive} holds no folder {top_folder}/: check that data.variant matches the archive")
    return unpacked


def leaves_folder(path: PurePosixPath) -> bool:
    """Returns whether a path within an archive leads out of the folder that it is unpacked into, on any system.

    Windows takes a backslash for a separator, and a colon for the end of a drive's name.
    """
    return path.is_absolute() or ".." in path.parts or any(character in str(path) for character in "\\:")


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
            if not (member.isfile() or member.isdir()) or leaves_folder(path):
                raise UserError(
                    f"{archive} holds the member {member.name!r}, which leaves the folder or is neither a file "
                    "nor a folder: it is not an archive of Imagewoof. Nothing of it was kept"
                )
            unpacked_bytes += member.size
            if unpacked_bytes > most_bytes:
                raise UserError(
                    f"{archive} unpacks to more than {MOST_UNPACKED_PER_ARCHIVE_BYTE} times its size: "
                    "it is not an archive of images. Nothing of it was kept"
                )
            source = tar.extractfile(member) if member.isfile() else None
            if source is not None and path.parts and path.parts[0] == top_folder:
                place = target.joinpath(*path.parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as out:
                    shutil.copyfileobj(source, out)
