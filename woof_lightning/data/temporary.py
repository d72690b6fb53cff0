"""Helpers to create a data set in a temporary folder and move it into place once it is complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from woof_lightning.locks import locked


@contextmanager
def alone_at(folder: Path) -> Iterator[None]:
    """Makes sure that no other process creates this folder during the block.

    If another process is creating it, this waits until that one is done. The folder may exist then, so check again.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock"), wait=True):
        yield


@contextmanager
def temporary_folder_beside(folder: Path, doing: str) -> Iterator[Path]:
    """Yields a temporary folder on the same file system as `folder`, and removes it when the block ends.

    Folders left behind by a killed process are removed first, so use this inside `alone_at(folder)`.

    Args:
        folder: The folder to create.
        doing: A word for the name of the temporary folder, such as "unpacking".
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}.{doing}-"
    for leftover in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
