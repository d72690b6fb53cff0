"""Loss, top-1 and top-5 accuracy, as every loop reports them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

METRICS = ("loss", "acc1", "acc5")
# Images per validation batch in the post.
POST_BATCH_SIZE = 16


def per_image(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Returns the metrics of each image of a batch. Validation reports their means over a split.

    Args:
        logits: [B, C], any float type.
        labels: [B], int64.

    Returns:
        loss (cross-entropy, nats), acc1 and acc5 (0 or 1), each [B], float32.
    """
    logits = logits.float()
    return {"loss": F.cross_entropy(logits, labels, reduction="none"), **_hits(logits, labels)}


@torch.no_grad()
def training_report(loss: Tensor, logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Returns the metrics of one training batch as plain numbers, which waits for the device.

    Args:
        loss: The loss that was optimised, a scalar in nats.
        logits: [B, C], any float type.
        labels: [B], int64.

    Returns:
        train/loss (nats), train/acc1 and train/acc5 (fractions).
    """
    hits = {name: float(values.mean()) for name, values in _hits(logits.float(), labels).items()}
    return {"train/loss": float(loss), **{f"train/{name}": value for name, value in hits.items()}}


def epoch_means(reports: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the means of an epoch's training reports as train/loss_epoch, train/acc1_epoch and train/acc5_epoch."""
    names = [f"train/{name}" for name in METRICS]
    return {f"{name}_epoch": fmean(report[name] for report in reports) for name in names}


class SplitMeans:
    """Computes the means of the metrics over a split.

    It sums each batch in float64, so the result equals that of torchmetrics' MeanMetric in float64 to the last digit.
    Nothing waits for the device before a mean is asked for.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[Tensor]] = {name: [] for name in METRICS}
        self._values: dict[str, list[Tensor]] = {name: [] for name in METRICS}
        self._count = 0

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch.

        Args:
            logits: [B, C], any float type.
            labels: [B], int64.
        """
        for name, values in per_image(logits, labels).items():
            # Apple's GPUs have no float64.
            exact = values if values.device.type == "mps" else values.double()
            self._sums[name].append(exact.sum())
            self._values[name].append(values)
        self._count += len(labels)

    @classmethod
    def interleaved(cls, parts: Sequence[SplitMeans]) -> SplitMeans:
        """Returns the metrics of a split whose batches were shared: of n devices, each had every n-th one.

        Args:
            parts: Those of each device, in the order of their numbers.
        """
        whole = cls()
        for name in METRICS:
            for own, shares in (
                (whole._sums, [part._sums for part in parts]),
                (whole._values, [part._values for part in parts]),
            ):
                in_turns = zip_longest(*(share[name] for share in shares))
                own[name] = [value.cpu() for turn in in_turns for value in turn if value is not None]
        whole._count = sum(part._count for part in parts)
        return whole

    def over_images(self) -> dict[str, float]:
        """Returns the means over images: val/loss, val/acc1 and val/acc5."""
        return {f"val/{name}": _running_sum(sums) / self._count for name, sums in self._sums.items()}

    def over_batches(self, size: int = POST_BATCH_SIZE) -> dict[str, float]:
        """Returns the means over batches of a size: val/loss, val/acc1 and val/acc5.

        A smaller last batch weighs as much as the others. Some training loops report this mean, so it allows a
        comparison with their results, whatever the size of the batches that were computed together.

        Args:
            size: The number of images in a batch; by default the post's.
        """
        batches = {name: torch.split(torch.cat(values).cpu(), size) for name, values in self._values.items()}
        return {f"val/{name}": fmean(float(batch.mean()) for batch in parts) for name, parts in batches.items()}


def _running_sum(values: list[Tensor]) -> float:
    # Not sum(): since Python 3.12 it compensates rounding errors, which metrics libraries do not.
    total = 0.0
    for value in torch.stack(values).tolist():
        total += value
    return total


def _hits(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    # With fewer than five classes, every answer is a top-5 hit.
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = top == labels[:, None]
    return {"acc1": hits[:, 0].float(), "acc5": hits.any(dim=1).float()}
