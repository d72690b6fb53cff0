"""Runs as they lie on the disk, finished or not, this project's or any TensorBoard folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from woof_lightning.errors import UserError, raise_together
from woof_lightning.runs.config import flatten
from woof_lightning.runs.events import Events, Series, event_files, read_events
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.lr_curve import LRCurve, read_lr_curve
from woof_lightning.runs.metrics import COLUMNS, read_metrics

TOP1, TOP5 = "val/acc1", "val/acc5"
FINISHED = "finished"


@dataclass
class Run:
    """What is known of a run.

    Args:
        path: Its folder.
        name: What it is called beside the others.
        series: Its metrics, by this project's names; accuracies as fractions.
        config: Its settings with dotted keys; empty where another program wrote it.
        result: Its result.json; empty where there is none.
        sweep: The curve of its learning-rate sweep.
        known_steps_per_epoch: Optimizer steps of an epoch, where the run itself tells.
        state: finished, or how far it got.
        notes: What a reader should know.
    """

    path: Path
    name: str
    series: dict[str, Series] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    sweep: LRCurve | None = None
    known_steps_per_epoch: float | None = None
    state: str = "unknown"
    notes: list[str] = field(default_factory=list)

    @property
    def steps_per_epoch(self) -> float | None:
        """Optimizer steps of an epoch; None where it cannot be told.

        Another program's validation is taken to end an epoch, as in all whose tags are known.
        """
        if self.known_steps_per_epoch is not None:
            return self.known_steps_per_epoch
        validated = next((s for name, s in self.series.items() if name.startswith("val/") and s.step), None)
        if validated is None:
            return None
        if not validated.by_epoch:
            return float(max(1, validated.step[0]))
        trained = self.series.get("train/loss")
        return None if trained is None else (trained.step[-1] + 1) / (validated.step[-1] + 1)

    def epochs(self, name: str) -> list[float] | None:
        """The epochs done at each value of a metric; None where it cannot be told."""
        series = self.series[name]
        if series.by_epoch:
            return [float(epoch + 1) for epoch in series.step]
        steps = self.steps_per_epoch
        return None if steps is None else [step / steps for step in series.step]

    def steps(self, name: str) -> list[float]:
        """The optimizer steps done at each value of a metric."""
        series = self.series[name]
        steps = (self.steps_per_epoch or 1.0) if series.by_epoch else None
        return [float(step) if steps is None else (step + 1) * steps for step in series.step]


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """The folders of runs: each of these, or those inside it where it is none itself.

    Raises:
        UserError: When one does not exist, or there is no run in it.
    """
    problems, found = [], []
    for folder in folders:
        if not folder.is_dir():
            problems.append(f"{folder} is no folder: expected that of a run, or one that holds runs")
            continue
        inside = [folder] if is_run(folder) else [place for place in folders_below(folder) if is_run(place)]
        if not inside:
            problems.append(f"{folder} holds no run: there is no metrics.csv and no TensorBoard event file in it")
        found += inside
    raise_together(problems)
    return list(dict.fromkeys(found))


def is_run(folder: Path) -> bool:
    """Whether a folder holds metrics, events, or at least a sweep."""
    run = RunFolder(folder)
    return has_own_metrics(run) or (run.lr_find / "curve.csv").is_file() or bool(event_files(folder))


def has_own_metrics(place: RunFolder) -> bool:
    """Whether a run's metrics.csv is there, and is this project's: Lightning's CSVLogger uses the same name."""
    if not place.metrics.is_file():
        return False
    with place.metrics.open() as file:
        return file.readline().startswith(",".join(COLUMNS[:3]))


def folders_below(folder: Path) -> list[Path]:
    """All folders below one, in alphabetical order."""
    return sorted(Path(place, name) for place, names, _ in os.walk(folder) for name in names)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Reads runs.

    Raises:
        UserError: For those that hold nothing that can be compared, naming the tags that they do hold.
    """
    problems, runs = [], []
    for folder, name in zip(folders, short_names(folders), strict=True):
        try:
            runs.append(read_run(folder, name))
        except UserError as error:
            problems.append(str(error))
    raise_together(problems)
    return runs


def read_run(folder: Path, name: str) -> Run:
    """Reads a run.

    Raises:
        UserError: When it holds nothing that can be compared.
    """
    place = RunFolder(folder)
    run = Run(folder, name, config=_config(place), result=_result(place), sweep=_sweep(place))
    if has_own_metrics(place):
        _add_own_metrics(run, place)
    else:
        events = read_events(event_files(folder))
        run.series = {key: series for key, series in events.series.items() if key != "epoch"}
        run.notes += events.notes
        if not run.series and run.sweep is None:
            raise UserError(f"{folder} has events, but none whose meaning is known; its tags: {_listed(events)}")
    run.state = _state(run)
    return run


def short_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many of its parts as tell it from all others."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max((len(path) for path in parts), default=1) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def differences(runs: Iterable[Run]) -> dict[str, list[str]]:
    """The settings in which runs differ: for each key the value of every run, empty where it is not known.

    A key that only some runs have, such as Lightning's beside those of a loop, is no difference of its own.
    """
    configs = [run.config for run in runs]
    keys = sorted({key for config in configs for key in config})
    return {
        key: [_shown(config[key]) if key in config else "" for config in configs]
        for key in keys
        if len({_shown(config[key]) for config in configs if key in config}) > 1
    }


def _add_own_metrics(run: Run, place: RunFolder) -> None:
    for row in read_metrics(place.metrics):
        if TOP1 in row:  # At an epoch's end, or within it.
            run.known_steps_per_epoch = max(run.known_steps_per_epoch or 0.0, row["step"] / (row["epoch"] + 1))
        for name, value in row.items():
            if name not in ("epoch", "step"):
                series = run.series.setdefault(name, Series())
                series.step.append(int(row["step"]))
                series.value.append(value)
    if not place.metrics.read_bytes().endswith(b"\n"):
        run.notes.append(f"{place.metrics.name} ends within a row")
    times_s = run.result.get("elapsed_s") or _times_of_events(run, place)
    for name in (TOP1, TOP5):
        if name in run.series and len(times_s) == len(run.series[name].step):
            run.series[name].elapsed_s = list(times_s)


def _times_of_events(run: Run, place: RunFolder) -> list[float]:
    """The times of a run's validations, from its events: its metrics.csv has none, and result.json comes last."""
    if TOP1 not in run.series:
        return []
    events = read_events(event_files(place.path))
    run.notes += events.notes
    seen = events.series.get(TOP1, Series())
    times_s = dict(zip(seen.step, seen.elapsed_s, strict=True))
    steps = run.series[TOP1].step
    return [times_s[step] for step in steps] if set(steps) <= times_s.keys() else []


def _state(run: Run) -> str:
    if run.result.get("status") == FINISHED:
        return FINISHED
    validated = run.series.get(TOP1)
    epochs = None if validated is None else run.epochs(TOP1)
    done = round(epochs[-1]) if epochs else 0
    if not run.series:
        return "sweep only"
    if not run.config:
        return f"{done} epochs"
    planned = run.config.get("trainer.max_epochs")
    now = "going on" if RunFolder(run.path).is_locked() else "unfinished"
    return f"{now}, {done} of {planned} epochs"


def _config(place: RunFolder) -> dict[str, Any]:
    try:
        return flatten(yaml.safe_load(place.config.read_text()))
    except (OSError, yaml.YAMLError, AttributeError):
        return {}


def _result(place: RunFolder) -> dict[str, Any]:
    try:
        found = json.loads(place.result.read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _sweep(place: RunFolder) -> LRCurve | None:
    file = place.lr_find / "curve.csv"
    return read_lr_curve(file) if file.is_file() else None


def _listed(events: Events) -> str:
    return ", ".join(events.tags) or "none"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
