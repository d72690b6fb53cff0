"""Reads TensorBoard events of any program, and gives the metrics this project's names."""

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
# A record starts with its length and a checksum of that, and ends with a checksum of its content.
HEADER = struct.Struct("<QI")
LENGTH_BYTES, FOOTER_BYTES = 8, 4
TORN = "ends in the middle of a record"
REST_SHOWN = "everything before that is shown"


@dataclass
class Series:
    """The values of a metric, in the order of their steps.

    Args:
        step: Optimizer steps done at each value, or epochs done if by_epoch.
        value: The values.
        elapsed_s: Time since the start of the training at each value, without pauses; empty if unknown.
        by_epoch: Whether `step` counts epochs.
    """

    step: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    elapsed_s: list[float] = field(default_factory=list)
    by_epoch: bool = False


@dataclass(frozen=True)
class Events:
    """The content of the event files of a folder.

    Args:
        series: The known metrics, by this project's names.
        unknown: The tags of all other scalars.
        damages: Notes on damaged files.
        restarts: Notes on places where the steps go back, because the program started again in the same folder or
            resumed from an earlier step.
    """

    series: dict[str, Series]
    unknown: list[str]
    damages: list[str]
    restarts: list[str]


def event_files(folder: Path) -> list[Path]:
    """Returns the event files directly in a folder, in the order in which they were started."""
    return sorted(file for file in folder.glob(EVENTS_PATTERN) if file.is_file())


def read_events(files: Sequence[Path]) -> Events:
    """Reads the event files of one run. Each file comes from one sitting: one start of the program.

    If a known tag goes back to an earlier step, the program started again or resumed from a checkpoint. The new values
    then replace everything that was written since that step was first reached.

    Args:
        files: The files, in the order in which they were started.
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
    """The content of one event file.

    Args:
        file: The file.
        start_s: The wall time of its first record.
        scalars: Tag, step, value and wall time (s) of each scalar.
        damage: What is wrong with the file, or an empty text.
    """

    file: Path
    start_s: float
    scalars: list[tuple[str, int, float, float]]
    damage: str

    @classmethod
    def read(cls, file: Path) -> Sitting:
        """Reads an event file."""
        records, start_s = Records(file), math.inf
        found = []
        for event in records:
            start_s = min(start_s, event.wall_time)
            if event.step >= 0:  # Some programs write values at step -1, before the training.
                found += [(tag, event.step, value, event.wall_time) for tag, value in scalars(event)]
        return cls(file, start_s, found, records.damage)


class History:
    """The values of a run by tag. A tag that goes back to an earlier step replaces what was written since that step.

    After the steps went back, it is unclear whether the epochs did too: pytorch-nn-tools counts its steps from 0 again
    when it resumes from a checkpoint, but not its epochs. The next value by epoch decides. If there is none, the values
    by epoch count as replaced.

    Args:
        known: The meaning of each tag.
    """

    def __init__(self, known: Mapping[str, Tag]) -> None:
        self.series = {tag: Series() for tag in known}
        self.restarts: list[str] = []
        self._known = known
        self._in_doubt_since_s: dict[str, float] = {}

    def add(self, tag: str, step: int, value: float, elapsed_s: float) -> None:
        """Adds the next value.

        Args:
            tag: A known tag.
            step: Its step or epoch.
            value: Its value.
            elapsed_s: Time since the start of the training.
        """
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
        """Removes the values by epoch for which it is still unclear whether they were replaced."""
        for tag, since_s in self._in_doubt_since_s.items():
            _keep_until(self.series[tag], since_s)

    def _go_back(self, tag: str, step: int) -> None:
        gone_back = self.series[tag]
        place = bisect_left(gone_back.step, step)
        since_s = gone_back.elapsed_s[place]
        if not self._known[tag].by_epoch:
            self.restarts.append(
                f"its steps go back from {gone_back.step[-1]} to {step}: later values replace earlier ones"
            )
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
    """Converts wall times to the time since the start of a training, without the pauses between sittings."""

    def __init__(self) -> None:
        self._zero_s = self._last_s = 0.0

    def begin(self, sitting: Sitting) -> None:
        """Starts the next sitting, which may overlap with the ones before."""
        if sitting.scalars:
            self._zero_s += max(0.0, sitting.start_s - self._last_s)
            self._last_s = max(self._last_s, max(wall_s for *_, wall_s in sitting.scalars))

    def elapsed_s(self, wall_s: float) -> float:
        """Returns the time since the start of the training at a wall time of this sitting."""
        return wall_s - self._zero_s


def scalars(event: Event) -> Iterator[tuple[str, float]]:
    """Yields the tag and value of each scalar of a record."""
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
    except (TypeError, ValueError):  # It has no content.
        return None


class Records:
    """Iterates over the records of an event file, up to the first that is incomplete or damaged.

    TensorBoard's loader reads them. It stops silently at a record that it cannot read. The rest of the file then shows
    whether that record is still being written or is damaged. A record is its length (8 bytes) with a checksum (4),
    then the content with a checksum (4): https://www.tensorflow.org/tutorials/load_data/tfrecord.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.damage = ""

    def __iter__(self) -> Iterator[Event]:
        # Imported here because it takes a second and most runs are read from metrics.csv.
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
        """Returns whether the file ends in the middle of the record that starts at a byte."""
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
