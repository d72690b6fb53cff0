"""What the validation of a run does to an image before the net sees it."""

from __future__ import annotations

from dataclasses import dataclass

from woof_lightning.data.transforms import short_side_px
from woof_lightning.recipe.checkpoint import TrainedRecipe, normalisation_of


@dataclass(frozen=True)
class Preprocessing:
    """Resize of the short side, centre crop and normalisation.

    Args:
        image_size: Side of the square that is cropped, in px.
        resize_px: The short side after the resize, in px.
        mean: What is subtracted from each channel of pixels in [0, 1].
        std: By what each channel is divided afterwards.
    """

    image_size: int
    resize_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def preprocessing_of(trained: TrainedRecipe) -> Preprocessing:
    """Returns the preprocessing of a checkpoint's validation.

    Args:
        trained: The recipe in the checkpoint.
    """
    image_size = int(trained.data["image_size"])
    return Preprocessing(image_size, short_side_px(image_size), *normalisation_of(trained))
