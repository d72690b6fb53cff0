"""A file lock that the operating system releases when its process ends, even if the process is killed."""

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
    """Holds a lock during the block, so that no other process holds it. Child processes do not inherit it.

    Args:
        file: The file to lock. It is created, and removed at the end; its folder must exist.
        wait: Whether to wait until another process releases the lock.

    Raises:
        OSError: If another process holds the lock and `wait` is off.
    """
    if fcntl is None:
        with _locked_elsewhere(file, wait=wait):
            yield
        return
    taken = False
    while not taken:
        with file.open("a", encoding="utf-8") as opened:
            fcntl.lockf(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # The last holder may have removed the file after it was opened here and before it was locked.
            taken = file.exists() and os.path.samestat(os.fstat(opened.fileno()), file.stat())
            if taken:
                try:
                    yield
                finally:
                    file.unlink(missing_ok=True)


def is_locked(file: Path) -> bool:
    """Returns whether another process holds this lock; False if that cannot be found out."""
    if not file.is_file() or not os.access(file, os.R_OK):
        return False
    if fcntl is None:
        try:
            with _locked_elsewhere(file, wait=False):
                return False
        except OSError:
            return True
    # Opened for reading, which does not create the file again if the last holder has just removed it.
    with suppress(FileNotFoundError), file.open(encoding="utf-8") as opened:
        try:
            fcntl.lockf(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


@contextmanager
def _locked_elsewhere(file: Path, *, wait: bool) -> Iterator[None]:
    # Not everywhere: on Unix, its lock is inherited by child processes, which may outlive a killed run.
    from filelock import FileLock, Timeout

    try:
        with FileLock(file, timeout=-1 if wait else 0):
            yield
    except Timeout as error:
        raise OSError(f"{file} is locked") from error
