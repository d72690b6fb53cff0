"""A lock on a file, which the system gives back when its process ends, however that happens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(file: Path, *, wait: bool) -> Iterator[None]:
    """Inside, no other process holds this lock. Child processes do not inherit it.

    Args:
        file: Made here, and removed at the end; its folder must exist.
        wait: Whether to wait for another process to give it back.

    Raises:
        OSError: When another process holds it and `wait` is off.
    """
    if fcntl is None:
        yield
        return
    taken = False
    while not taken:
        with file.open("a") as opened:
            fcntl.lockf(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Its last holder may have removed the file between our opening and our locking it.
            taken = file.exists() and os.path.samestat(os.fstat(opened.fileno()), file.stat())
            if taken:
                try:
                    yield
                finally:
                    file.unlink(missing_ok=True)


def is_locked(file: Path) -> bool:
    """Whether another process holds this lock now; False where that cannot be told."""
    if fcntl is None or not file.is_file() or not os.access(file, os.R_OK):
        return False
    # Only read: one that looks must not make the file again that its last holder has removed.
    with suppress(FileNotFoundError), file.open() as opened:
        try:
            fcntl.lockf(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
