"""What a way to train needs beside the package's own dependencies, for the tests that run it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

import pytest

from woof_lightning.loops.ways import WAYS

NEEDS_PEERS = "needs the extra `peers`"
# Lightning and Fabric come with the package.
PEERS = tuple(name for name, way in WAYS.items() if not {"lightning"}.issuperset(way.distributions))
WITHOUT_PEERS = tuple(name for name in WAYS if name not in PEERS)


def packages(way: str) -> list[str]:
    """Returns the packages that a way imports and the extra `peers` installs; none for any other name."""
    return list({entry.partition(".")[0]: None for entry in WAYS[way].entry}) if way in PEERS else []


def needs(*ways: str) -> pytest.MarkDecorator:
    """Returns the mark of a test that trains in ways of the extra `peers`: it is skipped where they are missing."""
    return pytest.mark.peer(*(package for way in ways for package in packages(way)))


def each(names: Iterable[str]) -> list[Any]:
    """Returns names of ways as parameters, those of the extra `peers` with their mark."""
    return [pytest.param(name, marks=needs(name) if name in PEERS else (), id=name) for name in names]


def skip_without(*packages: str) -> None:
    """Skips the running test if one of the packages is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: {NEEDS_PEERS}")
