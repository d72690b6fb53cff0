"""A profile as a table and as Markdown."""

from __future__ import annotations

from woof_lightning.profile.buckets import DATA_OWNER, FRAMEWORK, TORCH, VALIDATION, YOURS
from woof_lightning.profile.record import Profile, Share

# Parts below this share of a step stand in one line together.
SMALL = 0.002
OWNERS = (YOURS, TORCH, DATA_OWNER, VALIDATION, FRAMEWORK)


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
