"""Tables of docs/profile.md, from what docs/results/profile holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from docs.generate.change_tables import conditions
from docs.generate.result_tables import read_rows
from docs.results.profile.foreign.measure import FOREIGN
from docs.results.profile.spins import PLACES
from woof_lightning.compare.tables import markdown_table
from woof_lightning.profile.buckets import DATA_OWNER, FRAMEWORK, TORCH, YOURS
from woof_lightning.profile.record import TOGETHER, Advice, Profile
from woof_lightning.profile.report import owners, report

SHOWN = (YOURS, TORCH, DATA_OWNER, FRAMEWORK)
INSTRUMENTS = ("woof cost", "woof profile")


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
    return markdown_table(("spin planted in", "its part", "share seen there", "largest share elsewhere"), rows)


def profile_block(folder: Path) -> str:
    """A profile as the terminal shows it."""
    return f"```\n{report(Profile.read(folder / 'profile.json'))}\n```\n"


@dataclass(frozen=True)
class Proof:
    """A piece of advice that was followed in turns.

    Args:
        training: Whose.
        advice: The advice.
        step_us: What a step took.
    """

    training: str
    advice: Advice
    step_us: float

    @property
    def saved_us(self) -> Mapping[str, float]:
        """What it has saved."""
        assert self.advice.saved_us is not None, "it was followed"
        return self.advice.saved_us

    @property
    def is_told_apart(self) -> bool:
        """Whether it has saved anything at all, by its interval."""
        return self.saved_us["low"] > 0

    @property
    def error(self) -> float:
        """By how much the prediction was wrong, as a share of what was saved."""
        return abs(self.advice.predicted_us - self.saved_us["median"]) / self.saved_us["median"]


def foreign_profiles(folder: Path) -> dict[str, Profile]:
    """Returns the profiles of modules that nobody here has written, by the package's name."""
    return {
        package.package: Profile.read(folder / "foreign" / name / "profile.json") for name, package in FOREIGN.items()
    }


def proofs(folder: Path) -> list[Proof]:
    """Returns the advice that was followed for these modules, the largest share of a step first."""
    found = [
        Proof(name, advice, profile.step_us["median"])
        for name, profile in foreign_profiles(folder).items()
        for advice in profile.advice
        if advice.saved_us is not None and advice.name != TOGETHER
    ]
    return sorted(found, key=lambda proof: -proof.advice.predicted_us / proof.step_us)


def foreign_table(folder: Path) -> str:
    """What a step of somebody else's module is spent on, and what can be had back, a row for each package."""
    rows = []
    for name, profile in foreign_profiles(folder).items():
        step_us = profile.step_us["median"]
        shares = {owner: sum(share.sum_us for share in found) for owner, found in owners(profile).items()}
        split = [f"{shares.get(owner, 0) / profile.step_us['sum']:.0%}" for owner in SHOWN]
        together = [one for one in profile.advice if one.saved_us is not None]
        back = next((one for one in together if one.name == TOGETHER), together[0] if together else None)
        rows.append(
            [
                name,
                profile.about["module"],
                f"{step_us / 1000:.3g} ms",
                *split,
                "" if profile.bare is None else interval(profile.bare["saving_us"]),
                "nothing" if back is None or back.saved_us is None else interval(back.saved_us),
            ]
        )
    return markdown_table(("package", "module", "a step", *SHOWN, "a bare loop saves", "advice saves"), rows)


def interval(estimate: Mapping[str, float]) -> str:
    """Returns a saving with its interval, in us."""
    low, high = (three_digits(estimate[end]) for end in ("low", "high"))
    return f"{three_digits(estimate['median'])} us ({low} to {high})"


def three_digits(value: float) -> str:
    """Returns a number with three significant digits, its thousands apart."""
    return f"{float(f'{value:.3g}'):,.0f}"


def advice_table(folder: Path) -> str:
    """What each piece of advice was predicted to save and has saved, a row for each."""
    rows = []
    for proof in proofs(folder):
        error = f"{proof.error:.0%}" if proof.is_told_apart else "within noise"
        predicted = f"{three_digits(proof.advice.predicted_us)} us"
        rows.append([proof.training, proof.advice.name, predicted, interval(proof.saved_us), error])
    return markdown_table(("package", "advice", "predicted", "measured", "error of the prediction"), rows)


def agreement_table(folder: Path) -> str:
    """What Lightning costs by `woof cost` and by `woof profile`, a row for each way."""
    found = {(row["way"], row["instrument"]): row for row in read_rows(folder / "agreement.csv")}
    rows = []
    for way in dict.fromkeys(way for way, _ in found):
        values = [found[way, instrument] for instrument in INSTRUMENTS]
        medians = [float(value["median_us"]) for value in values]
        told = [interval({name: float(value[f"{name}_us"]) for name in ("median", "low", "high")}) for value in values]
        rows.append([f"`{way}`", *told, f"{medians[1] - medians[0]:+.0f} us ({medians[1] / medians[0] - 1:+.0%})"])
    return markdown_table(("way", *(f"`{name}`" for name in INSTRUMENTS), "difference"), rows)


def minors_table(folder: Path) -> str:
    """What works with which Lightning, a row for each version."""
    rows = [[row["lightning"], row["profiler"], row["verb"]] for row in read_rows(folder / "minors.csv")]
    return markdown_table(("Lightning", "`OverheadProfiler`", "`woof profile`"), rows)


PROFILE_TABLES: dict[str, Callable[[Path], str]] = {
    "profile-spins": spins_table,
    "profile": profile_block,
    "profile-foreign": foreign_table,
    "profile-advice": advice_table,
    "profile-agreement": agreement_table,
    "profile-minors": minors_table,
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


def error_text(folder: Path) -> str:
    """Returns the median error of the predictions whose saving is told apart from nothing, in percent."""
    return f"{100 * median(proof.error for proof in proofs(folder) if proof.is_told_apart):.0f}"


def proofs_text(folder: Path, which: str) -> str:
    """Returns how many pieces of advice were followed, have saved something by their interval, or lie within it."""
    found = proofs(folder)
    within = sum(proof.saved_us["low"] <= proof.advice.predicted_us <= proof.saved_us["high"] for proof in found)
    told = sum(proof.is_told_apart for proof in found)
    return str({"followed": len(found), "told": told, "within": within}[which])


PROFILE_VALUES: dict[str, Callable[..., str]] = {
    "profile_error": error_text,
    "profile_proofs": proofs_text,
    "profile_seen": seen_text,
    "profile_stray": stray_text,
    "profile_own_us": own_cost_text,
}
