"""Learns from a trained net.

woof fit --config adamw_onecycle --model_class distillation.Student --model.teacher runs/TEACHER/checkpoints/best.ckpt
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from woof_lightning import WoofClassifier, load_net
from woof_lightning.data.transforms import normalise
from woof_lightning.recipe.metrics import training_report


class Student(WoofClassifier):
    """Learns the answers of a trained net, which is neither saved nor trained (https://arxiv.org/abs/1503.02531).

    Args:
        teacher: The checkpoint of the trained net.
        options: As WoofClassifier's.
    """

    def __init__(self, *, teacher: str, **options: Any) -> None:
        super().__init__(**options)
        self.teacher = teacher

    def on_fit_start(self) -> None:
        """Loads the teacher."""
        # In a tuple it is no part of this module: its weights are in no checkpoint, and no optimizer sees them.
        self.loaded = (load_net(Path(self.teacher)).to(self.device).requires_grad_(False),)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Returns the mean cross-entropy to the teacher's answers. Images: [B, 3, H, W], uint8; labels: [B], int64."""
        images, labels = batch
        logits = self(images)
        with torch.no_grad():
            answers = self.loaded[0](normalise(images, self.config.channels_last))
        loss = F.cross_entropy(logits, answers.softmax(1))
        if self.is_reported(batch_idx):
            self.log_report(training_report(loss, logits, labels))
        return loss
