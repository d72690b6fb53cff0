"""What happens to an image: augmentation on uint8, and normalisation once per batch."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# 256 px resized for 224 px cropped, as in the post.
RESIZE_PER_CROP = 8 / 7


def train_transform(image_size: int) -> nn.Module:
    """Random resized crop and horizontal flip.

    Takes and returns uint8 [3, H, W]; the result is [3, image_size, image_size], in px.
    """
    steps = [v2.RandomResizedCrop(image_size, antialias=True), v2.RandomHorizontalFlip()]
    return nn.Sequential(*steps)


def eval_transform(image_size: int) -> nn.Module:
    """Resize of the short side to 8/7 of image_size, then the centre crop.

    Takes and returns uint8 [3, H, W]; the result is [3, image_size, image_size], in px.
    """
    steps = [v2.Resize(round(image_size * RESIZE_PER_CROP), antialias=True), v2.CenterCrop(image_size)]
    return nn.Sequential(*steps)


def normalise(images: Tensor, channels_last: bool = False) -> Tensor:
    """Turns a batch from the loader into what the net sees; the first line of every loop.

    Args:
        images: [B, 3, H, W], uint8.
        channels_last: Whether the result is laid out in the channels_last memory format.

    Returns:
        [B, 3, H, W], float32, normalised with ImageNet's mean and standard deviation.
    """
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    scale, shift = _scale_and_shift(images.device)
    return images.to(torch.float32, memory_format=memory_format).mul_(scale).add_(shift)


@lru_cache
def _scale_and_shift(device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept per device: made anew for each batch they would be copied to the GPU each time.
    mean = torch.tensor(IMAGENET_MEAN, device=device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=device).view(1, 3, 1, 1)
    return 1 / (255 * std), -mean / std
