"""The learning rate that the curve of a sweep suggests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from woof_lightning.runs.lr_curve import LRCurve

# The first losses are means over few batches, so their slopes are noise. The last ones are where the loss explodes.
SKIP_FIRST = 10
SKIP_LAST = 1
FEWEST_POINTS = 3
ROUNDING = 1e-9
# The weight of the losses before in a smoothed loss: Lightning's, and fastai's.
SMOOTHING = 0.98
# In standard errors. The steepest of many slopes is far out by chance: in 1 of 100 sweeps over noise alone beyond 4.
CLEAR = 5.0
QUARTILE = NormalDist().inv_cdf(0.75)


@dataclass(frozen=True)
class Suggestions:
    """What a curve suggests.

    Args:
        steepest: Where the loss falls fastest on the logarithmic axis; None where it falls nowhere.
        valley: fastai's more careful choice; None where there is no valley.
        clearness: How far the steepest descent stands out from the noise of single batches, in standard errors.
        suggested_by: The rule to follow: steepest where that is clear, else valley; None where the loss falls nowhere.
    """

    steepest: float | None
    valley: float | None
    clearness: float
    suggested_by: str | None

    @property
    def lr(self) -> float | None:
        """The learning rate that the rule to follow gives."""
        return {None: None, "steepest": self.steepest, "valley": self.valley}[self.suggested_by]


def suggest(curve: LRCurve) -> Suggestions:
    """What every rule gives, and the one to follow."""
    found, careful = steepest(curve), valley(curve)
    if found is None:
        return Suggestions(None, careful, 0.0, None)
    clear = clearness(curve, found)
    return Suggestions(found, careful, clear, "steepest" if careful is None or clear >= CLEAR else "valley")


def descent(curve: LRCurve) -> LRCurve:
    """The part of a curve that suggestions look at: without both ends, and only up to the lowest loss."""
    inner = slice(SKIP_FIRST, max(SKIP_FIRST, len(curve) - SKIP_LAST))
    losses = curve.loss[inner]
    kept = slice(SKIP_FIRST, SKIP_FIRST + (int(np.argmin(losses)) + 1 if losses else 0))
    return LRCurve(curve.lr[kept], curve.loss[kept], curve.raw_loss[kept])


def steepest(curve: LRCurve) -> float | None:
    """The learning rate at which the loss falls fastest per factor of the learning rate.

    Looks at `descent(curve)`. None when that has fewer than three points or falls nowhere.
    """
    part = descent(curve)
    if len(part) < FEWEST_POINTS:
        return None
    slopes = np.gradient(np.asarray(part.loss), np.log(part.lr))
    return part.lr[int(np.argmin(slopes))] if slopes.min() < -ROUNDING * abs(part.loss[0]) else None


def clearness(curve: LRCurve, lr: float) -> float:
    """How far the descent at a learning rate stands out from the noise of single batches, in standard errors.

    The noise is that of neighbouring raw losses; their median, so that the descent itself counts little. Each new
    loss moves the smoothed one by its share of that noise, which shrinks as the curve grows.

    Args:
        curve: The sweep.
        lr: One of the rates of `descent(curve)`.
    """
    part = descent(curve)
    place = part.lr.index(lr)
    noise = float(np.median(np.abs(np.diff(curve.raw_loss[: SKIP_FIRST + len(part)])))) / QUARTILE / math.sqrt(2)
    share = (1 - SMOOTHING) / (1 - SMOOTHING ** (SKIP_FIRST + place + 1))
    # A slope is the mean of the moves before and after its place; at an end there is one.
    moves = 1 if place in (0, len(part) - 1) else 2
    slope = float(np.gradient(np.asarray(part.loss))[place])
    # Where most losses are equal there is no noise to be seen; a large figure, since JSON has no infinity.
    return -slope / max(share * noise / math.sqrt(moves), ROUNDING)


def valley(curve: LRCurve) -> float | None:
    """The learning rate half-way down the longest run of falling losses, a more careful choice.

    fastai 2's default: the longest subsequence of ever lower losses is taken as one valley, and the
    rate stands after one and a half of its three thirds. Looks at the whole curve but its ends.
    """
    inner = slice(SKIP_FIRST, max(SKIP_FIRST, len(curve) - SKIP_LAST))
    rates, losses = curve.lr[inner], curve.loss[inner]
    if len(losses) < FEWEST_POINTS:
        return None
    start, length = _longest_descent(losses)
    third = length / 3
    return rates[start + int(third) + int(third / 2)] if length >= FEWEST_POINTS else None


def _longest_descent(losses: tuple[float, ...]) -> tuple[int, int]:
    """Where the longest falling subsequence ends less its length, and that length; as fastai counts it."""
    lengths = np.ones(len(losses), dtype=int)
    for place in range(1, len(losses)):
        higher = [lengths[before] for before in range(place) if losses[before] > losses[place]]
        lengths[place] = 1 + max(higher, default=0)
    end = int(np.argmax(lengths))
    return end - int(lengths[end]), int(lengths[end])
