"""Reads runs from the disk, finished or not: those of this project, and any folder with TensorBoard events."""

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
from woof_lightning.runs.config import canonical, flatten
from woof_lightning.runs.folder import RunFolder, read_problem
from woof_lightning.runs.lr_curve import LRCurve, read_lr_curve
from woof_lightning.runs.metrics import Row, read_rows

TOP1, TOP5 = "val/acc1", "val/acc5"
FINISHED = "finished"
# Settings that only a run of this project has.
OWN_SETTINGS = frozenset({"model.arch", "data.variant"})
# The most unknown tags to list in a note.
MOST_TAGS = 10


@dataclass
class Run:
    """Everything that is known about a run.

    Args:
        path: Its folder.
        name: Its name in the comparison.
        series: Its metrics, by this project's names; accuracies are fractions.
        config: Its settings with dotted keys; empty if another program wrote it.
        result: Its result.json; empty if there is none.
        sweep: The curve of its learning-rate sweep, if there is one.
        known_steps_per_epoch: Optimizer steps per epoch, if the run logs its epoch.
        state: finished, or how far it got.
        notes: Remarks, such as damaged files.
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
        """Optimizer steps per epoch; None if unknown.

        If the run does not log its epoch, each validation counts as the end of an epoch, as in all programs whose tags
        are known.
        """
        if self.known_steps_per_epoch is not None:
            return self.known_steps_per_epoch
        validated = next((s for name, s in self.series.items() if name.startswith("val/")), None)
        if validated is None:
            return None
        if not validated.by_epoch:
            # A validation at step 0 was made before the training.
            return next((float(step) for step in validated.step if step > 0), None)
        trained = self.series.get("train/loss")
        return None if trained is None else steps_until(trained, validated.elapsed_s[-1]) / validated.step[-1] or None

    def epochs(self, name: str) -> list[float] | None:
        """Returns the epochs done at each value of a metric; None if unknown."""
        series = self.series[name]
        steps = 1.0 if series.by_epoch else self.steps_per_epoch
        return None if steps is None else [step / steps for step in series.step]

    def steps(self, name: str) -> list[float] | None:
        """Returns the optimizer steps done at each value of a metric; None if unknown."""
        series = self.series[name]
        steps = self.steps_per_epoch if series.by_epoch else 1.0
        return None if steps is None else [step * steps for step in series.step]


def steps_until(trained: Series, elapsed_s: float) -> int:
    """Returns the steps that were done at a time.

    Args:
        trained: The reports of the training loss.
        elapsed_s: The time since the start of the training.
    """
    done = [step for step, at_s in zip(trained.step, trained.elapsed_s, strict=True) if at_s <= elapsed_s]
    return done[-1] if done else trained.step[-1]


def read_runs(folders: Sequence[Path]) -> tuple[list[Run], dict[Path, str]]:
    """Reads runs.

    Returns:
        The runs, and an error message for each folder that cannot be compared.
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

    Args:
        folder: Its folder.
        name: Its name in the comparison.

    Raises:
        UserError: If it has no known metric (the message lists the tags that it has), or cannot be read.
    """
    try:
        return _read_run(Run(folder, name), RunFolder(folder))
    except PermissionError as error:
        raise UserError(read_problem(Path(error.filename), error)) from error


def _read_run(run: Run, place: RunFolder) -> Run:
    run.config = _parsed(run, place.config, lambda text: canonical(flatten(yaml.safe_load(text))))
    run.result = _parsed(run, place.result, json.loads)
    _drop_invalid_results(run)
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
        problem = f"{place.path} has no known metric; the tags of its events: {tags}"
        raise UserError("; ".join([problem, *run.notes]))
    run.state = _state(run, has_result=False) if begun else _state_of_another_program(run)
    return run


def differences(runs: Iterable[Run]) -> dict[str, list[str]]:
    """Returns the settings in which runs differ: for each key the value of every run, empty if the run has none.

    A key that only some runs have, such as one that only Lightning knows, does not count as a difference. It does count
    if another run has a mapping instead of a single value.
    """
    configs = [run.config for run in runs]
    keys = sorted({key for config in configs for key in config})
    return {
        key: [_shown(config[key]) if key in config else "" for config in configs]
        for key in keys
        if len({_shown(config[key]) for config in configs if key in config}) > 1
        or any(key not in config and _has_parent_or_child(config, key) for config in configs)
    }


def _has_parent_or_child(config: dict[str, Any], key: str) -> bool:
    """Returns whether a config has a key above or below this dotted key."""
    return any(key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in config)


def _add_own_metrics(run: Run, place: RunFolder) -> None:
    rows, damage = read_rows(place.metrics)
    rising = rows_that_count(rows)
    if len(rising) < len(rows):
        run.notes.append(f"{place.metrics.name} goes back to an earlier step: later rows replace earlier ones")
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
    """Returns the rows without those that are followed by a row of the same or an earlier step, which replaces them."""
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
        tags = ", ".join(map(printable, events.unknown[:MOST_TAGS]))
        run.notes.append(f"it has no known top-1 accuracy; its unknown tags: {tags}")


def counts_epochs(validated: Series, trained: Series) -> bool:
    """Returns whether validations were written with the epoch as their step, although their tag does not say so.

    Args:
        validated: A metric of the validations.
        trained: The reports of the training loss.
    """
    if validated.by_epoch or trained.by_epoch or not trained.step or validated.step[0] > 2:
        return False
    steps = range(validated.step[0], validated.step[0] + len(validated.step))
    return validated.step == list(steps) and trained.step[-1] > steps[-1] + 1


def _count_steps_of_an_epoch(run: Run) -> None:
    """Sets known_steps_per_epoch from the validations at which the run logged its epoch.

    This also works for runs that validate in the middle of an epoch, or not after every epoch.
    """
    epoch = run.series.pop("epoch", Series())
    validated = run.series.get(TOP1) or run.series.get("val/loss", Series())
    epoch_of_step = dict(zip(epoch.step, epoch.value, strict=True))
    steps = [step / (epoch_of_step[step] + 1) for step in validated.step if step in epoch_of_step]
    run.known_steps_per_epoch = max(filter(None, steps), default=None)


def _times_of_events(run: Run, place: RunFolder) -> list[float]:
    """Returns the times of a run's validations from its events.

    metrics.csv has no times, and a run that has not ended has no result.json.
    """
    if TOP1 not in run.series:
        return []
    events = read_events(event_files(place.path))
    run.notes += events.damages
    seen = events.series.get(TOP1, Series())
    times_s = dict(zip(seen.step, seen.elapsed_s, strict=True))
    steps = [round(epoch) for epoch in run.epochs(TOP1) or []] if seen.by_epoch else run.series[TOP1].step
    return [times_s[step] for step in steps] if set(steps) <= times_s.keys() else []


def _state(run: Run, *, has_result: bool = True) -> str:
    """Returns how far a run got. Without a result.json, its number of epochs decides whether it is finished."""
    max_epochs, is_locked = run.config.get("trainer.max_epochs"), RunFolder(run.path).is_locked()
    done = _epochs_done(run)
    did_all = not has_result and not is_locked and done is not None and done == max_epochs
    if did_all or run.result.get("status") == FINISHED:
        return FINISHED
    now = "running" if is_locked else "unfinished"
    # max_epochs is -1 if a time or a number of steps ends the run.
    of = f" of {max_epochs}" if isinstance(max_epochs, int) and max_epochs > 0 else ""
    return f"{now}, {done or 0}{of} epochs"


def _state_of_another_program(run: Run) -> str:
    if not run.series:
        return "sweep only"
    epochs = _epochs_done(run)
    return f"{max(series.step[-1] for series in run.series.values())} steps" if epochs is None else f"{epochs} epochs"


def _epochs_done(run: Run) -> int | None:
    epochs = run.epochs(TOP1) if TOP1 in run.series else None
    # The division of steps by steps per epoch can give slightly less than a whole number.
    return int(epochs[-1] + 1e-6) if epochs else None


def _parsed(run: Run, file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Returns the mapping in a file of a run; an empty one, and a note, if the file cannot be read as a mapping."""
    try:
        found = parse(file.read_text(encoding="utf-8"))
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


def _drop_invalid_results(run: Run) -> None:
    """Removes the values of result.json that are not numbers: another program may have written the file."""
    for name in ("train_s", "images_per_s", "elapsed_s"):
        value = run.result.get(name)
        numbers = value if name == "elapsed_s" and isinstance(value, list) else [value]
        if value is not None and not all(map(_is_number, numbers)):
            del run.result[name]
            run.notes.append(f"{RunFolder(run.path).result.name}: {name} is not a number")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _add_sweep(run: Run, place: RunFolder) -> None:
    file = place.lr_find / "curve.csv"
    try:
        run.sweep = read_lr_curve(file) if file.is_file() else None
    except (KeyError, ValueError, TypeError, csv.Error):
        run.notes.append(f"{file.relative_to(run.path)} cannot be read")


def _shown(value: Any) -> str:
    """Returns a setting on one line."""
    if isinstance(value, str):
        return printable(value)
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):  # It has keys that JSON does not support.
        return printable(str(value))
