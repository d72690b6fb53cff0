"""Which folders hold runs, and what to call them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from woof_lightning.compare.events import event_files
from woof_lightning.compare.tables import printable
from woof_lightning.errors import raise_together
from woof_lightning.runs.folder import RunFolder, exists
from woof_lightning.runs.metrics import COLUMNS, read_columns

NOT_COMPARED = "folders cannot be compared"


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """The folders of runs: each of these, or those inside it where it is none itself.

    Raises:
        UserError: When one does not exist, or there is no run in it.
    """
    problems, found = [], []
    for folder in folders:
        if not exists(folder) or not folder.is_dir():
            problems.append(f"{folder} is no folder: expected that of a run, or one that holds runs")
            continue
        inside = [folder] if is_run(folder) else [place for place in folders_below(folder) if is_run(place)]
        if not inside:
            problems.append(
                f"{folder} holds no run: there is no metrics.csv of this project and no TensorBoard event file in it; "
                "expected the folder of a run (above lr_find or checkpoints), or one that holds runs"
            )
        found += inside
    raise_together(problems, NOT_COMPARED)
    # A link, or another way to write a path, is no second run.
    unique: dict[Path, Path] = {}
    for place in found:
        unique.setdefault(place.resolve(), place)
    return list(unique.values())


def is_run(folder: Path) -> bool:
    """Whether a folder holds metrics, events, or at least a sweep; one that may not be read may."""
    run = RunFolder(folder)
    try:
        return has_own_metrics(run) or (run.lr_find / "curve.csv").is_file() or bool(event_files(folder))
    except PermissionError:
        return True


def has_own_metrics(place: RunFolder) -> bool:
    """Whether a run's metrics.csv is there, and is this project's: Lightning's CSVLogger uses the same name."""
    return read_columns(place.metrics)[:3] == list(COLUMNS[:3])


def folders_below(folder: Path) -> list[Path]:
    """All folders below one, in alphabetical order."""
    return sorted(Path(place, name) for place, names, _ in os.walk(folder) for name in names)


def short_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many of its parts as tell it from all others; on one line."""
    parts = [tuple(map(printable, folder.resolve().parts)) for folder in folders]
    for length in range(1, max((len(path) for path in parts), default=1) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            break
    return names
