"""Tables of docs/profile.md, from what docs/results/profile holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.generate.change_tables import conditions
from docs.generate.result_tables import read_rows
from docs.results.profile.spins import PLACES
from woof_lightning.compare.tables import markdown_table
from woof_lightning.profile.record import Profile
from woof_lightning.profile.report import table


def slopes_in(folder: Path) -> dict[tuple[str, str], float]:
    """Returns by how much each part grew for each us of spinning in each place."""
    return {(row["place"], row["part"]): float(row["slope"]) for row in read_rows(folder / "spins.csv")}


def strays(folder: Path, place: str) -> tuple[str, float]:
    """Returns the part that a spin in a place has changed most, besides its own, and by how much."""
    others = {part: slope for (own, part), slope in slopes_in(folder).items() if own == place and part != PLACES[place]}
    part = max(others, key=lambda name: abs(others[name]))
    return part, others[part]


def spins_table(folder: Path) -> str:
    """How much of a spin its part has seen, and what of it another part has, a row for each place."""
    found = slopes_in(folder)
    rows = []
    for place, part in PLACES.items():
        other, stray = strays(folder, place)
        rows.append([place, part, f"{found[place, part]:.3f}", f"{stray:+.3f} ({other})"])
    return markdown_table(("spin in", "its part", "seen there", "most elsewhere"), rows)


def profile_block(folder: Path) -> str:
    """A profile as the terminal shows it."""
    return f"```\n{table(Profile.read(folder / 'profile.json'))}\n```\n"


PROFILE_TABLES: dict[str, Callable[[Path], str]] = {
    "profile-spins": spins_table,
    "profile": profile_block,
    "profile-conditions": conditions,
}


def seen_text(folder: Path, which: str) -> str:
    """Returns the least or the most that a part has seen of a spin in its place, in percent."""
    found = slopes_in(folder)
    seen = [found[place, part] for place, part in PLACES.items()]
    return f"{100 * {'least': min, 'most': max}[which](seen):.1f}"


def stray_text(folder: Path) -> str:
    """Returns the most that another part has seen of a spin, in percent."""
    return f"{100 * max(abs(strays(folder, place)[1]) for place in PLACES):.1f}"


def own_cost_text(folder: Path) -> str:
    """Returns what the profiler took in a step, in us."""
    return f"{Profile.read(folder / 'profile.json').own_us:.0f}"


def bare_text(folder: Path, name: str, number: str = "median") -> str:
    """Returns a number of the comparison with a bare loop, in us: trainer_us, bare_us or saving_us."""
    bare = Profile.read(folder / "profile.json").bare
    if bare is None:
        raise LookupError("no comparison with a bare loop")
    return f"{bare[name][number]:.3g}" if bare[name][number] < 1000 else f"{float(f'{bare[name][number]:.3g}'):,.0f}"


PROFILE_VALUES: dict[str, Callable[..., str]] = {
    "profile_seen": seen_text,
    "profile_stray": stray_text,
    "profile_own_us": own_cost_text,
    "profile_bare": bare_text,
}
