"""Suggests a learning rate from the curve of a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from woof_lightning.runs.lr_curve import LRCurve

# The first losses are means over few batches, so their slopes are noise. At the last ones the loss explodes.
SKIP_FIRST = 10
SKIP_LAST = 1
FEWEST_POINTS = 3
ROUNDING = 1e-9
# The weight of the previous losses in a smoothed loss, the same as in Lightning and fastai.
SMOOTHING = 0.98
# In standard errors. By chance alone, the steepest of many slopes is beyond 4 in 1 of 100 sweeps over pure noise.
CLEAR = 5.0
QUARTILE = NormalDist().inv_cdf(0.75)


@dataclass(frozen=True)
class Suggestions:
    """The learning rates that a curve suggests.

    Args:
        steepest: The rate at which the loss falls fastest on the logarithmic axis; None if it never falls.
        valley: fastai's more careful choice; None if there is no valley.
        clearness: How far the steepest descent stands out from the noise of single batches, in standard errors.
        suggested_by: The rule to use: steepest if that is clear, otherwise valley; None if the loss never falls.
    """

    steepest: float | None
    valley: float | None
    clearness: float
    suggested_by: str | None

    @property
    def lr(self) -> float | None:
        """The learning rate by the rule to use."""
        return {None: None, "steepest": self.steepest, "valley": self.valley}[self.suggested_by]


def suggest(curve: LRCurve) -> Suggestions:
    """Returns the suggestion of every rule, and the rule to use."""
    found, careful = steepest(curve), valley(curve)
    if found is None:
        return Suggestions(None, careful, 0.0, None)
    clear = clearness(curve, found)
    return Suggestions(found, careful, clear, "steepest" if careful is None or clear >= CLEAR else "valley")


def descent(curve: LRCurve) -> LRCurve:
    """Returns the part of a curve that `steepest` uses: without both ends, and only up to the lowest loss."""
    inner = slice(SKIP_FIRST, max(SKIP_FIRST, len(curve) - SKIP_LAST))
    losses = curve.loss[inner]
    kept = slice(SKIP_FIRST, SKIP_FIRST + (int(np.argmin(losses)) + 1 if losses else 0))
    return LRCurve(curve.lr[kept], curve.loss[kept], curve.raw_loss[kept])


def steepest(curve: LRCurve) -> float | None:
    """Returns the learning rate at which the loss falls fastest on the logarithmic axis.

    It uses `descent(curve)`, and returns None if that has fewer than three points or never falls.
    """
    part = descent(curve)
    if len(part) < FEWEST_POINTS:
        return None
    slopes = np.gradient(np.asarray(part.loss), np.log(part.lr))
    return part.lr[int(np.argmin(slopes))] if slopes.min() < -ROUNDING * abs(part.loss[0]) else None


def clearness(curve: LRCurve, lr: float) -> float:
    """Returns how far the descent at a learning rate stands out from the noise of single batches, in standard errors.

    The noise is estimated from the median difference of neighbouring raw losses, on which the descent itself has little
    effect. Each new loss moves the smoothed loss by its share of that noise. The share shrinks as the curve grows.

    Args:
        curve: The sweep.
        lr: One of the rates of `descent(curve)`.
    """
    part = descent(curve)
    place = part.lr.index(lr)
    noise = float(np.median(np.abs(np.diff(curve.raw_loss[: SKIP_FIRST + len(part)])))) / QUARTILE / math.sqrt(2)
    share = (1 - SMOOTHING) / (1 - SMOOTHING ** (SKIP_FIRST + place + 1))
    # A slope is the mean of the moves before and after its place. At an end there is only one.
    moves = 1 if place in (0, len(part) - 1) else 2
    slope = float(np.gradient(np.asarray(part.loss))[place])
    # If most losses are equal, the noise is 0. The result is then a large number, since JSON has no infinity.
    return -slope / max(share * noise / math.sqrt(moves), ROUNDING)


def valley(curve: LRCurve) -> float | None:
    """Returns the learning rate in the middle of the longest falling subsequence of losses; None if it is too short.

    This is the default of fastai 2 (`valley` in fastai/callback/schedule.py). It takes that subsequence for one valley
    and uses the whole curve except both ends.
    """
    inner = slice(SKIP_FIRST, max(SKIP_FIRST, len(curve) - SKIP_LAST))
    rates, losses = curve.lr[inner], curve.loss[inner]
    if len(losses) < FEWEST_POINTS:
        return None
    start, length = _longest_descent(losses)
    third = length / 3
    return rates[start + int(third) + int(third / 2)] if length >= FEWEST_POINTS else None


def _longest_descent(losses: tuple[float, ...]) -> tuple[int, int]:
    """Returns the longest falling subsequence's end minus its length, and its length, as fastai counts them."""
    lengths = np.ones(len(losses), dtype=int)
    for place in range(1, len(losses)):
        higher = [lengths[before] for before in range(place) if losses[before] > losses[place]]
        lengths[place] = 1 + max(higher, default=0)
    end = int(np.argmax(lengths))
    return end - int(lengths[end]), int(lengths[end])
