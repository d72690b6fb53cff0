"""An exponential moving average of the weights, by Lightning's callback."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, WeightAveraging

from woof_lightning.errors import UserError
from woof_lightning.recipe.config import ModelConfig


def averaging(decay: float | None, chosen: Sequence[Callback]) -> list[Callback]:
    """Returns the callback that averages the weights; none if they are not averaged.

    Put it before the callbacks that save within an epoch, whose checkpoint would lack the last step otherwise.

    Args:
        decay: The value of model.ema_decay.
        chosen: The user's callbacks.

    Raises:
        UserError: If one of the user's callbacks averages too.
    """
    if decay is None:
        return []
    if found := next((callback for callback in chosen if isinstance(callback, WeightAveraging)), None):
        raise UserError(
            f"model.ema_decay is {decay}, and trainer.callbacks has {type(found).__name__}: expected one of them"
        )
    return [EMAWeightAveraging(decay=decay)]


def check_averaged(trainer: Trainer, config: ModelConfig) -> None:
    """Raises a UserError if the weights should be averaged, but no callback of the Trainer does.

    Args:
        trainer: The Trainer.
        config: The settings of the model.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if config.ema_decay is not None and not any(isinstance(callback, WeightAveraging) for callback in callbacks):
        raise UserError(
            f"model.ema_decay is {config.ema_decay}, which woof fit gives to Lightning's EMAWeightAveraging: with a "
            "Trainer of your own, expected that callback before all that save"
        )
