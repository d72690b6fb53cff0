"""The promises about `woof_fit`, with the measured values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from woof_lightning.cost.measured import Rows, ratio_of_costs, share_over
from woof_lightning.cost.plan import BAREBONES_NO_SEARCH, NETS, OFF, ON, ONE_LOG
from woof_lightning.cost.rows import STEP
from woof_lightning.loops.ways import REFERENCE, WOOF_FIT
from woof_lightning.measure.statistics import FEWEST_TO_TELL, Estimate

# Fixed before the first published run.
MOST_OVER_BAREBONES = 1.4
MOST_OVER_LIGHTNING = 1 / 5
MOST_AT_REAL_WORK = 0.01
REAL = list(NETS)[-1]


@dataclass(frozen=True)
class Bound:
    """A promise and the measured value.

    Args:
        promise: What was promised.
        value: The measured value.
        limit: The upper limit that was promised for it; None if nothing was.
    """

    promise: str
    value: Estimate
    limit: float | None

    @property
    def verdict(self) -> str:
        """Whether the interval is below the limit (met), above it (missed) or on both sides of it (open).

        The range of a few repeats tells none of these.
        """
        if self.limit is None:
            return "no promise"
        if self.value.repeats < FEWEST_TO_TELL:
            return "too few repeats"
        if self.value.high <= self.limit:
            return "met"
        return "missed" if self.value.low > self.limit else "open"

    def as_dict(self) -> dict[str, Any]:
        """Returns the bound as plain values."""
        return asdict(self) | {"verdict": self.verdict}


def bounds(found: Rows) -> list[Bound]:
    """Returns the promises about `woof_fit`, with the measured values, as far as the rows have them."""
    ours, plain, reporting = (WOOF_FIT, ON, STEP), (REFERENCE, OFF, STEP), (REFERENCE, ON, STEP)
    barebones = (BAREBONES_NO_SEARCH, OFF, STEP)
    ratios = [
        (
            "woof_fit with reports adds at most 1.4 times what barebones adds without reports (no search for a driver "
            "in either)",
            (ours, reporting),
            (barebones, plain),
            MOST_OVER_BAREBONES,
        ),
        (
            "the same, if woof_fit too is compared with the bare loop without reports",
            (ours, plain),
            (barebones, plain),
            MOST_OVER_BAREBONES,
        ),
        (
            "woof_fit costs at most a fifth of lightning",
            (ours, reporting),
            (("lightning", ON, STEP), reporting),
            MOST_OVER_LIGHTNING,
        ),
        (
            "what woof_fit adds, divided by what lightning_one_log adds",
            (ours, reporting),
            ((ONE_LOG, ON, STEP), reporting),
            None,
        ),
    ]
    reached = [
        Bound(promise, ratio_of_costs(found, numerator, denominator), limit)
        for promise, numerator, denominator, limit in ratios
        if all(key in found for key in (*numerator, *denominator))
    ]
    key, reference = (WOOF_FIT, REAL, STEP), (REFERENCE, REAL, STEP)
    if key in found and reference in found:
        reached.append(
            Bound(f"woof_fit adds less than 1 % on {REAL}", share_over(found, key, reference), MOST_AT_REAL_WORK)
        )
    return reached
