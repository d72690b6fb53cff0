"""Tests the checksums that checkpoint files carry."""

from __future__ import annotations

import zipfile
from pathlib import Path


def zip_problem(file: Path) -> str | None:
    """Returns what is wrong with a checkpoint file, or None if all its checksums are right.

    torch.save writes a zip archive with a CRC-32 per tensor, which torch.load does not check.
    """
    if file.stat().st_size == 0:
        return "the file is empty"
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return f"it is truncated or no checkpoint ({error})"
    return f"it is damaged (the checksum of {damaged} is wrong)" if damaged else None
