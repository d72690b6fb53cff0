"""When a checkpoint is saved, and how: parts that any Lightning project can take over."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from woof_lightning.errors import UserError
from woof_lightning.lit.callbacks.hooks import without_idle_step_hooks
from woof_lightning.runs.folder import checkpoint_file, write_problem, writing_durably


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target, flushes it to the disk, then replaces the target.

    Lightning stages checkpoints in $TMPDIR and does not flush them, so that a kill can leave a torn
    file (https://github.com/Lightning-AI/pytorch-lightning/issues/21800).
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Writes a checkpoint; the old file stays until the new one is whole.

        Raises:
            UserError: When it cannot be written.
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
        """Reads a checkpoint after its checksums were tested; no code in it is run.

        Raises:
            UserError: When it is missing or damaged.
        """
        checkpoint_file(Path(path))
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return checkpoint


@without_idle_step_hooks
class MovableModelCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that keeps its best score when the run's folder was moved.

    Lightning's forgets it (model_checkpoint.py, load_state_dict), so that the first epoch after a
    move always counts as the best.
    """

    @cached_property
    def state_key(self) -> str:
        """The key of its state in a checkpoint; Lightning asks for it at every hook of every step."""
        return super().state_key

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state, with its paths led to this folder."""
        super().load_state_dict(_moved(state_dict, str(state_dict["dirpath"]), str(self.dirpath)))


def _moved(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {_moved(key, old, new): _moved(item, old, new) for key, item in value.items()}
    return new + value[len(old) :] if isinstance(value, str) and value.startswith(old) else value
