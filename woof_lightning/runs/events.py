"""TensorBoard events of any program, under this project's names."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

EVENTS_PATTERN = "*tfevents*"
PERCENT = 0.01
HEADER_BYTES, FOOTER_BYTES = 12, 4
REST_SHOWN = "what was written before is shown"


@dataclass(frozen=True)
class Tag:
    """What another program's tag means here.

    Args:
        name: This project's name.
        factor: What its values are multiplied by; 0.01 where the tag's program writes percent.
        by_epoch: Whether it is written with the epoch instead of the step.
        first: What the program counts its first step or epoch as.
    """

    name: str
    factor: float = 1.0
    by_epoch: bool = False
    first: int = 1


def _of_epoch(name: str, factor: float = 1.0) -> Tag:
    return Tag(name, factor, by_epoch=True, first=0)


def _from_0(name: str) -> Tag:
    return Tag(name, first=0)


# How people call accuracies in Lightning.
ACCURACIES = {"acc1": "acc1", "acc": "acc1", "accuracy": "acc1", "acc5": "acc5"}
# By program. The program of a folder is the one that knows most of its tags, of equals the first. Of two tags of one
# meaning that of the steps is taken, of equals the first.
TAGS: dict[str, dict[str, Tag]] = {
    "pytorch-nn-tools": {
        "train.loss": Tag("train/loss"),
        "train.acc1": Tag("train/acc1", PERCENT),
        "train.acc5": Tag("train/acc5", PERCENT),
        "train.lr_0": Tag("lr"),
        "avg.train.loss": _of_epoch("train/loss_epoch"),
        "avg.train.acc1": _of_epoch("train/acc1_epoch", PERCENT),
        "avg.train.acc5": _of_epoch("train/acc5_epoch", PERCENT),
        "avg.val.loss": _of_epoch("val/loss"),
        "avg.val.acc1": _of_epoch("val/acc1", PERCENT),
        "avg.val.acc5": _of_epoch("val/acc5", PERCENT),
        "lr_0": _of_epoch("lr"),
    },
    "fastai": {
        "train_loss": Tag("train/loss"),  # Which fastai has smoothed.
        "valid_loss": Tag("val/loss"),
        "accuracy": Tag("val/acc1"),
        "top_k_accuracy": Tag("val/acc5"),
        "lr_0": Tag("lr"),
        "mom_0": Tag("momentum"),
    },
    "ignite": {
        # Of these two the batches', where "training/loss" is an epoch's.
        "training/batchloss": Tag("train/loss"),
        "training/batch_loss": Tag("train/loss"),
        "training/loss": Tag("train/loss"),
        "validation/loss": Tag("val/loss"),
        "validation/nll": Tag("val/loss"),
        "validation/accuracy": Tag("val/acc1"),
        "validation/top_k_categorical_accuracy": Tag("val/acc5"),
        "lr/group_0": Tag("lr"),
        "training/lr/group_0": Tag("lr"),
        "momentum/group_0": Tag("momentum"),
    },
    "Lightning": {
        "epoch": _from_0("epoch"),
        **{f"train{mark}loss{when}": _from_0("train/loss") for mark in "_/" for when in ("_step", "")},
        **{f"train{mark}loss_epoch": _from_0("train/loss_epoch") for mark in "_/"},
        **{
            f"train{mark}{a}{when}": _from_0(f"train/{k}")
            for mark in "_/"
            for a, k in ACCURACIES.items()
            for when in ("_step", "")
        },
        **{f"train{mark}{a}_epoch": _from_0(f"train/{k}_epoch") for mark in "_/" for a, k in ACCURACIES.items()},
        **{f"val{mark}loss": _from_0("val/loss") for mark in "_/"},
        **{f"val{mark}{a}": _from_0(f"val/{k}") for mark in "_/" for a, k in ACCURACIES.items()},
        **{f"lr-{optimizer}": _from_0("lr") for optimizer in ("SGD", "Adam", "AdamW")},
        **{f"lr-{optimizer}-momentum": _from_0("momentum") for optimizer in ("SGD", "Adam", "AdamW")},
    },
    "woof_lightning": {
        name: Tag(name)
        for name in (
            *("epoch", "lr", "momentum", "train/loss", "train/acc1", "train/acc5", "val/loss", "val/acc1", "val/acc5"),
            *("train/loss_epoch", "train/acc1_epoch", "train/acc5_epoch"),
        )
    },
}


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
        notes: What a reader should know of damaged files.
    """

    series: dict[str, Series]
    unknown: list[str]
    notes: list[str]


def event_files(folder: Path) -> list[Path]:
    """The event files right in a folder, in the order in which they were begun."""
    return sorted(file for file in folder.glob(EVENTS_PATTERN) if file.is_file())


def read_events(files: Sequence[Path]) -> Events:
    """Reads event files of one run, each a sitting; where a later one begins, it replaces what the earlier had.

    Args:
        files: The files, in the order in which they were begun.
    """
    found: dict[str, dict[int, tuple[float, float]]] = {}
    notes = []
    before_s = 0.0
    for file in files:
        sitting: dict[str, dict[int, tuple[float, float]]] = {}
        start_s = last_s = None
        # Counted first: of a run that goes on, more may be read than there were.
        whole, torn = count_records(file)
        read = 0
        for event in events_of(file):
            read += 1
            start_s = event.wall_time if start_s is None else start_s
            last_s = event.wall_time
            for tag, value in scalars(event):
                sitting.setdefault(tag, {})[event.step] = (value, before_s + event.wall_time - start_s)
        if read < whole:
            notes.append(f"{file.name} is damaged after {read} records; {REST_SHOWN}")
        elif torn:
            notes.append(f"{file.name} ends within a record; {REST_SHOWN}")
        for tag, values in sitting.items():
            first = min(values)
            kept = {step: point for step, point in found.get(tag, {}).items() if step < first}
            found[tag] = kept | values
        before_s += 0.0 if start_s is None or last_s is None else last_s - start_s
    known = tags_of_program(found)
    series: dict[str, Series] = {}
    for tag, meaning in sorted(known.items(), key=lambda item: item[1].by_epoch):
        if tag in found and meaning.name not in series:
            series[meaning.name] = _series(found[tag], meaning)
    return Events(series, sorted(found.keys() - known.keys()), notes)


def tags_of_program(tags: Iterable[str]) -> dict[str, Tag]:
    """The tags of the program that knows most of these."""
    found = set(tags)
    return max(TAGS.values(), key=lambda known: len(found & known.keys()))


def events_of(file: Path) -> Iterator[Event]:
    """The records of an event file, up to the first that is damaged."""
    # Imported here: it takes a second, and most runs are read from metrics.csv.
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    yield from LegacyEventFileLoader(str(file)).Load()


def scalars(event: Event) -> Iterator[tuple[str, float]]:
    """Tag and value of each scalar of a record."""
    from tensorboard.util.tensor_util import make_ndarray

    for value in event.summary.value:
        if value.HasField("simple_value"):
            yield value.tag, value.simple_value
        elif value.HasField("tensor") and not value.tensor.tensor_shape.dim and value.tensor.dtype in (1, 2):
            yield value.tag, float(make_ndarray(value.tensor))


def count_records(file: Path) -> tuple[int, bool]:
    """The whole records of a file, and whether it ends within one, because its writer was killed or still writes.

    A record is its length (8 bytes) and that number's checksum, the content, and the content's checksum
    (https://www.tensorflow.org/tutorials/load_data/tfrecord).
    """
    size, place, whole = file.stat().st_size, 0, 0
    with file.open("rb") as content:
        while place + HEADER_BYTES <= size:
            content.seek(place)
            (length,) = struct.unpack("<Q", content.read(8))
            place += HEADER_BYTES + length + FOOTER_BYTES
            whole += place <= size
    return whole, place != size


def _series(points: dict[int, tuple[float, float]], tag: Tag) -> Series:
    steps = sorted(points)
    return Series(
        [step + 1 - tag.first for step in steps],
        [points[step][0] * tag.factor for step in steps],
        [points[step][1] for step in steps],
        tag.by_epoch,
    )
