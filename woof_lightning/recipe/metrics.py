"""Loss, top-1 and top-5: the one definition that every loop reports."""

from __future__ import annotations

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


def _hits(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    # With fewer than five classes top-5 is a hit among all of them.
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = top == labels[:, None]
    return {"acc1": hits[:, 0].float(), "acc5": hits.any(dim=1).float()}
