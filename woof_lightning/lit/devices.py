"""What several devices need of a Trainer: their shares of each batch, and settings that hold for them."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer

from woof_lightning.data.config import DataConfig
from woof_lightning.errors import CommonError
from woof_lightning.recipe.shares import Shares


def shares_in(trainer: Trainer) -> Shares | None:
    """Returns the shares of a training of several devices; None for one device, or another class's data."""
    data: Any = getattr(trainer, "datamodule", None)
    if trainer.world_size == 1 or not isinstance(getattr(data, "config", None), DataConfig):
        return None
    return Shares(trainer.global_rank, trainer.world_size, data.config.batch_size, len(data.index.train))


def check_several(trainer: Trainer) -> None:
    """Raises a CommonError if settings do not hold for several devices; does nothing for one.

    A limit that is a fraction would be one of each device's batches, which all together would not keep.
    """
    if trainer.world_size == 1:
        return
    if trainer._accelerator_connector._layer_sync is not None and trainer.strategy.root_device.type == "cpu":
        raise CommonError(
            "trainer.sync_batchnorm is true, but PyTorch has no synchronised BatchNorm for the CPU: leave it out, or "
            "train on GPUs"
        )
    limit = trainer.limit_val_batches
    if isinstance(limit, float) and 0 < limit < 1:
        raise CommonError(
            f"trainer.limit_val_batches is {limit} with {trainer.world_size} devices: expected a number of batches, of "
            "all devices together"
        )
