"""Several devices share each training batch: what a device's share counts, and the metrics of the whole batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist

from woof_lightning.data.sampling import share_of
from woof_lightning.errors import CommonError
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.metrics import SplitMeans
from woof_lightning.recipe.processes import of_all


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


def joined(own: SplitMeans) -> SplitMeans:
    """Returns the metrics of a split whose batches the devices have shared.

    Args:
        own: This device's.
    """
    parts = of_all(own)
    return SplitMeans.interleaved(parts) if len(parts) > 1 else own


def check_divisible(world_size: int, config: ModelConfig) -> None:
    """Checks that several devices can share the batches of a training.

    Args:
        world_size: Number of devices.
        config: The settings of the model.

    Raises:
        CommonError: If only one device can do it. All devices raise the same.
    """
    reasons = {
        "class_weights": "PyTorch's weighted mean of each device's share is not that of the batch",
        "freeze_epochs": "DDP waits for a gradient of each parameter that it has wrapped",
    }
    for name, reason in reasons.items():
        value = getattr(config, name)
        if world_size > 1 and value != getattr(ModelConfig, name):
            raise CommonError(
                f"model.{name} is {value} with {world_size} devices: expected its default or one device, since {reason}"
            )
