"""The images of a split. There can be a million, so they are kept in columns."""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import NamedTuple, overload

# The types of the columns: 64-bit whole numbers.
WHOLE = "q"


class Sample(NamedTuple):
    """One image of a data set.

    Args:
        path: Its path relative to the data set's folder.
        label: The number of its class.
        size_bytes: The size of its file.
        changed_ns: When its file was changed last, in ns since 1970.
    """

    path: str
    label: int
    size_bytes: int
    changed_ns: int = 0


def _numbers() -> array[int]:
    return array(WHOLE)


@dataclass(frozen=True)
class Samples(Sequence[Sample]):
    """A sequence of samples, in columns: a Sample is made when it is asked for.

    Args:
        paths: The path of each, as in Sample.
        labels: The label of each.
        sizes_bytes: The size of each.
        changed_ns: When each was changed last.
    """

    paths: list[str] = field(default_factory=list)
    labels: array[int] = field(default_factory=_numbers)
    sizes_bytes: array[int] = field(default_factory=_numbers)
    changed_ns: array[int] = field(default_factory=_numbers)

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Samples:
        """Returns given samples in columns."""
        rows = list(samples)
        paths, *numbers = zip(*rows, strict=True) if rows else ((), (), (), ())
        return cls(list(paths), *(array(WHOLE, column) for column in numbers))

    def add_class(self, label: int, files: Sequence[tuple[str, int, int]]) -> None:
        """Adds the images of a class at the end.

        Args:
            label: The number of the class.
            files: The path, size_bytes and changed_ns of each.
        """
        if not files:
            return
        paths, sizes_bytes, changed_ns = zip(*files, strict=True)
        self.paths.extend(paths)
        self.labels.extend(repeat(label, len(paths)))
        self.sizes_bytes.extend(sizes_bytes)
        self.changed_ns.extend(changed_ns)

    def with_labels(self, labels: Mapping[str, int]) -> Samples:
        """Returns the same samples with other labels.

        Args:
            labels: The label of each, by its path.

        Raises:
            KeyError: If one has no label.
        """
        return replace(self, labels=array(WHOLE, map(labels.__getitem__, self.paths)))

    def without(self, paths: Container[str]) -> Samples:
        """Returns the same samples but some.

        Args:
            paths: The paths of those that are left out.
        """
        return Samples.of(sample for sample in self if sample.path not in paths)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> Samples: ...
    def __getitem__(self, place: int | slice) -> Sample | Samples:
        if isinstance(place, slice):
            return Samples(self.paths[place], self.labels[place], self.sizes_bytes[place], self.changed_ns[place])
        return Sample(self.paths[place], self.labels[place], self.sizes_bytes[place], self.changed_ns[place])
