"""TensorBoard events of any program, under this project's names."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

EVENTS_PATTERN = "*tfevents*"
PERCENT = 0.01
HEADER_BYTES, FOOTER_BYTES = 12, 4


@dataclass(frozen=True)
class Tag:
    """What another program's tag means here.

    Args:
        name: This project's name.
        factor: What its values are multiplied by; 0.01 where the tag's program writes percent.
        by_epoch: Whether it is written with the epoch, from 0, instead of the step.
    """

    name: str
    factor: float = 1.0
    by_epoch: bool = False


# By program. The program of a folder is the one that knows most of its tags.
TAGS: dict[str, dict[str, Tag]] = {
    "woof_lightning": {
        name: Tag(name)
        for name in (
            *("epoch", "lr", "momentum", "train/loss", "train/acc1", "train/acc5", "val/loss", "val/acc1", "val/acc5"),
            *("train/loss_epoch", "train/acc1_epoch", "train/acc5_epoch"),
        )
    },
    "pytorch-nn-tools": {
        "train.loss": Tag("train/loss"),
        "train.acc1": Tag("train/acc1", PERCENT),
        "train.acc5": Tag("train/acc5", PERCENT),
        "avg.train.loss": Tag("train/loss_epoch", by_epoch=True),
        "avg.train.acc1": Tag("train/acc1_epoch", PERCENT, by_epoch=True),
        "avg.train.acc5": Tag("train/acc5_epoch", PERCENT, by_epoch=True),
        "avg.val.loss": Tag("val/loss", by_epoch=True),
        "avg.val.acc1": Tag("val/acc1", PERCENT, by_epoch=True),
        "avg.val.acc5": Tag("val/acc5", PERCENT, by_epoch=True),
        "lr_0": Tag("lr", by_epoch=True),
        "train.lr_0": Tag("lr"),
    },
    "fastai": {
        "train_loss": Tag("train/loss"),
        "valid_loss": Tag("val/loss"),
        "accuracy": Tag("val/acc1"),
        "top_k_accuracy": Tag("val/acc5"),
        "lr_0": Tag("lr"),
        "mom_0": Tag("momentum"),
    },
    "ignite": {
        "training/loss": Tag("train/loss"),
        "training/batch_loss": Tag("train/loss"),
        "training/batchloss": Tag("train/loss"),
        "validation/loss": Tag("val/loss"),
        "validation/nll": Tag("val/loss"),
        "validation/accuracy": Tag("val/acc1"),
        "validation/top_k_categorical_accuracy": Tag("val/acc5"),
        "lr/group_0": Tag("lr"),
        "training/lr/group_0": Tag("lr"),
        "momentum/group_0": Tag("momentum"),
    },
    "Lightning": {
        "epoch": Tag("epoch"),
        **{f"train{mark}loss{when}": Tag("train/loss") for mark in "_/" for when in ("", "_step")},
        **{f"train{mark}loss_epoch": Tag("train/loss_epoch") for mark in "_/"},
        **{f"train{mark}acc{when}": Tag("train/acc1") for mark in "_/" for when in ("", "_step")},
        **{f"train{mark}acc_epoch": Tag("train/acc1_epoch") for mark in "_/"},
        **{f"train/acc{k}_step": Tag(f"train/acc{k}") for k in (1, 5)},
        **{f"train/acc{k}_epoch": Tag(f"train/acc{k}_epoch") for k in (1, 5)},
        **{f"val{mark}loss": Tag("val/loss") for mark in "_/"},
        **{f"val{mark}acc{k}": Tag(f"val/acc{k or 1}") for mark in "_/" for k in ("", "1", "5")},
        "val_accuracy": Tag("val/acc1"),
        **{f"lr-{optimizer}": Tag("lr") for optimizer in ("SGD", "Adam", "AdamW")},
        **{f"lr-{optimizer}-momentum": Tag("momentum") for optimizer in ("SGD", "Adam", "AdamW")},
    },
}


@dataclass
class Series:
    """A metric's values, in the order of their steps.

    Args:
        step: Steps, or epochs from 0 where by_epoch.
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
        tags: Every scalar's tag, known or not.
        torn: Files whose last record is cut.
    """

    series: dict[str, Series]
    tags: list[str]
    torn: list[Path]

    @property
    def notes(self) -> list[str]:
        """What a reader should know."""
        return [f"{file.name} ends within a record" for file in self.torn]


def event_files(folder: Path) -> list[Path]:
    """The event files right in a folder, in the order in which they were begun."""
    return sorted(file for file in folder.glob(EVENTS_PATTERN) if file.is_file())


def read_events(files: Sequence[Path]) -> Events:
    """Reads event files of one run, each a sitting; where a later one begins, it replaces what the earlier had.

    Args:
        files: The files, in the order in which they were begun.
    """
    found: dict[str, dict[int, tuple[float, float]]] = {}
    before_s = 0.0
    for file in files:
        sitting: dict[str, dict[int, tuple[float, float]]] = {}
        start_s = last_s = None
        for tag, step, value, wall_s in scalars(file):
            start_s = wall_s if start_s is None else start_s
            last_s = wall_s
            if tag is not None:
                sitting.setdefault(tag, {})[step] = (value, before_s + wall_s - start_s)
        for tag, values in sitting.items():
            first = min(values)
            kept = {step: point for step, point in found.get(tag, {}).items() if step < first}
            found[tag] = kept | values
        before_s += 0.0 if start_s is None or last_s is None else last_s - start_s
    known = tags_of_program(found)
    # Of two tags of one meaning that of the steps is kept, the last of these.
    ranked = sorted(set(found) & known.keys(), key=lambda tag: not known[tag].by_epoch)
    series = {known[tag].name: _series(found[tag], known[tag]) for tag in ranked}
    return Events(series, sorted(found), [file for file in files if is_torn(file)])


def tags_of_program(tags: Iterable[str]) -> dict[str, Tag]:
    """The tags of the program that knows most of these."""
    found = set(tags)
    return max(TAGS.values(), key=lambda known: len(found & known.keys()))


def scalars(file: Path) -> Iterator[tuple[str | None, int, float, float]]:
    """Tag, step, value and wall time (s) of each scalar; a first one without a tag tells when the file was begun."""
    # Imported here: it takes a second, and most runs are read from metrics.csv.
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    for event in LegacyEventFileLoader(str(file)).Load():
        if event.HasField("file_version"):
            yield None, 0, 0.0, event.wall_time
        for value in event.summary.value:
            if value.HasField("simple_value"):
                yield value.tag, event.step, value.simple_value, event.wall_time
            elif value.HasField("tensor") and not value.tensor.tensor_shape.dim and value.tensor.dtype in (1, 2):
                yield value.tag, event.step, float(make_ndarray(value.tensor)), event.wall_time


def is_torn(file: Path) -> bool:
    """Whether the file ends within a record, because its writer was killed or is still writing.

    A record is its length (8 bytes) and that number's checksum, the content, and the content's checksum
    (https://www.tensorflow.org/tutorials/load_data/tfrecord).
    """
    size, place = file.stat().st_size, 0
    with file.open("rb") as content:
        while place + HEADER_BYTES <= size:
            content.seek(place)
            (length,) = struct.unpack("<Q", content.read(8))
            place += HEADER_BYTES + length + FOOTER_BYTES
    return place != size


def _series(points: dict[int, tuple[float, float]], tag: Tag) -> Series:
    steps = sorted(points)
    return Series(
        steps, [points[step][0] * tag.factor for step in steps], [points[step][1] for step in steps], tag.by_epoch
    )
