"""Runs as they lie on the disk, finished or not, this project's or any TensorBoard folder."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from woof_lightning.compare.events import REST_SHOWN, Events, Series, event_files, read_events
from woof_lightning.compare.find import has_own_metrics, short_names
from woof_lightning.compare.tables import printable
from woof_lightning.errors import UserError
from woof_lightning.runs.config import flatten
from woof_lightning.runs.folder import RunFolder, read_problem
from woof_lightning.runs.lr_curve import LRCurve, read_lr_curve
from woof_lightning.runs.metrics import Row, read_rows

TOP1, TOP5 = "val/acc1", "val/acc5"
FINISHED = "finished"
# Settings that only a run of this project has.
OWN_SETTINGS = frozenset({"model.arch", "data.variant"})
# So many unknown tags fit into a note.
MOST_TAGS = 10


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
        known_steps_per_epoch: Optimizer steps of an epoch, where the run's own count of epochs tells.
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

        Where the run does not tell, its validation is taken to end an epoch, as in all programs whose tags are known.
        """
        if self.known_steps_per_epoch is not None:
            return self.known_steps_per_epoch
        validated = next((s for name, s in self.series.items() if name.startswith("val/")), None)
        if validated is None:
            return None
        if not validated.by_epoch:
            # One at step 0 was made before the training.
            return next((float(step) for step in validated.step if step > 0), None)
        trained = self.series.get("train/loss")
        return None if trained is None else steps_until(trained, validated.elapsed_s[-1]) / validated.step[-1] or None

    def epochs(self, name: str) -> list[float] | None:
        """The epochs done at each value of a metric; None where it cannot be told."""
        series = self.series[name]
        steps = 1.0 if series.by_epoch else self.steps_per_epoch
        return None if steps is None else [step / steps for step in series.step]

    def steps(self, name: str) -> list[float] | None:
        """The optimizer steps done at each value of a metric; None where it cannot be told."""
        series = self.series[name]
        steps = self.steps_per_epoch if series.by_epoch else 1.0
        return None if steps is None else [step * steps for step in series.step]


def steps_until(trained: Series, elapsed_s: float) -> int:
    """The steps that were done at a time: a run that goes on has trained on since its last validation."""
    done = [step for step, at_s in zip(trained.step, trained.elapsed_s, strict=True) if at_s <= elapsed_s]
    return done[-1] if done else trained.step[-1]


def read_runs(folders: Sequence[Path]) -> tuple[list[Run], dict[Path, str]]:
    """Reads runs.

    Returns:
        The runs, and what is wrong with each folder that holds nothing that can be compared.
    """
    problems, runs = {}, []
    for folder, name in zip(folders, short_names(folders), strict=True):
        try:
            runs.append(read_run(folder, name))
        except UserError as error:
            problems[folder] = str(error)
    return runs, problems


def read_run(folder: Path, name: str) -> Run:
    """Reads a run.

    Raises:
        UserError: When it holds nothing that can be compared, naming the tags that it does hold, or may not be read.
    """
    try:
        return _read_run(Run(folder, name), RunFolder(folder))
    except PermissionError as error:
        raise UserError(read_problem(Path(error.filename), error)) from error


def _read_run(run: Run, place: RunFolder) -> Run:
    run.config = _parsed(run, place.config, lambda text: flatten(yaml.safe_load(text)))
    run.result = _parsed(run, place.result, json.loads)
    _leave_out_odd_results(run)
    _add_sweep(run, place)
    if has_own_metrics(place):
        _add_own_metrics(run, place)
        run.state = _state(run)
        return run
    events = read_events(event_files(place.path))
    run.notes += events.damages + events.restarts
    _add_events(run, events)
    begun = run.config.keys() >= OWN_SETTINGS
    if not run.series and run.sweep is None and not begun:
        tags = ", ".join(map(printable, events.unknown)) or "none"
        problem = f"{place.path} has no value whose meaning is known; the tags of its events: {tags}"
        raise UserError("; ".join([problem, *run.notes]))
    run.state = _state(run, has_result=False) if begun else _state_of_another_program(run)
    return run


def differences(runs: Iterable[Run]) -> dict[str, list[str]]:
    """The settings in which runs differ: for each key the value of every run, empty where it is not known.

    A key that only some runs have, such as Lightning's beside those of a loop, is no difference of its own; but a
    setting is one that is a single value in one run and has parts in another.
    """
    configs = [run.config for run in runs]
    keys = sorted({key for config in configs for key in config})
    return {
        key: [_shown(config[key]) if key in config else "" for config in configs]
        for key in keys
        if len({_shown(config[key]) for config in configs if key in config}) > 1
        or any(key not in config and _has_otherwise(config, key) for config in configs)
    }


def _has_otherwise(config: dict[str, Any], key: str) -> bool:
    return any(key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in config)


def _add_own_metrics(run: Run, place: RunFolder) -> None:
    rows, damage = read_rows(place.metrics)
    rising = rows_that_count(rows)
    if len(rising) < len(rows):
        run.notes.append(f"{place.metrics.name} goes back to an earlier step: what came then is shown")
    for row in rising:
        for name, value in row.items():
            if name != "step":
                series = run.series.setdefault(name, Series())
                series.step.append(int(row["step"]))
                series.value.append(value)
    _count_steps_of_an_epoch(run)
    run.notes += [f"{damage}; {REST_SHOWN}"] if damage else []
    times_s = run.result.get("elapsed_s") or _times_of_events(run, place)
    for name in (TOP1, TOP5):
        if name in run.series and isinstance(times_s, list) and len(times_s) == len(run.series[name].step):
            run.series[name].elapsed_s = list(times_s)


def rows_that_count(rows: Sequence[Row]) -> list[Row]:
    """The rows without those that a later one replaces, because it is of the same step or an earlier one."""
    rising: list[Row] = []
    for row in rows:
        while rising and rising[-1]["step"] >= row["step"]:
            rising.pop()
        rising.append(row)
    return rising


def _add_events(run: Run, events: Events) -> None:
    run.series = dict(events.series)
    _count_steps_of_an_epoch(run)
    trained = events.series.get("train/loss", Series())
    for name, series in events.series.items():
        if name.startswith("val/") and run.known_steps_per_epoch is None and counts_epochs(series, trained):
            first = series.step[0]
            run.series[name] = replace(series, step=[step - first + 1 for step in series.step], by_epoch=True)
    if run.series and TOP1 not in run.series and events.unknown:
        run.notes.append(f"no top-1 is known; its other tags: {', '.join(map(printable, events.unknown[:MOST_TAGS]))}")


def counts_epochs(validated: Series, trained: Series) -> bool:
    """Whether validations were written with the epoch as their step, from 0 or 1, although their tag does not tell."""
    if validated.by_epoch or trained.by_epoch or not trained.step or validated.step[0] > 2:
        return False
    steps = range(validated.step[0], validated.step[0] + len(validated.step))
    return validated.step == list(steps) and trained.step[-1] > steps[-1] + 1


def _count_steps_of_an_epoch(run: Run) -> None:
    """Learns it from where a run says its epoch and validates, be it within an epoch or not after each."""
    epoch = run.series.pop("epoch", Series())
    validated = run.series.get(TOP1) or run.series.get("val/loss", Series())
    epoch_of_step = dict(zip(epoch.step, epoch.value, strict=True))
    steps = [step / (epoch_of_step[step] + 1) for step in validated.step if step in epoch_of_step]
    run.known_steps_per_epoch = max(filter(None, steps), default=None)


def _times_of_events(run: Run, place: RunFolder) -> list[float]:
    """The times of a run's validations, from its events: its metrics.csv has none, and result.json comes last."""
    if TOP1 not in run.series:
        return []
    events = read_events(event_files(place.path))
    run.notes += events.damages
    seen = events.series.get(TOP1, Series())
    times_s = dict(zip(seen.step, seen.elapsed_s, strict=True))
    steps = [round(epoch) for epoch in run.epochs(TOP1) or []] if seen.by_epoch else run.series[TOP1].step
    return [times_s[step] for step in steps] if set(steps) <= times_s.keys() else []


def _state(run: Run, *, has_result: bool = True) -> str:
    """How far a run got; of a loop that leaves no result.json its epochs decide."""
    wished, is_locked = run.config.get("trainer.max_epochs"), RunFolder(run.path).is_locked()
    did_all = not has_result and not is_locked and _epochs_done(run) == wished
    if did_all or run.result.get("status") == FINISHED:
        return FINISHED
    now = "going on" if is_locked else "unfinished"
    of = f" of {wished}" if isinstance(wished, int) and wished > 0 else ""  # -1: until a time or step.
    return f"{now}, {_epochs_done(run) or 0}{of} epochs"


def _state_of_another_program(run: Run) -> str:
    if not run.series:
        return "sweep only"
    epochs = _epochs_done(run)
    return f"{max(series.step[-1] for series in run.series.values())} steps" if epochs is None else f"{epochs} epochs"


def _epochs_done(run: Run) -> int | None:
    epochs = run.epochs(TOP1) if TOP1 in run.series else None
    # A little more than nothing is lost in a division.
    return int(epochs[-1] + 1e-6) if epochs else None


def _parsed(run: Run, file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """What a file of a run holds; nothing, and a note, where that is no mapping."""
    try:
        found = parse(file.read_text())
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    run.notes.append(f"{file.name} cannot be read")
    return {}


def _leave_out_odd_results(run: Run) -> None:
    """Drops what somebody else wrote into a result.json under a known name."""
    for name in ("train_s", "images_per_s", "elapsed_s"):
        value = run.result.get(name)
        numbers = value if name == "elapsed_s" and isinstance(value, list) else [value]
        if value is not None and not all(map(_is_number, numbers)):
            del run.result[name]
            run.notes.append(f"{RunFolder(run.path).result.name}: {name} is no number")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _add_sweep(run: Run, place: RunFolder) -> None:
    file = place.lr_find / "curve.csv"
    try:
        run.sweep = read_lr_curve(file) if file.is_file() else None
    except (KeyError, ValueError, TypeError, csv.Error):
        run.notes.append(f"{file.relative_to(run.path)} cannot be read")


def _shown(value: Any) -> str:
    """A setting on one line."""
    if isinstance(value, str):
        return printable(value)
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):  # Keys that JSON has not.
        return printable(str(value))
