"""Finds the folders of runs and names the runs."""

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
    """Returns the folders of runs: each given folder if it is a run, otherwise the runs inside it.

    Raises:
        UserError: If a folder does not exist or contains no run.
    """
    problems, found = [], []
    for folder in folders:
        if not exists(folder) or not folder.is_dir():
            problems.append(f"{folder} is not a folder: expected the folder of a run, or one that contains runs")
            continue
        inside = [folder] if is_run(folder) else [place for place in folders_below(folder) if is_run(place)]
        if not inside:
            problems.append(
                f"{folder} contains no run: there is no metrics.csv of this project and no TensorBoard event file in "
                "it; expected the folder of a run (above lr_find or checkpoints), or one that contains runs"
            )
        found += inside
    raise_together(problems, NOT_COMPARED)
    # A link or another spelling of a path is not a second run.
    unique: dict[Path, Path] = {}
    for place in found:
        unique.setdefault(place.resolve(), place)
    return list(unique.values())


def is_run(folder: Path) -> bool:
    """Returns whether a folder contains metrics, events or a sweep.

    A folder that cannot be read counts too, so that reading it reports the problem.
    """
    run = RunFolder(folder)
    try:
        return has_own_metrics(run) or (run.lr_find / "curve.csv").is_file() or bool(event_files(folder))
    except PermissionError:
        return True


def has_own_metrics(place: RunFolder) -> bool:
    """Returns whether a run has a metrics.csv of this project. Lightning's CSVLogger uses the same file name."""
    return read_columns(place.metrics)[:3] == list(COLUMNS[:3])


def folders_below(folder: Path) -> list[Path]:
    """Returns all folders below a folder, in alphabetical order."""
    return sorted(Path(place, name) for place, names, _ in os.walk(folder) for name in names)


def short_names(folders: Sequence[Path]) -> list[str]:
    """Returns the last part of each path, or as many of the last parts as make all names different.

    Characters that cannot be printed are escaped.
    """
    parts = [tuple(map(printable, folder.resolve().parts)) for folder in folders]
    for length in range(1, max((len(path) for path in parts), default=1) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            break
    return names
