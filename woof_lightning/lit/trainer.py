"""The Trainer behind `woof fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

# What a run of this project wants other than Lightning's own defaults.
TRAINER_DEFAULTS: dict[str, Any] = {
    # The sampler shares the images among devices itself: the order belongs to the recipe.
    "use_distributed_sampler": False,
    # Every image was read before the training; a sanity validation would find nothing more.
    "num_sanity_val_steps": 0,
    # A well-known net; its summary would warn about every precision but fp32.
    "enable_model_summary": False,
    "log_every_n_steps": 10,
    "max_epochs": 40,
}


class WoofTrainer(Trainer):
    """Lightning's Trainer, which can be told beforehand where to resume.

    LightningCLI offers `ckpt_path` as an option of `fit`, but then takes the model's settings from
    that checkpoint and drops those of the command line without a word.
    """

    resume_from: Path | None = None

    def fit(  # type: ignore[override]
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: Path | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Trains the recipe's net, validating after each epoch."""
        try:
            super().fit(
                model,
                train_dataloaders,
                val_dataloaders,
                datamodule,
                ckpt_path=ckpt_path or self.resume_from,
                weights_only=weights_only,
            )
        except SystemExit as error:
            # Lightning turns Ctrl-C into exit code 1, which cannot be told from a failure.
            if self.interrupted:
                raise KeyboardInterrupt from error
            raise
