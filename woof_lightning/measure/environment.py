"""The environment variables of a worker: those that a list allows, and what the worker's own imports change."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping

# What a process needs to find its files, its terminal and its devices. Nothing that tunes a library: such a variable
# may come from an import in the measuring process, and would then be measured in every way.
ALLOWED = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TERM",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
)


def clean_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns the allowed variables of an environment."""
    return {name: environment[name] for name in ALLOWED if name in environment}


def environment_id(environment: Mapping[str, str]) -> int:
    """Returns a number of at most six digits that differs, most probably, between different environments."""
    return zlib.crc32(repr(sorted(environment.items())).encode()) % 1_000_000


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Returns the names of the variables that were set, changed or removed."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
