"""Freezes a trained backbone in the first epochs of a fine-tuning."""

from __future__ import annotations

from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning
from torch import nn
from torch.optim import Optimizer

from woof_lightning.lit.callbacks.hooks import without_idle_step_hooks
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.head import freeze_backbone


@without_idle_step_hooks
class FrozenBackbone(BaseFinetuning):
    """Trains the head alone in the first model.freeze_epochs epochs, for a module whose net is its attribute `net`.

    The optimizer has the backbone's parameters from the start, so that a one-cycle schedule knows their group.

    Args:
        config: The settings of the model.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freezes nothing yet: the net may not be there, and Lightning warns of modules that begin in eval mode."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freezes what is frozen in the epoch that comes, which Lightning does not do if it resumes within an epoch."""
        freeze_backbone(cast(nn.Module, pl_module.net), self.config, trainer.current_epoch)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Freezes or unfreezes the backbone at the start of an epoch."""
        freeze_backbone(cast(nn.Module, pl_module.net), self.config, epoch)

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: the epoch alone says what is frozen, and the optimizer's groups never change."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Does nothing."""
