"""A profile as a table, as Markdown and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from woof_lightning.profile.buckets import DATA_OWNER, FRAMEWORK, TORCH, VALIDATION, YOURS
from woof_lightning.profile.record import Profile, Share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Parts below this share of a step stand in one line together.
SMALL = 0.002
OWNERS = {YOURS: "tab:blue", TORCH: "tab:green", DATA_OWNER: "tab:olive", VALIDATION: "tab:gray", FRAMEWORK: "tab:red"}


def owners(profile: Profile) -> dict[str, list[Share]]:
    """Returns the parts by their owner."""
    found = {owner: [share for share in profile.shares if share.owner == owner] for owner in OWNERS}
    return {owner: shares for owner, shares in found.items() if shares}


def table(profile: Profile) -> str:
    """Returns a profile as a table for the terminal: the owners, then their parts."""
    total = profile.step_us["sum"]
    lines = [
        f"{profile.about['module']}: {profile.step_us['median'] / 1000:.3g} ms a step "
        f"(95 % below {profile.step_us['p95'] / 1000:.3g} ms; {profile.steps} steps, {profile.first_steps} before them "
        f"left out; the first took {profile.first_step_us / 1000:.3g} ms)",
        "",
        f"{'':<44}{'share':>8}{'median':>10}{'95 %':>10}{'calls':>8}",
    ]
    for owner, shares in owners(profile).items():
        lines.append(f"{owner:<44}{sum(share.sum_us for share in shares) / total:>8.1%}")
        small = [share for share in shares if share.sum_us < SMALL * total]
        for share in shares:
            if share not in small:
                lines.append(
                    f"  {share.name:<42}{share.sum_us / total:>8.1%}{share.median_us:>7.0f} us{share.p95_us:>7.0f} us"
                    f"{share.calls:>8.3g}"
                )
        if small:
            lines.append(f"  {f'{len(small)} others':<42}{sum(share.sum_us for share in small) / total:>8.1%}")
    lines += ["", f"the profiler itself took {profile.own_us:.0f} us a step, which are in none of the parts"]
    return "\n".join(lines)


def markdown(profile: Profile) -> str:
    """Returns a profile as Markdown, to be pasted into an issue."""
    told = ", ".join(f"{name} {value}" for name, value in profile.about.items())
    parts = [f"{told}\n", f"```\n{table(profile)}\n```\n"]
    if profile.bare is not None:
        trainer, bare, saving = (profile.bare[name] for name in ("trainer_us", "bare_us", "saving_us"))
        parts.append(
            f"In turns with a bare loop: {trainer['median']:.0f} us in the Trainer, {bare['median']:.0f} us in the "
            f"bare loop, a difference of {saving['median']:.0f} us ({saving['low']:.0f} to {saving['high']:.0f}, "
            f"{saving['repeats']:.0f} turns), both without waiting for data.\n"
        )
    return "\n".join(parts)


def figure(profile: Profile) -> Figure:
    """Returns a figure: the parts of a step in one bar, and the steps over time."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11, 4.5), layout="constrained")
    bar, steps = drawn.subplots(1, 2, width_ratios=(3, 4))
    total, left = profile.step_us["sum"], 0.0
    for owner, shares in owners(profile).items():
        share = sum(one.sum_us for one in shares) / total
        bar.barh(0, 100 * share, left=left, color=OWNERS[owner], label=f"{owner} {share:.0%}")
        inner = left
        for one in shares:
            inner += 100 * one.sum_us / total
            bar.plot([inner, inner], [-0.4, 0.4], color="white", linewidth=0.6)
        left += 100 * share
    bar.set(xlim=(0, 100), yticks=[], xlabel="% of the steps' wall time", title=profile.about["module"])
    bar.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False)
    steps.plot([step / 1000 for step in profile.steps_us], linewidth=0.8)
    steps.set(xlabel="step", ylabel="ms", title="each step", yscale="log")
    return drawn
