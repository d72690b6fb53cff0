"""A profile as a figure."""

from __future__ import annotations

from matplotlib.figure import Figure

from woof_lightning.profile.buckets import DATA_OWNER, FRAMEWORK, TORCH, VALIDATION, YOURS
from woof_lightning.profile.record import Profile
from woof_lightning.profile.report import owners

COLOURS = {YOURS: "tab:blue", TORCH: "tab:green", DATA_OWNER: "tab:olive", VALIDATION: "tab:gray", FRAMEWORK: "tab:red"}

# Parts above this share of a step, in percent, have their name in the bar.
NAMED = 5


def figure(profile: Profile) -> Figure:
    """Returns a figure: the parts of a step in one bar, and the steps over time."""
    drawn = Figure(figsize=(11, 4.5), layout="constrained")
    bar, steps = drawn.subplots(1, 2, width_ratios=(3, 4))
    total, left = profile.step_us["sum"], 0.0
    for owner, shares in owners(profile).items():
        share = sum(one.sum_us for one in shares) / total
        bar.barh(0, 100 * share, left=left, color=COLOURS[owner], label=f"{owner} {share:.0%}")
        inner = left
        for one in shares:
            width = 100 * one.sum_us / total
            if width >= NAMED:
                bar.text(inner + width / 2, 0, one.name, rotation=90, ha="center", va="center", color="white")
            inner += width
            bar.plot([inner, inner], [-0.4, 0.4], color="white", linewidth=0.6)
        left += 100 * share
    bar.set(xlim=(0, 100), yticks=[], xlabel="% of the steps' wall time", title=profile.about["module"])
    bar.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False)
    steps.plot([step / 1000 for step in profile.steps_us], linewidth=0.8)
    steps.set(xlabel="step", ylabel="ms", title="each step", yscale="log")
    return drawn
