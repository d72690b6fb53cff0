"""Lists the files of a class folder: those that may be images, and those that are passed over, each with a reason."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from woof_lightning.data.decoding import SUFFIXES

# What file managers leave in every folder, beside the files that macOS names ._NAME.
LITTER = ("thumbs.db", "desktop.ini", ".ds_store", ".directory")
MOST_SHOWN = 3


class PassedOver(NamedTuple):
    """A file or folder that is not used.

    Args:
        path: Its path relative to the data set's folder; that of a folder ends with /.
        kind: What it is, in a word or two: its suffix, "hidden", …
        reason: Why it is not used.
    """

    path: str
    kind: str
    reason: str

    @property
    def is_litter(self) -> bool:
        """Whether a file manager left it."""
        return self.kind == "of the file manager"


class FileState(NamedTuple):
    """A file when it was listed.

    Args:
        path: Its path relative to the data set's folder, with / between its parts.
        size_bytes: Its size; 0 for a link to nothing.
        changed_ns: When it was changed last, in ns since 1970; 0 for a link to nothing.
    """

    path: str
    size_bytes: int
    changed_ns: int


class ListedClass(NamedTuple):
    """The content of a class folder.

    Args:
        images: The files that may be images, sorted by path.
        passed_over: The others.
    """

    images: list[FileState]
    passed_over: list[PassedOver]

    def other_kinds(self) -> list[str]:
        """Returns what the files are that the user may take for images; none for an empty folder."""
        return sorted({one.kind for one in self.passed_over if not one.is_litter})


def list_class(root: Path, place: str) -> ListedClass:
    """Lists a class folder and its subfolders.

    Args:
        root: The data set's folder.
        place: The class folder's path relative to that.
    """
    start = len(os.path.join(root, ""))  # noqa: PTH118  Some paths are no text, and this is done a million times.
    images: list[FileState] = []
    passed_over: list[PassedOver] = []
    above = frozenset(os.path.realpath(folder) for folder in (root, (root / place).parent))
    for entry, other in _below(os.path.join(root, place), above):  # noqa: PTH118
        if other is None:
            images.append(_state_of(entry, _relative(entry.path, start)))
        else:
            passed_over.append(PassedOver(_relative(entry.path, start), *other))
    return ListedClass(sorted(images), sorted(passed_over))


def beside_classes(root: Path, place: str, used: Iterable[str]) -> list[PassedOver]:
    """Lists what is in a folder beside the folders that are used.

    Args:
        root: The data set's folder.
        place: The path relative to that of a folder of class folders, or of splits; empty for root itself.
        used: The names of the folders that are used.
    """
    names, found = frozenset(used), []
    for entry in os.scandir(root / place):
        path = f"{place}/{entry.name}" if place else entry.name
        if entry.name in names:
            continue
        if (other := _unseen(entry)) is not None:
            found.append(PassedOver(path, *other))
        elif entry.is_dir():
            found.append(PassedOver(f"{path}/", "folder beside train/ and val/", "only train/ and val/ are read"))
        else:
            found.append(
                PassedOver(path, f"{_suffix(entry.name)} beside the class folders", "it is in no class folder")
            )
    return sorted(found)


def folders_in(folder: Path) -> list[str]:
    """Returns the names of the folders in a folder that are not hidden, sorted."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def images_below(folder: Path) -> list[Path]:
    """Returns the files of a folder and its subfolders whose suffix is that of an image, in any order."""
    return [Path(entry.path) for entry, other in _below(str(folder)) if other is None]


def summary(passed_over: Iterable[PassedOver]) -> str:
    """Returns how many files of each kind are passed over, with the first few of each; empty if there are none.

    What file managers leave is not told.
    """
    by_kind: dict[str, list[str]] = {}
    for one in passed_over:
        if not one.is_litter:
            by_kind.setdefault(one.kind, []).append(one.path)
    return ", ".join(f"{len(paths)} {kind} ({first_of(paths, MOST_SHOWN)})" for kind, paths in sorted(by_kind.items()))


def first_of(names: Iterable[str], most: int = 5) -> str:
    """Returns the first of several names, and how many more there are."""
    names = [*names]
    shown = ", ".join(printable(name) for name in names[:most])
    return (f"{shown} and {len(names) - most} more" if len(names) > most else shown) or "none"


def printable(name: str) -> str:
    """Returns a name on one line: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)


def _below(
    folder: str, above: frozenset[str] = frozenset()
) -> Iterator[tuple[os.DirEntry[str], tuple[str, str] | None]]:
    """Yields the files of a folder and its subfolders, with kind and reason for what is passed over."""
    above |= {os.path.realpath(folder)}
    for entry in os.scandir(folder):
        if (other := _unseen(entry)) is not None:
            yield entry, other
        elif not entry.is_dir():
            yield entry, None if is_image(entry.name) else (_suffix(entry.name), "its suffix is not that of an image")
        elif os.path.realpath(entry.path) in above:
            yield entry, ("link to a folder above", "its images are listed in that folder")
        else:
            yield from _below(entry.path, above)


def is_image(name: str) -> bool:
    """Returns whether a file's suffix is that of an image."""
    return name.lower().endswith(SUFFIXES)


def _unseen(entry: os.DirEntry[str]) -> tuple[str, str] | None:
    if entry.name.lower() in LITTER or entry.name.startswith("._"):
        return "of the file manager", "file managers leave it in folders"
    if entry.name.startswith("."):
        return f"hidden {'folder' if entry.is_dir() else 'file'}", "its name begins with a dot"
    return None


def _suffix(name: str) -> str:
    return Path(name).suffix.lower() or "without a suffix"


def _relative(path: str, start: int) -> str:
    return path[start:] if os.sep == "/" else path[start:].replace(os.sep, "/")


def _state_of(entry: os.DirEntry[str], path: str) -> FileState:
    try:
        status = entry.stat()
    except FileNotFoundError:  # A link to nothing. The check of all images names it.
        return FileState(path, 0, 0)
    return FileState(path, status.st_size, status.st_mtime_ns)
