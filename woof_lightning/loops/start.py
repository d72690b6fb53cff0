"""Starts a loop: prepares the data, locks the run's folder and trains."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from woof_lightning.data.config import DataConfig
from woof_lightning.data.imagewoof import prepare_checked_data
from woof_lightning.data.loading import check_batch_size, check_enough_batches, smallest_batch
from woof_lightning.data.notes import tell
from woof_lightning.data.workers import check_shared_memory
from woof_lightning.loops.experiment import Experiment, TrainerConfig
from woof_lightning.loops.find import Train
from woof_lightning.loops.processes import check_started, joined
from woof_lightning.loops.run import LoopRun
from woof_lightning.recipe.checkpoint import read_checkpoint, recipe_of
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.loss import class_weights
from woof_lightning.recipe.model import check_arch, check_fits, outputs_for
from woof_lightning.recipe.optim import check_optimizer, check_steps_without_closure
from woof_lightning.recipe.processes import check_agreed, from_first, rank
from woof_lightning.recipe.shares import check_divisible
from woof_lightning.recipe.weights import Start, check_weights, resumed_start, start_of
from woof_lightning.runs.alone import check_alone
from woof_lightning.runs.config import check_resumable, deciding
from woof_lightning.runs.folder import RunFolder, write_text_durably
from woof_lightning.runs.record import versions


@dataclass(frozen=True)
class LoopCall:
    """The arguments of `woof loop NAME`.

    Args:
        loop: The loop's name.
        folder: The run's folder.
        resume: Whether to resume the run in that folder.
        overwrite: Whether to replace the run in that folder.
        seed: The seed of weights, order and augmentation.
        model: The model's settings.
        data: The data's settings.
        trainer: The trainer's settings.
        settings: All settings as plain values, for config.yaml.
    """

    loop: str
    folder: RunFolder
    resume: bool
    overwrite: bool
    seed: int
    model: ModelConfig
    data: DataConfig
    trainer: TrainerConfig
    settings: dict[str, Any]


def prepare(call: LoopCall) -> Experiment:
    """Checks a call and prepares its data.

    Args:
        call: What a loop is asked to do.

    Raises:
        UserError: If a setting, the data or the folder cannot be used.
    """
    check_arch(call.model.arch)
    check_optimizer(call.model)
    check_steps_without_closure(call.model)
    check_divisible(call.trainer.device_count, call.model)
    if rank() == 0:  # The others must not look while the first one writes.
        check_folder(call)
    index = prepare_checked_data(call.data)
    check_batch_size(call.data, index)
    check_shared_memory(call.data)
    model = replace(call.model, num_classes=outputs_for(call.model.num_classes, index))
    experiment = Experiment(model, call.data, call.trainer, call.seed, index)
    class_weights(model, index.train.labels)
    experiment.check_limits()
    smallest = smallest_batch(call.data, index, world_size=call.trainer.device_count, batches=experiment.train_batches)
    check_fits(model.arch, image_size=call.data.image_size, smallest_batch=smallest)
    check_enough_batches(experiment.val_batches, call.data, call.trainer.device_count)
    return experiment


def check_folder(call: LoopCall) -> None:
    """Raises a UserError if the run's folder or the weights cannot be used, or a resumed run would change."""
    if is_resuming(call):
        check_resumable(call.folder.config, call.settings)
        return
    if not call.overwrite and not call.resume:
        call.folder.check_free()
    check_weights(call.model)


def is_resuming(call: LoopCall) -> bool:
    """Returns whether there is a run to resume."""
    return call.resume and call.folder.config.exists() and call.folder.has_trained()


def started_from(experiment: Experiment, resume_from: Path | None) -> Start:
    """Returns what the net starts from. The first process reads it and sends it to the others.

    Args:
        experiment: What to train.
        resume_from: The checkpoint of a resumed run; None in a new run.
    """
    if rank() != 0:
        return from_first(Start())
    if resume_from is None:
        return from_first(start_of(experiment.model))
    return from_first(resumed_start(recipe_of(read_checkpoint(resume_from))))


def start(train: Train, call: LoopCall) -> str | None:
    """Trains with a loop and returns a summary of the run: its best epoch and its folder.

    Args:
        train: The loop's function.
        call: What it is asked to do.

    Returns:
        The summary; None in a process that is not the first of several.

    Raises:
        UserError: If a setting, the data or the folder cannot be used.
    """
    check_started(call.trainer)
    check_alone(call.trainer.device_count)
    with joined(call.trainer), ExitStack() as held:
        experiment = prepare(call)
        if call.trainer.device_count > 1:
            check_agreed({**deciding(call.settings), "images": experiment.index.fingerprint, **versions()})
        is_first = rank() == 0
        resume_from = call.folder.last_good_checkpoint() if is_first and is_resuming(call) else None
        experiment = replace(experiment, start=started_from(experiment, resume_from))
        if is_first:
            tell(experiment.index)
            call.folder.create()
            held.enter_context(call.folder.locked())
            if not call.resume and not call.overwrite:  # Another process may have trained here since the first check.
                call.folder.check_free()
        run = LoopRun(call.folder, call.loop, experiment, call.settings, resume_from)
        if is_first:
            if run.checkpoint is None:
                call.folder.clear()
                for line in experiment.start.lines(call.data.image_size):
                    print(line, flush=True)
            call.folder.clear_leftovers()
            write_text_durably(call.folder.config, yaml.safe_dump(call.settings, sort_keys=False))
        train(experiment, run)
        run.finish()
    return run.record.summary(call.folder.path) if is_first else None
