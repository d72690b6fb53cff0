"""Checks that a run is resumed with the settings that it was started with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from woof_lightning.errors import UserError

# Settings that do not change what a run computes. All others must stay the same.
MAY_DIFFER = frozenset(
    {
        "data.archive",
        "data.cache",
        "data.download",
        "data.folder",  # The fingerprint of the images is compared instead.
        "data.num_workers",
        "data.pin_memory",
        "data.root",
        "trainer.callbacks",  # Most callbacks do not change the training; the user knows about those that do.
        "trainer.default_root_dir",
        "trainer.enable_model_summary",
        "trainer.enable_progress_bar",
        "trainer.logger",
        "trainer.max_time",  # It only ends a run between epochs.
        "trainer.profiler",
    }
)
# What settings were in runs that knew nothing of them.
BEFORE_THEY_WERE = {
    "data.on_device": False,
    "data.skip_unreadable": False,
    "data.split_seed": 0,
    "data.val_share": 0.2,
    "model.weights": None,
    "model.freeze_epochs": 0,
    "model.backbone_lr_factor": None,
    "model.label_smoothing": 0.0,
    "model.class_weights": None,
    "model.ema_decay": None,
}
MISSING = "(not set)"
PRECISION_KEY = "trainer.precision"
# Lightning's short names, and its default.
PRECISIONS = {"None": "32-true", "32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}


def check_resumable(saved_file: Path, now: dict[str, Any]) -> None:
    """Raises a UserError that names each setting that differs and would change the result.

    Args:
        saved_file: The config.yaml of the run.
        now: The settings to resume with, nested.

    Raises:
        UserError: If such settings differ, or the saved ones cannot be read.
    """
    try:
        saved = BEFORE_THEY_WERE | canonical(flatten(yaml.safe_load(saved_file.read_text(encoding="utf-8"))))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(
            f"the run's settings {saved_file} cannot be read ({error}): start the run again with --overwrite, or start "
            "another run with --name"
        ) from error
    current = BEFORE_THEY_WERE | canonical(flatten(now))
    # With the step schedule, more epochs only add to a run. With onecycle, every step depends on the number of epochs.
    more_epochs_allowed = current.get("model.schedule") == "step"
    differing = [
        f"{key} was {saved.get(key, MISSING)}, now {current.get(key, MISSING)}"
        for key in sorted({*saved, *current})
        if saved.get(key, MISSING) != current.get(key, MISSING)
        and not _may_differ(key)
        and not (key == "trainer.max_epochs" and more_epochs_allowed)
    ]
    if differing:
        run, parent = saved_file.parent, saved_file.parent.parent
        where = "" if parent == Path("runs") else f" --runs_dir {shlex.quote(str(parent))}"
        own = f"--config {shlex.quote(str(saved_file))} --name {shlex.quote(run.name)}{where} --resume"
        raise UserError(
            f"{run} cannot be resumed with other settings: {'; '.join(differing)}. "
            f"Use the run's settings ({own}), or start another run with --name"
        )


def deciding(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings that change what a run computes, with dotted keys.

    Args:
        settings: All settings, nested.
    """
    return {key: value for key, value in canonical(flatten(settings)).items() if not _may_differ(key)}


def canonical(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns flat settings in which every way to write a precision is the same, such as null and 32 for 32-true.

    Args:
        settings: Settings with dotted keys.
    """
    value = settings.get(PRECISION_KEY, MISSING)
    if value == MISSING or (value is None and settings.get("trainer.plugins")):  # A plugin can set the precision.
        return settings
    return {**settings, PRECISION_KEY: PRECISIONS.get(str(value), value)}


def _may_differ(key: str) -> bool:
    # The value of some settings can be a mapping: trainer.max_time.hours, trainer.logger.class_path.
    return any(key == free or key.startswith(f"{free}.") for free in MAY_DIFFER)


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Returns nested settings as one level of dotted keys.

    Args:
        settings: Nested mappings, or None for no settings.
        prefix: The text to put before each key.
    """
    flat: dict[str, Any] = {}
    for key, value in (settings or {}).items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return flat
