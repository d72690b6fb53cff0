"""Durable checkpoints, and a ModelCheckpoint for runs that are moved. For any Lightning project."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from woof_lightning.errors import UserError
from woof_lightning.lit.callbacks.hooks import without_idle_step_hooks
from woof_lightning.recipe.processes import are_several, from_first
from woof_lightning.runs.folder import checkpoint_file, write_problem, writing_durably


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file next to its target, flushes it to the disk, then replaces the target.

    Lightning writes checkpoints to $TMPDIR first and does not flush them, so a kill or a power cut can leave a torn
    file (https://github.com/Lightning-AI/pytorch-lightning/issues/21800). Pass it to the Trainer in `plugins`.

    Examples:
        >>> from lightning.pytorch import Trainer
        >>> from woof_lightning import DurableCheckpointIO
        >>> trainer = Trainer(plugins=[DurableCheckpointIO()], logger=False)
        >>> type(trainer.strategy.checkpoint_io).__name__
        'DurableCheckpointIO'
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Writes a checkpoint. The old file stays until the new one is complete.

        Raises:
            UserError: If it cannot be written.
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with writing_durably(target) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch turns the first write's OSError into a RuntimeError.
            raise UserError(write_problem(target, error)) from error

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Tests the checksums of a checkpoint, then reads it. It always uses weights_only, so no code in it is run.

        Of several processes the first one reads it and sends it to the others, which need not see its disk.

        Raises:
            UserError: If it is missing or damaged.
        """
        told: dict[str, Any] | UserError = {}
        if not are_several() or dist.get_rank() == 0:
            try:
                checkpoint_file(Path(path))
                told = torch.load(path, map_location=map_location, weights_only=True)
            except UserError as error:
                told = error
        told = from_first(told)
        if isinstance(told, UserError):
            raise told
        return told


@without_idle_step_hooks
class MovableModelCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that keeps its best score if the run's folder was moved.

    Lightning's own forgets it (`load_state_dict` in lightning/pytorch/callbacks/model_checkpoint.py). The first epoch
    after a move then always counts as the best.
    """

    @cached_property
    def state_key(self) -> str:
        """The key of its state in a checkpoint. Cached, because Lightning reads it at every hook of every step."""
        return super().state_key

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state and replaces the old folder by this one in its paths."""
        super().load_state_dict(_moved(state_dict, str(state_dict["dirpath"]), str(self.dirpath)))


class BestCheckpoint(MovableModelCheckpoint):
    """A ModelCheckpoint that also saves after a validation within an epoch (val_check_interval), if it is the best.

    At the end of an epoch it saves after the schedule's step, so that a run resumes exactly from its file.
    """

    def _should_save_on_train_epoch_end(self, trainer: Trainer) -> bool:
        return bool(trainer.is_last_batch)


def _moved(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {_moved(key, old, new): _moved(item, old, new) for key, item in value.items()}
    return new + value[len(old) :] if isinstance(value, str) and value.startswith(old) else value
