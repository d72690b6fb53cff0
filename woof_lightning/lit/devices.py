"""Several devices share each batch of a training: what a device's share counts, and the metrics of all together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer

from woof_lightning.data.config import DataConfig
from woof_lightning.data.sampling import share_of
from woof_lightning.errors import CommonError, raise_together
from woof_lightning.recipe.config import ModelConfig


class Shares:
    """What a device's share of each training batch counts.

    DDP takes the mean of the devices' gradients. A share's mean loss is weighted such that this is the gradient of the
    whole batch, also where the shares differ by an image, and where a device has none.

    Args:
        rank: This device's number.
        world_size: Number of devices.
        batch_size: Images in a batch of all devices together.
        images: Images in an epoch.
    """

    def __init__(self, rank: int, world_size: int, batch_size: int, images: int) -> None:
        self._rank, self._world_size, self._batch_size, self._images = rank, world_size, batch_size, images

    def of_batch(self, batch_idx: int) -> float:
        """Returns this device's images as a share of a batch.

        Args:
            batch_idx: The batch's place in its epoch, counted from 0.
        """
        size = min(self._batch_size, self._images - batch_idx * self._batch_size)
        return share_of(size, self._rank, self._world_size) / size

    def weight(self, batch_idx: int) -> float:
        """Returns by what to multiply the mean loss of this device's share before its gradients are computed."""
        return self._world_size * self.of_batch(batch_idx)

    def report(self, report: Mapping[str, float], batch_idx: int, device: torch.device) -> dict[str, float]:
        """Returns the metrics of a whole batch.

        Args:
            report: Those of this device's share, all of them means over images.
            batch_idx: The batch's place in its epoch, counted from 0.
            device: The device.
        """
        share = self.of_batch(batch_idx)
        # A device without an image of its own knows nothing of the batch, and a NaN would spread.
        values = [value * share if share else 0.0 for value in report.values()]
        sums = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(sums)
        return dict(zip(report, sums.tolist(), strict=True))


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


def check_divisible(trainer: Trainer, config: ModelConfig) -> None:
    """Raises a UserError if several devices share the batches of a training that only one can do.

    Args:
        trainer: The Trainer.
        config: The settings of the model.
    """
    reasons = {
        "class_weights": "PyTorch's weighted mean of each device's share is not that of the batch",
        "freeze_epochs": "DDP waits for a gradient of each parameter that it has wrapped",
    }
    chosen = {name: getattr(config, name) for name in reasons}
    raise_together(
        [
            f"model.{name} is {value} with {trainer.world_size} devices: expected its default or one device, since "
            f"{reasons[name]}"
            for name, value in chosen.items()
            if trainer.world_size > 1 and value != getattr(ModelConfig, name)
        ]
    )
