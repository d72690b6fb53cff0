"""A data set is made beside its place and moved there when it is whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from woof_lightning.locks import locked


@contextmanager
def alone_at(folder: Path) -> Iterator[None]:
    """Inside, no other process of this project makes this folder; waits for one that does.

    The folder may be there afterwards, so look again.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock"), wait=True):
        yield


@contextmanager
def temporary_folder_beside(folder: Path, doing: str) -> Iterator[Path]:
    """A folder on the same file system as `folder`, gone when the block ends.

    Args:
        folder: The place, inside `alone_at`.
        doing: What is done in it, for its name. Left-overs of a killed attempt at the same are removed.
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
