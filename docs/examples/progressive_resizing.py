"""Trains on small images first.

woof fit --config adamw_onecycle --trainer.reload_dataloaders_every_n_epochs 1
    --data_class progressive_resizing.SmallFirst
"""

from dataclasses import replace
from typing import Any

from torch.utils.data import DataLoader

from woof_lightning import ImagewoofDataModule


class SmallFirst(ImagewoofDataModule):
    """Loads small images in the first epochs, and those of image_size in the others and in each validation.

    Args:
        small_px: Side of the small images, in px.
        small_epochs: The number of epochs with small images.
        options: As ImagewoofDataModule's.
    """

    def __init__(self, *, small_px: int = 96, small_epochs: int = 20, **options: Any) -> None:
        super().__init__(**options)
        self.small_px, self.small_epochs = small_px, small_epochs

    def train_dataloader(self) -> DataLoader[Any]:
        """Returns batches of the current epoch's size; the Trainer asks again before each epoch."""
        config = self.config
        if self.trainer.current_epoch < self.small_epochs:
            self.config = replace(config, image_size=self.small_px)
        try:
            return super().train_dataloader()
        finally:
            self.config = config
