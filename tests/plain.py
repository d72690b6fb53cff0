"""An environment without extras, made of links to the packages of this one: what `pip install woof-lightning` gives."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "woof-lightning"


def link_dependencies(purelib: Path) -> set[str]:
    """Links what the project requires without its extras into another environment, and returns the distributions.

    Args:
        purelib: The folder of packages of that environment.
    """
    here = Path(sysconfig.get_path("purelib"))
    names = set(required(PROJECT)) - {PROJECT}
    for name in names:
        for top in {file.parts[0] for file in metadata.files(name) or () if file.parts[0] != ".."}:
            if (here / top).exists() and not (purelib / top).exists():
                (purelib / top).symlink_to(here / top)
    return names


def required(project: str) -> list[str]:
    """Returns a distribution and all that it requires here, directly or not."""
    found: dict[tuple[str, str], None] = {}
    open_ends: list[tuple[str, str]] = [(canonicalize_name(project), "")]
    while open_ends:
        end = open_ends.pop()
        if end not in found:
            found[end] = None
            open_ends += _direct(*end)
    return list(dict.fromkeys(name for name, _ in found))


def _direct(name: str, extra: str) -> Iterator[tuple[str, str]]:
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield from ((canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras))
