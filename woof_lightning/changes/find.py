"""Finds the programs of the gallery and what is known about each change: folders with an about.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from woof_lightning.errors import UserError, did_you_mean

GALLERY = Path(__file__).parent
PAIRS = "pairs"
BASE, BY_HAND, SUFFIX = "base", "by_hand", "_way.py"
# What each way needs beside PyTorch.
PACKAGES = {
    BY_HAND: (),
    "fabric": ("lightning",),
    "accelerate": ("accelerate",),
    "lightning": ("lightning",),
    "ignite": ("ignite",),
    "fastai": ("fastai",),
}
# Further roads of a way, in the order in which they are shown: another precision, the road that documentation sends to
# where the first does not lead there, and that of people who know better. Each with its way.
ROADS = {
    "by_hand_fp16": BY_HAND,
    "lightning_manual": "lightning",
    "lightning_expert": "lightning",
    "fastai_expert": "fastai",
}
# Where a road does not lead to a change, the next ones.
NEXT_ROADS = {"lightning": ("lightning_manual",), "lightning_expert": ("lightning", "lightning_manual")}


@dataclass(frozen=True)
class Cell:
    """A change made in one way.

    Args:
        change: The name of the change.
        way: The name of the way.
        known: What differs from the change by hand, each difference with its reason.
        processes: The number of processes that train together.
    """

    change: str
    way: str
    known: dict[str, str] = field(default_factory=dict)
    processes: int = 1

    @property
    def file(self) -> Path:
        """The program."""
        return GALLERY / self.change / f"{self.way}{SUFFIX}"

    @property
    def base_file(self) -> Path:
        """The program that was changed."""
        return GALLERY / BASE / f"{ROADS.get(self.way, self.way)}{SUFFIX}"

    @property
    def packages(self) -> tuple[str, ...]:
        """The libraries that it needs beside PyTorch."""
        return PACKAGES[ROADS.get(self.way, self.way)]

    @property
    def missing(self) -> tuple[str, ...]:
        """The libraries that it needs and that are not installed."""
        return tuple(package for package in self.packages if find_spec(package) is None)


@dataclass(frozen=True)
class Mistake:
    """A mistake that somebody reported, made again in one of the programs.

    Args:
        way: The way whose program it is made in.
        edits: Texts of the program, each with what stands there instead.
        outcome: What happens, as broken.py sorts it.
        detail: What its detail begins with.
    """

    way: str
    edits: tuple[tuple[str, str], ...]
    outcome: str
    detail: str

    def program(self, text: str) -> str:
        """Returns a program with the mistake in it.

        Args:
            text: The right program.

        Raises:
            ValueError: If a text that is to be replaced is not in it exactly once.
        """
        for old, new in self.edits:
            if text.count(old) != 1:
                raise ValueError(f"{old!r} is there {text.count(old)} times: expected once")
            text = text.replace(old, new)
        return text


@dataclass(frozen=True)
class Trap:
    """What goes wrong with a change, as somebody reported it.

    Args:
        says: What happened.
        link: The thread.
        mistake: The same here; None if it cannot be made here.
    """

    says: str
    link: str
    mistake: Mistake | None = None


@dataclass(frozen=True)
class Change:
    """A change and its cells.

    Args:
        name: Its name, which is that of its folder.
        number: Its place in lists.
        title: What is changed, in a few words.
        cells: Its programs, by way.
        not_offered: Ways that do not offer it, each with `says` and `link`.
        traps: What goes wrong with it.
    """

    name: str
    number: int
    title: str
    cells: dict[str, Cell]
    not_offered: dict[str, dict[str, str]]
    traps: tuple[Trap, ...]

    def road(self, way: str) -> Cell | None:
        """Returns the program of a way, on the next of its roads if the first does not lead there; None without one."""
        return next((self.cells[name] for name in (way, *NEXT_ROADS.get(way, ())) if name in self.cells), None)


@dataclass(frozen=True)
class Pair:
    """Two changes that go wrong together, as somebody reported it. Its folder has a program with both.

    Args:
        first: A change.
        second: Another one.
        says: What happened.
        link: The thread.
    """

    first: Change
    second: Change
    says: str
    link: str

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.first.name}_and_{self.second.name}"

    def file(self, way: str) -> Path:
        """Returns the program that somebody put together; it need not be there if git can merge the changes."""
        return GALLERY / PAIRS / self.name / f"{way}{SUFFIX}"

    @property
    def processes(self) -> int:
        """The number of processes that train together."""
        return max(cell.processes for change in (self.first, self.second) for cell in change.cells.values())


@lru_cache
def gallery() -> dict[str, Change]:
    """Returns all changes by name, in their order. The first is the base."""
    inherited = known_of(about(BASE))
    found = []
    for folder in sorted(file.parent for file in GALLERY.glob("*/about.yaml")):
        told = about(folder.name)
        known = known_of(told)
        cells = {
            way: Cell(
                folder.name,
                way,
                inherited.get(ROADS.get(way, way), {}) | known.get(way, {}),
                told.get("processes", 1),
            )
            for way in (*PACKAGES, *ROADS)
            if (folder / f"{way}{SUFFIX}").exists()
        }
        found.append(
            Change(folder.name, told["number"], told["title"], cells, told.get("not_offered", {}), traps_of(told))
        )
    return {change.name: change for change in sorted(found, key=lambda change: change.number)}


def changes() -> list[Change]:
    """Returns all changes in their order, without the base."""
    return [change for change in gallery().values() if change.name != BASE]


def pairs() -> list[Pair]:
    """Returns the pairs of changes that somebody reported, in the order of the changes."""
    place = list(gallery())
    found = []
    for file in GALLERY.glob(f"{PAIRS}/*/about.yaml"):
        told = about(file.parent.relative_to(GALLERY).as_posix())
        first, second = gallery()[told["first"]], gallery()[told["second"]]
        found.append(Pair(first, second, told["says"].strip(), told["link"]))
    return sorted(found, key=lambda pair: (place.index(pair.first.name), place.index(pair.second.name)))


def about(name: str) -> dict[str, Any]:
    """Returns what is known about a change or a pair.

    Args:
        name: The name of its folder in the gallery.
    """
    told: dict[str, Any] = yaml.safe_load((GALLERY / name / "about.yaml").read_text(encoding="utf-8"))
    return told


def known_of(told: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Returns the known differences of each way, each with its reason."""
    return {
        way: {difference: one["because"] for one in groups for difference in one["differs"]}
        for way, groups in told.get("known", {}).items()
    }


def traps_of(told: dict[str, Any]) -> tuple[Trap, ...]:
    """Returns what goes wrong with a change."""
    found = []
    for trap in told.get("traps", ()):
        made = trap.get("mistake")
        mistake = made and Mistake(
            made["way"],
            tuple((edit["instead_of"], edit["stands"]) for edit in made["edits"]),
            made["outcome"],
            made["detail"],
        )
        found.append(Trap(trap["says"].strip(), trap["link"], mistake))
    return tuple(found)


def change_named(name: str) -> Change:
    """Returns a change by its name.

    Raises:
        UserError: If there is none of that name.
    """
    named = {change.name: change for change in changes()}
    if name not in named:
        raise UserError(f"{name} is no change: {did_you_mean(name, list(named), 'woof change lists them')}")
    return named[name]
