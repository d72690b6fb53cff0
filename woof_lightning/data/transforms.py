"""Image transforms: augmentation of single uint8 images, and normalisation of whole batches."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from woof_lightning.data.decoding import MOST_PIXELS
from woof_lightning.errors import UnreadableImageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The usual resize to 256 px before a crop of 224 px.
RESIZE_PER_CROP = 8 / 7


def train_transform(image_size: int) -> nn.Module:
    """Returns the training transform: random resized crop and random horizontal flip.

    It takes an image [3, H, W], uint8, and returns [3, image_size, image_size], uint8.

    Args:
        image_size: Side of the result, in px.
    """
    return nn.Sequential(v2.RandomResizedCrop(image_size, antialias=True), v2.RandomHorizontalFlip())


def eval_transform(image_size: int) -> nn.Module:
    """Returns the validation transform: resize of the short side to 8/7 of image_size, then centre crop.

    It takes an image [3, H, W], uint8, and returns [3, image_size, image_size], uint8.

    Args:
        image_size: Side of the result, in px.
    """
    resize = v2.Resize(_short_side_px(image_size), antialias=True)
    return nn.Sequential(resize, v2.CenterCrop(image_size))


def check_shape(path: Path, ratio: float, image_size: int) -> None:
    """Raises an UnreadableImageError if the validation transform would need too much memory for an image.

    Resizing keeps the shape, so an image of 1 x 40,000 px (a file of 242 bytes) would become one of 8 GB.

    Args:
        path: The image's file.
        ratio: Its long side over its short side.
        image_size: Side of the square images that the net sees, in px.
    """
    pixels = _short_side_px(image_size) ** 2 * ratio
    if pixels > MOST_PIXELS:
        raise UnreadableImageError(
            f"{path} is {ratio:,.0f} times as long as it is wide: at data.image_size {image_size} it would be resized "
            f"to {pixels:,.0f} pixels, expected at most {MOST_PIXELS:,}; crop or remove the file"
        )


def _short_side_px(image_size: int) -> int:
    return round(image_size * RESIZE_PER_CROP)


def normalise(images: Tensor, channels_last: bool = False) -> Tensor:
    """Normalises a batch with ImageNet's mean and standard deviation.

    Args:
        images: [B, 3, H, W], uint8.
        channels_last: Whether the result is in the channels_last memory format.

    Returns:
        [B, 3, H, W], float32.
    """
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    scale, shift = _scale_and_shift(images.device)
    return images.to(torch.float32, memory_format=memory_format).mul_(scale).add_(shift)


@lru_cache
def _scale_and_shift(device: torch.device) -> tuple[Tensor, Tensor]:
    # Cached per device: otherwise they would be copied to the GPU for each batch.
    # Stated, because Lightning changes the default type where weights are bf16.
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    return 1 / (255 * std), -mean / std
