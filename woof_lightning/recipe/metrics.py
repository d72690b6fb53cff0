"""Loss, top-1 and top-5: the one definition that every loop reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

METRICS = ("loss", "acc1", "acc5")


def per_image(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The metrics of each image of a batch; their means over a split are what validation reports.

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
    """The metrics of one training batch as plain numbers; waits for the device.

    Args:
        loss: The loss that was optimised, a scalar.
        logits: [B, C], any float type.
        labels: [B], int64.

    Returns:
        train/loss, train/acc1 and train/acc5.
    """
    hits = {name: float(values.mean()) for name, values in _hits(logits.float(), labels).items()}
    return {"train/loss": float(loss), **{f"train/{name}": value for name, value in hits.items()}}


def epoch_means(reports: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means of an epoch's training reports, the post's figure: train/loss_epoch and so on."""
    names = [f"train/{name}" for name in METRICS]
    return {f"{name}_epoch": fmean(report[name] for report in reports) for name in names}


class SplitMeans:
    """Means of the metrics over a split, for loops that have no metrics library.

    Sums in float64, a batch at a time, so that the result is to the last digit what torchmetrics'
    MeanMetric gives.
    """

    def __init__(self) -> None:
        self._images: dict[str, list[float]] = {name: [] for name in METRICS}
        self._batches: dict[str, list[float]] = {name: [] for name in METRICS}
        self._count = 0

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: logits ([B, C]) and labels ([B], int64)."""
        for name, values in per_image(logits, labels).items():
            self._images[name].append(float(values.double().sum()))
            self._batches[name].append(float(values.mean()))
        self._count += len(labels)

    def over_images(self) -> dict[str, float]:
        """The means over images: val/loss, val/acc1 and val/acc5."""
        return {f"val/{name}": _running_sum(sums) / self._count for name, sums in self._images.items()}

    def over_batches(self) -> dict[str, float]:
        """The post's figure: the means over batches, in which a smaller last batch weighs as much as the others."""
        return {f"val/{name}": _running_sum(means) / len(means) for name, means in self._batches.items()}


def _running_sum(values: list[float]) -> float:
    # Not sum(): since Python 3.12 it compensates rounding errors, which no metrics library does.
    total = 0.0
    for value in values:
        total += value
    return total


def _hits(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    # With fewer than five classes top-5 is a hit among all of them.
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = top == labels[:, None]
    return {"acc1": hits[:, 0].float(), "acc5": hits.any(dim=1).float()}
