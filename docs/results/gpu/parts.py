"""A folder of images in parts that can be carried one by one, and joined where they arrive.

A part is a tar file without compression. Its name says its number and how many there are: images-2-of-6.tar.
Only Python's own modules are imported: the parts are joined before anything is installed.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

BLOCK_BYTES = 512
# Two empty blocks end a tar file, which is filled up to 20 blocks.
END_BYTES = 20 * BLOCK_BYTES
NAME = re.compile(r"images-(\d+)-of-(\d+)\.tar")
SUFFIXES = (".jpeg", ".jpg", ".png")


def packed_bytes(file: Path) -> int:
    """Returns what a file takes in a tar file: a header and whole blocks."""
    return BLOCK_BYTES * (1 + -(-file.stat().st_size // BLOCK_BYTES))


def divided(files: list[Path], limit_bytes: int) -> list[list[Path]]:
    """Divides files, in their order, into as few tar files of about the same size as a limit allows.

    Args:
        files: The files.
        limit_bytes: The largest size of a tar file.

    Raises:
        SystemExit: If one file alone is larger.
    """
    total_bytes, room_bytes = sum(map(packed_bytes, files)), limit_bytes - END_BYTES
    for file in files:
        if packed_bytes(file) > room_bytes:
            raise SystemExit(f"{file} alone is larger than a part of {limit_bytes:,} bytes")
    count = max(1, -(-total_bytes // max(1, room_bytes)))
    while (parts := _filled(files, -(-total_bytes // count), room_bytes)) is None:
        count += 1
    return parts


def _filled(files: list[Path], target_bytes: int, room_bytes: int) -> list[list[Path]] | None:
    """Returns parts that are closed once they reach a target; None if one would not fit."""
    parts: list[list[Path]] = [[]]
    size_bytes = 0
    for file in files:
        if size_bytes >= target_bytes:
            parts.append([])
            size_bytes = 0
        parts[-1].append(file)
        size_bytes += packed_bytes(file)
        if size_bytes > room_bytes:
            return None
    return parts


def make_parts(folder: Path, out: Path, limit_bytes: int) -> list[Path]:
    """Packs the images below a folder into OUT/images-1/images-1-of-N.tar and so on, and returns these files.

    Args:
        folder: The data set's folder, with train/ and val/.
        out: Where the parts go. Parts of an earlier call are removed.
        limit_bytes: The largest size of a part.

    Raises:
        SystemExit: If there is no image.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"{folder} has no image: expected a folder with train/ and val/")
    for earlier in out.glob("images-*"):
        shutil.rmtree(earlier)
    parts, made = divided(files, limit_bytes), []
    for number, some in enumerate(parts, start=1):
        place = out / f"images-{number}"
        place.mkdir(parents=True)
        made.append(place / f"images-{number}-of-{len(parts)}.tar")
        with tarfile.open(made[-1], "w", format=tarfile.USTAR_FORMAT) as archive:
            for file in some:
                archive.add(file, file.relative_to(folder).as_posix(), recursive=False, filter=_without_owner)
    return made


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def take(packed: Path, work: Path) -> list[str]:
    """Unpacks the parts that have arrived, removes them, and returns a line about each.

    Args:
        packed: Where they arrive.
        work: The folder for the images, `images`, and for a note of each part that was unpacked, `arrived`.
    """
    lines = []
    images, notes = work / "images", work / "arrived"
    for part in sorted(packed.glob("images-*/images-*-of-*.tar")):
        images.mkdir(parents=True, exist_ok=True)
        notes.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(part) as archive:
                archive.extractall(images, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            lines.append(f"{part.name} cannot be unpacked ({error}): bring it again")
            continue
        (notes / part.name).touch()
        part.unlink()
        lines.append(f"{part.name} has arrived")
    return lines


def missing(work: Path) -> list[int] | None:
    """Returns the numbers of the parts that have not been unpacked yet; None if none has."""
    found = [match for file in (work / "arrived").glob("*") if (match := NAME.fullmatch(file.name))]
    if not found:
        return None
    count = int(found[0][2])
    arrived = {int(match[1]) for match in found if int(match[2]) == count}
    return sorted(set(range(1, count + 1)) - arrived)
