"""Measured values by way, condition and measure, and what they are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from woof_lightning.cost.features import FEATURES, SIDES
from woof_lightning.cost.plan import OFF, ON, WATERFALL
from woof_lightning.cost.rows import Row
from woof_lightning.loops.ways import REFERENCE
from woof_lightning.measure.statistics import LEVEL, Estimate, Sample, bootstrapped, median_of

# Way, condition, measure.
Key = tuple[str, str, str]
Values = dict[str, dict[int, float]]


class Rows:
    """Measured values by way, condition and measure; each by machine and repeat.

    Args:
        rows: The rows.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.values: dict[Key, Values] = {}
        self.units = {row.measure: row.unit for row in rows}
        self.machines = tuple(dict.fromkeys(row.machine for row in rows))
        for row in rows:
            machines = self.values.setdefault((row.way, row.condition, row.measure), {})
            machines.setdefault(row.machine, {})[row.repeat] = row.value

    def __contains__(self, key: Key) -> bool:
        return key in self.values

    def items(self, way: str, measure: str) -> Iterator[tuple[Key, Values]]:
        """Yields the values of a way's measure, under each condition."""
        yield from ((key, values) for key, values in self.values.items() if (key[0], key[2]) == (way, measure))

    def on(self, machine: str) -> Rows:
        """Returns the values of one machine."""
        one = Rows([])
        one.units, one.machines = self.units, (machine,)
        one.values = {key: {machine: values[machine]} for key, values in self.values.items() if machine in values}
        return one

    def sample(self, key: Key) -> Sample:
        """Returns the values of a key, machine by machine."""
        return [list(repeats.values()) for repeats in self.values[key].values()]

    def paired(self, *keys: Key) -> list[Sample]:
        """Returns the values of several keys, on the machines and in the repeats that all of them have."""
        samples: list[list[list[float]]] = [[] for _ in keys]
        for machine in self.machines:
            repeats = [self.values[key].get(machine, {}) for key in keys]
            shared = sorted(set.intersection(*map(set, repeats)))
            for sample, values in zip(samples, repeats, strict=True):
                sample += [[values[repeat] for repeat in shared]] if shared else []
        return list(samples)


def reference_of(found: Rows, key: Key) -> Key | None:
    """Returns the key of the reference, or None if there is none.

    It is the bare loop in the same condition: with the same reports, or without. The bare loop with reports is compared
    with that without. In the waterfall it is the feature before.
    """
    way, condition, measure = key
    if condition == WATERFALL:
        side, _, feature = way.partition(":")
        place = list(FEATURES).index(feature)
        reference = (f"{side}:{list(FEATURES)[place - 1]}" if place else f"{SIDES[1]}:{feature}", condition, measure)
    elif (way, condition) == (REFERENCE, ON):
        reference = (REFERENCE, OFF, measure)
    else:
        reference = (REFERENCE, condition, measure)
    return reference if reference in found and reference != key else None


def median(found: Rows, key: Key) -> Estimate:
    """Returns the median of a key's values."""
    return median_of(found.sample(key))


def over(found: Rows, key: Key, reference: Key, level: float = LEVEL) -> Estimate:
    """Returns the median of the differences within each repeat."""
    return median_of(
        [
            [one - other for one, other in zip(ours, theirs, strict=True)]
            for ours, theirs in zip(*found.paired(key, reference), strict=True)
        ],
        level,
    )


def share_over(found: Rows, key: Key, reference: Key) -> Estimate:
    """Returns the median of the differences within each repeat, as shares of the reference."""
    return median_of(
        [
            [one / other - 1 for one, other in zip(ours, theirs, strict=True)]
            for ours, theirs in zip(*found.paired(key, reference), strict=True)
        ]
    )


def ratio_of_costs(found: Rows, ours: tuple[Key, Key], theirs: tuple[Key, Key]) -> Estimate:
    """Returns the ratio of two ways' costs: the ratio of their median differences from their references.

    Args:
        found: The rows.
        ours: The way in the numerator, and its reference.
        theirs: The way in the denominator, and its reference.
    """
    return bootstrapped(
        lambda chosen: np.median(chosen[0] - chosen[1], -1) / np.median(chosen[2] - chosen[3], -1),
        *found.paired(*ours, *theirs),
    )
