"""Starts a loop: prepares the data, locks the run's folder and trains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import yaml

from woof_lightning.data.config import DataConfig
from woof_lightning.data.imagewoof import prepare_checked_data
from woof_lightning.data.loading import check_batch_size, smallest_batch
from woof_lightning.data.notes import tell
from woof_lightning.data.workers import check_shared_memory
from woof_lightning.loops.experiment import Experiment, TrainerConfig
from woof_lightning.loops.find import Train
from woof_lightning.loops.run import LoopRun
from woof_lightning.recipe.checkpoint import read_checkpoint, recipe_of
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.loss import class_weights
from woof_lightning.recipe.model import check_arch, check_fits, outputs_for
from woof_lightning.recipe.optim import check_optimizer, check_steps_without_closure
from woof_lightning.recipe.weights import check_weights, resumed_start, start_of
from woof_lightning.runs.alone import check_alone
from woof_lightning.runs.config import check_resumable
from woof_lightning.runs.folder import RunFolder, write_text_durably


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


def start(train: Train, call: LoopCall) -> str:
    """Trains with a loop and returns a summary of the run: its best epoch and its folder.

    Args:
        train: The loop's function.
        call: What it is asked to do.

    Raises:
        UserError: If a setting, the data or the folder cannot be used.
    """
    check_alone(1)
    check_arch(call.model.arch)
    check_optimizer(call.model)
    check_steps_without_closure(call.model)
    resuming = call.resume and call.folder.config.exists() and call.folder.has_trained()
    if resuming:
        check_resumable(call.folder.config, call.settings)
    elif not call.overwrite and not call.resume:
        call.folder.check_free()
    if not resuming:
        check_weights(call.model)
    index = prepare_checked_data(call.data)
    check_batch_size(call.data, index)
    check_shared_memory(call.data)
    model = replace(call.model, num_classes=outputs_for(call.model.num_classes, index))
    resume_from = call.folder.last_good_checkpoint() if resuming else None
    start = start_of(model) if resume_from is None else resumed_start(recipe_of(read_checkpoint(resume_from)))
    experiment = Experiment(model, call.data, call.trainer, call.seed, index, start)
    class_weights(model, index.train.labels)
    experiment.check_limits()
    smallest = smallest_batch(call.data, index, batches=experiment.train_batches)
    check_fits(model.arch, image_size=call.data.image_size, smallest_batch=smallest)
    tell(index)
    call.folder.create()
    with call.folder.locked():
        if not call.resume and not call.overwrite:  # Another process may have trained here since the first check.
            call.folder.check_free()
        run = LoopRun(call.folder, call.loop, experiment, call.settings, resume_from)
        if run.checkpoint is None:
            call.folder.clear()
        call.folder.clear_leftovers()
        write_text_durably(call.folder.config, yaml.safe_dump(call.settings, sort_keys=False))
        if resume_from is None:
            for line in start.lines(call.data.image_size):
                print(line, flush=True)
        train(experiment, run)
        run.finish()
    return run.record.summary(call.folder.path)
