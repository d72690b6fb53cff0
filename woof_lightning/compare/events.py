"""TensorBoard events of any program, under this project's names."""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from woof_lightning.compare.tags import Tag, tags_of_program

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

EVENTS_PATTERN = "*tfevents*"
# A record's length with its checksum; the checksum of its content follows that.
HEADER = struct.Struct("<QI")
LENGTH_BYTES, FOOTER_BYTES = 8, 4
TORN = "ends within a record"
REST_SHOWN = "what was written before is shown"


@dataclass
class Series:
    """A metric's values, in the order of their steps.

    Args:
        step: Steps done, or epochs done where by_epoch.
        value: Its values.
        elapsed_s: Time since the training began, sittings put together; empty where it is not known.
        by_epoch: Whether `step` counts epochs.
    """

    step: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    elapsed_s: list[float] = field(default_factory=list)
    by_epoch: bool = False


@dataclass(frozen=True)
class Events:
    """What the event files of a folder hold.

    Args:
        series: By this project's names.
        unknown: The tags of all other scalars.
        damages: What a reader should know of damaged files.
        restarts: Where the program began anew in the same folder, or went on from an earlier step.
    """

    series: dict[str, Series]
    unknown: list[str]
    damages: list[str]
    restarts: list[str]


def event_files(folder: Path) -> list[Path]:
    """The event files right in a folder, in the order in which they were begun."""
    return sorted(file for file in folder.glob(EVENTS_PATTERN) if file.is_file())


def read_events(files: Sequence[Path]) -> Events:
    """Reads event files of one run, each a sitting.

    Where a known tag goes back to an earlier step, the program began anew or went on from a checkpoint: what it had
    written since it was at that step before is replaced by what comes.

    Args:
        files: The files, in the order in which they were begun.
    """
    sittings = [Sitting.read(file) for file in files]
    tags = {tag for sitting in sittings for tag, *_ in sitting.scalars}
    known = tags_of_program(tags)
    history, clock = History(known), Clock()
    for sitting in sittings:
        clock.begin(sitting)
        for tag, step, value, wall_s in sitting.scalars:
            if tag in known:
                history.add(tag, step, value, clock.elapsed_s(wall_s))
    history.end()
    series: dict[str, Series] = {}
    for tag, meaning in sorted(known.items(), key=lambda item: item[1].by_epoch):
        written = history.series[tag]
        if written.step and meaning.name not in series:
            series[meaning.name] = _meant(written, meaning)
    damages = [f"{sitting.file.name} {sitting.damage}; {REST_SHOWN}" for sitting in sittings if sitting.damage]
    return Events(series, sorted(tags - known.keys()), damages, history.restarts)


@dataclass(frozen=True)
class Sitting:
    """What one event file holds.

    Args:
        file: The file.
        start_s: The wall time of its first record.
        scalars: Tag, step, value and wall time of each scalar.
        damage: What is wrong with its end, if anything.
    """

    file: Path
    start_s: float
    scalars: list[tuple[str, int, float, float]]
    damage: str

    @classmethod
    def read(cls, file: Path) -> Sitting:
        """Reads a file."""
        records, start_s = Records(file), math.inf
        found = []
        for event in records:
            start_s = min(start_s, event.wall_time)
            if event.step >= 0:  # Before its first step a training has nothing to say.
                found += [(tag, event.step, value, event.wall_time) for tag, value in scalars(event)]
        return cls(file, start_s, found, records.damage)


class History:
    """The values of a run by tag, of which a tag that goes back replaces what was written since.

    Tags by epoch are in doubt after tags by step went back: pytorch-nn-tools counts its steps anew when it goes on from
    a checkpoint, and its epochs not. The next epoch tells; until it comes, they are taken for replaced.

    Args:
        known: What the tags mean.
    """

    def __init__(self, known: Mapping[str, Tag]) -> None:
        self.series = {tag: Series() for tag in known}
        self.restarts: list[str] = []
        self._known = known
        self._in_doubt_since_s: dict[str, float] = {}

    def add(self, tag: str, step: int, value: float, elapsed_s: float) -> None:
        """Takes the next value."""
        series = self.series[tag]
        self._in_doubt_since_s.pop(tag, None)
        if series.step and step < series.step[-1]:
            self._go_back(tag, step)
        elif series.step and step == series.step[-1]:
            series.value[-1], series.elapsed_s[-1] = value, elapsed_s
            return
        series.step.append(step)
        series.value.append(value)
        series.elapsed_s.append(elapsed_s)

    def end(self) -> None:
        """Drops what is still in doubt."""
        for tag, since_s in self._in_doubt_since_s.items():
            _keep_until(self.series[tag], since_s)

    def _go_back(self, tag: str, step: int) -> None:
        gone_back = self.series[tag]
        place = bisect_left(gone_back.step, step)
        since_s = gone_back.elapsed_s[place]
        if not self._known[tag].by_epoch:
            self.restarts.append(f"it went back from step {gone_back.step[-1]} to {step}: what came then is shown")
            for other, series in self.series.items():
                if self._known[other].by_epoch:
                    self._in_doubt_since_s[other] = min(since_s, self._in_doubt_since_s.get(other, since_s))
                else:
                    _keep_until(series, since_s)
        for values in (gone_back.step, gone_back.value, gone_back.elapsed_s):
            del values[place:]


def _keep_until(series: Series, end_s: float) -> None:
    kept = [at_s < end_s for at_s in series.elapsed_s]
    series.step[:] = compress(series.step, kept)
    series.value[:] = compress(series.value, kept)
    series.elapsed_s[:] = compress(series.elapsed_s, kept)


class Clock:
    """The time since a training began, its pauses between two sittings left out."""

    def __init__(self) -> None:
        self._zero_s = self._last_s = 0.0

    def begin(self, sitting: Sitting) -> None:
        """Takes the next sitting, which may overlap those before."""
        if sitting.scalars:
            self._zero_s += max(0.0, sitting.start_s - self._last_s)
            self._last_s = max(self._last_s, max(wall_s for *_, wall_s in sitting.scalars))

    def elapsed_s(self, wall_s: float) -> float:
        """Time since the training began, at a wall time of this sitting."""
        return wall_s - self._zero_s


def scalars(event: Event) -> Iterator[tuple[str, float]]:
    """Tag and value of each scalar of a record."""
    for value in event.summary.value:
        if value.HasField("simple_value"):
            yield value.tag, value.simple_value
        elif value.HasField("tensor") and not value.tensor.tensor_shape.dim and value.tensor.dtype in (1, 2):
            number = _number(value.tensor)
            if number is not None:
                yield value.tag, number


def _number(tensor: TensorProto) -> float | None:
    from tensorboard.util.tensor_util import make_ndarray

    try:
        return float(make_ndarray(tensor))
    except (TypeError, ValueError):  # Without content.
        return None


class Records:
    """The records of an event file, up to the first that is torn or damaged.

    TensorBoard's loader reads them. It stops without a word at a record that it cannot read, so what is left of the
    file shows whether that record is still being written or is damaged. A record is its length (8 bytes) with a
    checksum (4), then the content with a checksum (4): https://www.tensorflow.org/tutorials/load_data/tfrecord.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.damage = ""

    def __iter__(self) -> Iterator[Event]:
        # Imported here: it takes a second, and most runs are read from metrics.csv.
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.compat.proto.event_pb2 import Event

        records, read_bytes = 0, 0
        for content in RawEventFileLoader(str(self._file)).Load():
            try:
                event = Event.FromString(content)
            except DecodeError:
                break
            records, read_bytes = records + 1, read_bytes + HEADER.size + len(content) + FOOTER_BYTES
            yield event
        if read_bytes < self._file.stat().st_size:
            self.damage = TORN if self._is_torn(read_bytes) else f"is damaged after {records} records"

    def _is_torn(self, start: int) -> bool:
        """Whether the file ends within the record that begins at a place."""
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

        with self._file.open("rb") as stream:
            stream.seek(start)
            header = stream.read(HEADER.size)
        if len(header) < HEADER.size:
            return True
        length, checksum = HEADER.unpack(header)
        if masked_crc32c(header[:LENGTH_BYTES]) != checksum:
            return False
        return bool(start + HEADER.size + length + FOOTER_BYTES > self._file.stat().st_size)


def _meant(series: Series, tag: Tag) -> Series:
    return Series(
        [step + 1 - tag.first for step in series.step],
        [value * tag.factor for value in series.value],
        series.elapsed_s,
        tag.by_epoch,
    )
