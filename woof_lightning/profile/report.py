"""A profile as a table and as Markdown."""

from __future__ import annotations

from textwrap import wrap

from woof_lightning.profile.buckets import DATA_OWNER, FRAMEWORK, TORCH, VALIDATION, YOURS
from woof_lightning.profile.record import TOGETHER, Advice, Profile, Share

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
    lines += ["", f"the profiler itself took {profile.own_us:.0f} us a step, which no part includes"]
    return "\n".join(lines)


def report(profile: Profile) -> str:
    """Returns a profile for the terminal: the table, the comparison with a bare loop, the advice."""
    texts = [table(profile), on_device(profile), compared(profile), advised(profile)]
    return "\n\n".join(text for text in texts if text)


def on_device(profile: Profile) -> str:
    """Returns how long the device idles, and the lines that wait for it; an empty text on a CPU."""
    use = profile.device
    if use is None:
        return ""
    step_us = profile.step_us["median"]
    text = (
        f"The device computes {use.busy_us / 1000:.3g} ms of a step ({use.steps} steps watched). The parts above are "
        f"the host's time. You can get back at most the time in which the device idles: "
        f"{saving(use.idle_us(step_us), step_us)}."
    )
    waits = "".join(f"\n  {place}  {calls:.3g} a step" for place, calls in use.waits)
    return text + (f"\nThese lines wait for the device:{waits}" if waits else "")


def compared(profile: Profile) -> str:
    """Returns the comparison with a bare loop in a sentence; an empty text if there was none."""
    if profile.bare is None:
        return ""
    trainer, bare, saving = (profile.bare[name] for name in ("trainer_us", "bare_us", "saving_us"))
    trainer_ms, bare_ms = trainer["median"] / 1000, bare["median"] / 1000
    if saving["low"] <= 0:
        return (
            f"A bare loop takes {bare_ms:.3g} ms where the Trainer takes {trainer_ms:.3g} ms: within noise "
            f"(difference {saving['low']:.0f} to {saving['high']:.0f} us, {saving['repeats']:.0f} turns)."
        )
    sentence = (
        f"Lightning costs you {saving['median']:.0f} us ({saving['low']:.0f} to {saving['high']:.0f}, "
        f"{saving['repeats']:.0f} turns) of a step of {trainer_ms:.3g} ms, which is "
        f"{saving['median'] / trainer['median']:.0%}; a bare loop takes {bare_ms:.3g} ms."
    )
    back = next((one for one in profile.advice if one.name == TOGETHER), None)
    if back is not None and back.saved_us is not None:
        sentence += f" Of that you can get back {back.saved_us['median']:.0f} us."
    return sentence


def advised(profile: Profile) -> str:
    """Returns the advice, with what each piece is predicted to save and what it has saved."""
    worth_it, step_us = profile.worth_it, profile.step_us["median"]
    if not worth_it:
        return f"Nothing to gain: whatever could be changed would save less than the noise, {profile.noise_us:.0f} us."
    lines = [f"{'What to change':<38} {'predicted':>18} {'measured':>32}"]
    for one in worth_it:
        line = f"  {one.name:<36} {saving(one.predicted_us, step_us):>18} {measured(one, step_us):>32}"
        lines.append(line.rstrip())
        if one.says:
            lines += wrap(one.says, 100, initial_indent="    ", subsequent_indent="    ")
            lines += wrap("at " + ", ".join(one.places), 100, initial_indent="    ", subsequent_indent="    ")
    rest = [one.name for one in profile.advice if one not in worth_it]
    if rest:
        told = f"Nothing to gain: {', '.join(rest)} (below the noise or half a percent of a step)."
        lines += ["", *wrap(told, 100)]
    return "\n".join(lines)


def saving(saved_us: float, step_us: float) -> str:
    """Returns a saving in us and in percent of a step."""
    return f"{saved_us:.0f} us {saved_us / step_us:>5.1%}"


def measured(one: Advice, step_us: float) -> str:
    """Returns what a piece of advice has saved, with its interval."""
    if one.saved_us is None:
        return ""
    return f"{saving(one.saved_us['median'], step_us)} ({one.saved_us['low']:.0f} to {one.saved_us['high']:.0f} us)"


def markdown(profile: Profile) -> str:
    """Returns a profile as Markdown, to be pasted into an issue."""
    told = ", ".join(f"{name} {value}" for name, value in profile.about.items())
    return f"{told}\n\n```\n{report(profile)}\n```\n"
