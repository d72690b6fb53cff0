"""Image transforms: augmentation of single uint8 images, and normalisation of whole batches."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from woof_lightning.data.decoding import MOST_PIXELS
from woof_lightning.errors import UnreadableImageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The usual resize to 256 px before a crop of 224 px.
RESIZE_PER_CROP = 8 / 7
FLIPPED_SHARE = 0.5
SIDES_OF_A_BOX = (("top", "height"), ("left", "width"))
# A batch is normalised in parts of this size, which stay in a core's cache.
IN_CACHE_BYTES = 2**20


class Normalisation(NamedTuple):
    """What is subtracted from each channel of an image and what it is then divided by.

    Args:
        mean: Per channel (red, green, blue), of values in [0, 1].
        std: Per channel.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


IMAGENET = Normalisation()


def train_transform(image_size: int) -> nn.Module:
    """Returns the training transform: random resized crop and random horizontal flip.

    It takes an image [3, H, W], uint8, and returns [3, image_size, image_size], uint8.

    Args:
        image_size: Side of the result, in px.
    """
    return RandomCropAndFlip(image_size)


class RandomCropAndFlip(nn.Module):
    """torchvision's RandomResizedCrop and RandomHorizontalFlip, to the bit, without what they do for other inputs.

    Args:
        image_size: Side of the result, in px.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.crop = v2.RandomResizedCrop(image_size, antialias=True)

    def forward(self, image: Tensor) -> Tensor:
        """Maps an image ([3, H, W], uint8) to a random part of it ([3, S, S], uint8)."""
        box = self.crop.make_params([image])
        rows, columns = (slice(box[start], box[start] + box[side]) for start, side in SIDES_OF_A_BOX)
        # Copied, because resizing is slower if there are other pixels between the rows.
        part: Tensor = image[:, rows, columns].permute(1, 2, 0).contiguous().permute(2, 0, 1)
        part = F.resize_image(part, list(self.crop.size), antialias=True)
        if torch.rand(1) < FLIPPED_SHARE:
            part = F.horizontal_flip_image(part)
        return part


def eval_transform(image_size: int) -> nn.Module:
    """Returns the validation transform: resize of the short side to 8/7 of image_size, then centre crop.

    It takes an image [3, H, W], uint8, and returns [3, image_size, image_size], uint8.

    Args:
        image_size: Side of the result, in px.
    """
    resize = v2.Resize(short_side_px(image_size), antialias=True)
    return nn.Sequential(resize, v2.CenterCrop(image_size))


def check_shape(path: Path, ratio: float, image_size: int) -> None:
    """Raises an UnreadableImageError if the validation transform would need too much memory for an image.

    Resizing keeps the shape, so an image of 1 x 40,000 px (a file of 242 bytes) would become one of 8 GB.

    Args:
        path: The image's file.
        ratio: Its long side over its short side.
        image_size: Side of the square images that the net sees, in px.
    """
    pixels = short_side_px(image_size) ** 2 * ratio
    if pixels > MOST_PIXELS:
        raise UnreadableImageError(
            f"{path} is {ratio:,.0f} times as long as it is wide: at data.image_size {image_size} it would be resized "
            f"to {pixels:,.0f} pixels, expected at most {MOST_PIXELS:,}; crop or remove the file"
        )


def short_side_px(image_size: int) -> int:
    """Returns the short side of an image after the validation's resize, for a crop of image_size; all in px."""
    return round(image_size * RESIZE_PER_CROP)


def normalise(images: Tensor, channels_last: bool = False, normalisation: Normalisation = IMAGENET) -> Tensor:
    """Normalises a batch, by default with ImageNet's mean and standard deviation.

    Args:
        images: [B, 3, H, W], uint8.
        channels_last: Whether the result is in the channels_last memory format.
        normalisation: Mean and standard deviation.

    Returns:
        [B, 3, H, W], float32.
    """
    # As bytes: the same numbers as floats take four times as long to reorder.
    images = images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    normalised = torch.empty_like(images, dtype=torch.float32)
    scale, shift = _scale_and_shift(images.device, images.shape[3] if channels_last else None, normalisation)
    image_bytes = normalised[0].nbytes if len(images) else 0
    together = max(1, IN_CACHE_BYTES // max(1, image_bytes)) if images.device.type == "cpu" else max(1, len(images))
    parts = (torch.split(_rows(batch, channels_last), together) for batch in (images, normalised))
    for part, result in zip(*parts, strict=True):
        result.copy_(part).mul_(scale).add_(shift)
    return normalised


def _rows(images: Tensor, channels_last: bool) -> Tensor:
    """Returns a view of images as they lie in memory: [B, H, W * 3] if they are channels_last, or [B, 3, H * W].

    Torch computes along the last dimension, which would be the three channels of channels_last images.
    """
    return images.permute(0, 2, 3, 1).flatten(2) if channels_last else images.flatten(2)


@lru_cache
def _scale_and_shift(device: torch.device, width_px: int | None, normalisation: Normalisation) -> tuple[Tensor, Tensor]:
    """Returns factors and summands for a row of pixels ([W * 3]), or for each channel ([3, 1]) if no width is given."""
    # Cached per device: otherwise they would be copied to the GPU for each batch.
    # Stated, because Lightning changes the default type where weights are bf16.
    mean, std = (torch.tensor(values, dtype=torch.float32, device=device) for values in normalisation)
    scale, shift = 1 / (255 * std), -mean / std
    if width_px is None:
        return scale[:, None], shift[:, None]
    return scale.repeat(width_px), shift.repeat(width_px)
