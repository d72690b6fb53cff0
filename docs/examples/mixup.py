"""Trains on mixed images.

woof fit --config adamw_onecycle --model_class mixup.Mixup --model.alpha 0.2
"""

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from woof_lightning import WoofClassifier
from woof_lightning.recipe.metrics import training_report


class Mixup(WoofClassifier):
    """Mixes each image of a batch with another one, and their losses and metrics (https://arxiv.org/abs/1710.09412).

    Args:
        alpha: The shares are drawn from Beta(alpha, alpha).
        options: As WoofClassifier's.
    """

    def __init__(self, *, alpha: float = 0.2, **options: Any) -> None:
        super().__init__(**options)
        self.alpha = alpha

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Returns the mean loss of a mixed batch: images ([B, 3, H, W], uint8) and labels ([B], int64)."""
        images, labels = batch
        # Of seed, epoch and batch alone, so that a resumed training draws the same.
        random = np.random.default_rng((self.seed, self.current_epoch, batch_idx))
        share, order = random.beta(self.alpha, self.alpha), random.permutation(len(images))
        logits = self(share * images + (1 - share) * images[order])
        parts = ((share, labels), (1 - share, labels[order]))
        loss = sum(weight * F.cross_entropy(logits, part) for weight, part in parts)
        if self.is_reported(batch_idx):
            reports = [(weight, training_report(loss, logits, part)) for weight, part in parts]
            self.log_report({name: sum(weight * report[name] for weight, report in reports) for name in reports[0][1]})
        return loss
