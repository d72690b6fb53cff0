"""The profile of a training: what its steps took, part by part, as a JSON file with a version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from woof_lightning.errors import UserError
from woof_lightning.profile.buckets import owner_of
from woof_lightning.profile.device import DeviceUse
from woof_lightning.profile.spans import Part

VERSION = 1
# The name of all advice at once.
TOGETHER = "all together"
# A saving below this share of a step is none.
LEAST_SHARE = 0.005
# So many steps are kept for the figure.
MOST_POINTS = 2000


@dataclass(frozen=True)
class Share:
    """What one part of the steps took.

    Args:
        name: Its name.
        owner: Whose it is: yours, PyTorch, data or Lightning.
        median_us: The median over the steps.
        p95_us: The 95th percentile.
        sum_us: The sum over the steps.
        calls: How often it was entered in a step, on average.
    """

    name: str
    owner: str
    median_us: float
    p95_us: float
    sum_us: float
    calls: float


@dataclass(frozen=True)
class Advice:
    """One thing to change.

    Args:
        name: What it is about.
        says: What to do.
        places: Where: file:line, or an argument of the Trainer.
        predicted_us: What it saves in a step, from what was measured.
        saved_us: What it has saved, with median, low, high and repeats; None if that was not measured.
    """

    name: str
    says: str
    places: tuple[str, ...]
    predicted_us: float
    saved_us: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Profile:
    """What the training steps of a `fit` took.

    Args:
        about: The module, the device, the versions.
        steps: The number of steps that are counted.
        first_steps: The number of steps before them, which are not.
        step_us: Median, p95 and sum of a step's wall time, without what this profiler takes.
        first_step_us: The wall time of the very first step.
        own_us: What this profiler took in a step, median. It is in none of the parts.
        shares: The parts, the largest sum first. Their sums are that of the steps.
        steps_us: The wall time of each step, the first ones included; of many steps every n-th.
        advice: What there is to change, the largest predicted saving first.
        noise_us: Twice the standard error of the median step. Advice that saves less cannot be noticed.
        bare: What `woof profile` has compared with a bare loop: trainer_us, bare_us and saving_us, each with median,
            low, high and repeats.
        device: What a GPU did in a step: steps, busy_us and waits; None on a CPU.
    """

    about: dict[str, str]
    steps: int
    first_steps: int
    step_us: dict[str, float]
    first_step_us: float
    own_us: float
    shares: tuple[Share, ...]
    steps_us: tuple[float, ...] = ()
    advice: tuple[Advice, ...] = ()
    noise_us: float = 0.0
    bare: dict[str, dict[str, float]] | None = None
    device: DeviceUse | None = None

    @property
    def worth_it(self) -> list[Advice]:
        """The advice that was followed in turns, or would save more than the noise and half a percent of a step."""
        least_us = max(self.noise_us, self.least_us)
        return [one for one in self.advice if one.saved_us is not None or one.predicted_us > least_us]

    @property
    def least_us(self) -> float:
        """Half a percent of a step: a saving below it is none."""
        return LEAST_SHARE * self.step_us["median"]

    def write(self, file: Path) -> None:
        """Writes the JSON file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"version": VERSION, **asdict(self)}, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Profile:
        """Returns the profile in a JSON file.

        Raises:
            UserError: If it cannot be read, or has another version.
        """
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            version = told.pop("version")
            if version != VERSION:
                raise UserError(f"{file} has version {version}: expected {VERSION}; profile the training again")
            told["shares"] = tuple(Share(**share) for share in told["shares"])
            told["steps_us"] = tuple(told["steps_us"])
            told["advice"] = tuple(Advice(**one | {"places": tuple(one["places"])}) for one in told["advice"])
            if told.get("device") is not None:
                waits = tuple((place, calls) for place, calls in told["device"]["waits"])
                told["device"] = DeviceUse(**told["device"] | {"waits": waits})
            return cls(**told)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file} is no profile ({error}): expected the profile.json of a training") from error


def left_out(parts: Sequence[Part], first_steps: int) -> int:
    """Returns how many first steps are left out: as many as asked for, if others remain."""
    return min(first_steps, len(parts) - 1)


def profile_of(parts: Sequence[Part], first_steps: int, about: Mapping[str, Any], own: frozenset[str]) -> Profile:
    """Returns the profile of some steps.

    Args:
        parts: The steps, in their order; at least one.
        first_steps: The number of first steps to leave out, if others remain.
        about: The module, the device, the versions.
        own: The names of hooks and callbacks that are the user's.
    """
    begun = left_out(parts, first_steps)
    counted = parts[begun:]
    names = {name for part in counted for name in part.times_ns}
    shares = [share_of(name, counted, owner_of(name, own)) for name in names]
    return Profile(
        about={name: str(value) for name, value in about.items()},
        steps=len(counted),
        first_steps=begun,
        step_us=spread([part.taken_ns / 1000 for part in counted]),
        first_step_us=parts[0].taken_ns / 1000,
        own_us=median(part.own_ns / 1000 for part in counted),
        shares=tuple(sorted(shares, key=lambda share: -share.sum_us)),
        steps_us=tuple(part.taken_ns / 1000 for part in parts[:: -(-len(parts) // MOST_POINTS)]),
    )


def share_of(name: str, parts: Sequence[Part], owner: str) -> Share:
    """Returns what one part took in some steps."""
    found = spread([part.times_ns.get(name, 0) / 1000 for part in parts])
    calls = sum(part.entered.get(name, 0) for part in parts) / len(parts)
    return Share(name, owner, found["median"], found["p95"], found["sum"], calls)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns the median, the 95th percentile and the sum of values."""
    p95 = quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
    return {"median": median(values), "p95": p95, "sum": sum(values)}


def write_trace(events: Sequence[tuple[str, int, int]], file: Path) -> None:
    """Writes spans (name, beginning, end, in ns) as a trace for Chrome's viewer and Perfetto."""
    told = [
        {"name": name, "ph": "X", "ts": began_ns / 1000, "dur": (ended_ns - began_ns) / 1000, "pid": 0, "tid": 0}
        for name, began_ns, ended_ns in events
    ]
    file.write_text(json.dumps({"traceEvents": told}), encoding="utf-8")
