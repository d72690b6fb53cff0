"""Where decoded images are kept between runs, when they are written, and how they are removed.

Each data set has one file in the user's cache folder. Its name says which files were decoded, in which state, and by
which versions of the decoders, so images that have changed are decoded again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from woof_lightning.data.config import AUTO, DISK, OFF, DataConfig
from woof_lightning.data.decoded import DecodedImages, decoded_bytes, write_decoded
from woof_lightning.data.images import ImageIndex, user_cache_dir
from woof_lightning.data.temporary import alone_at, temporary_folder_beside
from woof_lightning.errors import DamagedCacheError, UserError

DECODERS = ("torchvision", "pillow", "numpy")
SUFFIX = ".pixels"


def keep_decoded(index: ImageIndex, config: DataConfig, pixels: int) -> None:
    """Decodes all images into the cache, unless they are there already or the settings are against it.

    Args:
        index: The images.
        config: The settings of the data.
        pixels: The number of pixels of all images together.

    Raises:
        UserError: If data.cache is disk and there is no room for them, or the cache folder cannot be written to.
        UnreadableImageError: If an image cannot be decoded.
    """
    if config.cache == OFF or opened(index, config) is not None:
        return
    file, needed_bytes = cache_file(index), decoded_bytes(pixels, len(index.train) + len(index.val))
    try:
        with alone_at(file):
            if opened(index, config) is not None:  # Another process wrote it while this one waited.
                return
            problem = _lacking_room(file.parent, needed_bytes, half=config.cache == AUTO)
            if problem is None:
                _write(file, index)
    except OSError as error:
        problem = f"{file} ({needed_bytes / 1e6:,.0f} MB) could not be written ({error.strerror or error})"
    if problem is None:
        return
    if config.cache == DISK:
        raise UserError(
            f"data.cache is disk, but {problem}; name another cache folder with XDG_CACHE_HOME, or set data.cache off"
        )
    print(f"note: images are decoded anew in each epoch, since {problem}", file=sys.stderr)


def opened(index: ImageIndex, config: DataConfig) -> DecodedImages | None:
    """Returns the decoded images of a data set, the training images first; None if there are none to use.

    Args:
        index: The images.
        config: The settings of the data.
    """
    if config.cache == OFF:
        return None
    with suppress(DamagedCacheError, OSError):
        found = DecodedImages(cache_file(index))
        if len(found) == len(index.train) + len(index.val):
            return found
    return None


def how_loaded(config: DataConfig, decoded: DecodedImages | None) -> dict[str, Any]:
    """Returns how the images of a data set are loaded, for the record of a run.

    Args:
        config: The settings of the data.
        decoded: The decoded images that the loaders got.
    """
    return {"processes": config.worker_count, "decoded_before": decoded is not None}


def cache_file(index: ImageIndex) -> Path:
    """Returns the file for the decoded images of a data set, whether it exists or not."""
    decoders = " ".join(f"{name} {metadata.version(name)}" for name in DECODERS)
    state = hashlib.sha256(f"{index.state_of_files} {decoders}".encode()).hexdigest()[:16]
    return cache_folder() / f"{_place_of(index)}-{state}{SUFFIX}"


def cache_folder() -> Path:
    """Returns the folder of all decoded images."""
    return user_cache_dir() / "decoded"


def clear_cache() -> tuple[int, int]:
    """Removes all decoded images, and returns the number of files removed and their size in bytes."""
    files = [*cache_folder().glob(f"*{SUFFIX}")]
    size_bytes = sum(file.stat().st_size for file in files)
    for file in files:
        file.unlink(missing_ok=True)
    return len(files), size_bytes


def _write(file: Path, index: ImageIndex) -> None:
    for stale in file.parent.glob(f"{_place_of(index)}-*{SUFFIX}"):
        with suppress(PermissionError):  # On Windows, another run may have it open. The next one removes it.
            stale.unlink(missing_ok=True)
    with temporary_folder_beside(file, "decoding") as temporary:
        written = temporary / file.name
        write_decoded(written, index.paths, len(index.train) + len(index.val))
        written.replace(file)


def _place_of(index: ImageIndex) -> str:
    # `woof validate` lists a folder without its training images, and must not replace what a training keeps.
    part = b"" if index.train else b"/val alone"
    return hashlib.sha256(os.fsencode(index.root.resolve()) + part).hexdigest()[:8]


def _lacking_room(folder: Path, needed_bytes: int, *, half: bool) -> str | None:
    """Returns a sentence if the disk has too little room; None if it has enough."""
    free_bytes = shutil.disk_usage(folder).free
    usable_bytes = free_bytes / 2 if half else free_bytes
    if needed_bytes <= usable_bytes:
        return None
    share = " of which at most half is used" if half else ""
    return f"they need {needed_bytes / 1e6:,.0f} MB decoded, and {folder} has {free_bytes / 1e6:,.0f} MB free{share}"
