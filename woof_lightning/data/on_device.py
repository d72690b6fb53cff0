"""Training images that are kept on the training device and augmented there, in batches.

The crops and flips are drawn like those of `train_transform`, with other random numbers, and resized with the same
filter, with other rounding. Trainings therefore differ from those that augment on the CPU; they are reproducible all
the same, because a crop depends only on (seed, epoch, index).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from woof_lightning.data.randomness import derived_seed
from woof_lightning.data.transforms import FLIPPED_SHARE
from woof_lightning.errors import UserError
from woof_lightning.resources import available_bytes

# As torchvision's RandomResizedCrop.
AREA_SHARES, SIDE_RATIOS, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
# Batches and the training need room, too.
SHARE_OF_DEVICE_TO_FILL = 0.5


@dataclass(frozen=True)
class Crops:
    """Parts of images, one for each image.

    Args:
        boxes: top, left, height and width in px, [N, 4], int64.
        flipped: Whether the part is mirrored, [N], bool.
    """

    boxes: Tensor
    flipped: Tensor


def drawn_crops(sizes_px: Tensor, seed: int, epoch: int) -> Crops:
    """Returns the random crops of all images in an epoch.

    An area and a shape are tried up to ten times. If none fits into the image, the largest part in its middle is taken
    whose shape is allowed. Source: torchvision's RandomResizedCrop.

    Args:
        sizes_px: Height and width of each image, [N, 2], int64.
        seed: The experiment's seed.
        epoch: The epoch.
    """
    generator = torch.Generator().manual_seed(derived_seed("augmentation on the device", seed, epoch))
    area_share, shape, down, right = torch.rand(4, len(sizes_px), TRIES, generator=generator, dtype=torch.float64)
    flipped = torch.rand(len(sizes_px), generator=generator) < FLIPPED_SHARE
    heights, widths = (side[:, None] for side in sizes_px.double().unbind(1))
    area = heights * widths * _between(*AREA_SHARES, area_share)
    ratio = _between(math.log(SIDE_RATIOS[0]), math.log(SIDE_RATIOS[1]), shape).exp()
    height, width = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (height > 0) & (height <= heights) & (width > 0) & (width <= widths)
    top, left = (down * (heights - height + 1)).floor(), (right * (widths - width + 1)).floor()
    tried = torch.stack([top, left, height, width], dim=2)
    first = fits.int().argmax(dim=1)
    boxes = tried[torch.arange(len(tried)), first]
    boxes = torch.where(fits.any(dim=1, keepdim=True), boxes, _middles(heights[:, 0], widths[:, 0]))
    return Crops(boxes.long(), flipped)


def _between(low: float, high: float, share: Tensor) -> Tensor:
    return low + (high - low) * share


def _middles(heights: Tensor, widths: Tensor) -> Tensor:
    low, high = SIDE_RATIOS
    height = torch.minimum(heights, (widths / low).round())
    width = torch.minimum(widths, (heights * high).round())
    return torch.stack([((heights - height) / 2).floor(), ((widths - width) / 2).floor(), height, width], dim=1)


def resized(parts: Tensor, sizes_px: Tensor, flipped: Tensor, side_px: int) -> Tensor:
    """Resizes parts of images to squares, bilinearly and with antialiasing, as two products of matrices.

    Args:
        parts: [B, H, W, 3], float32. A smaller part fills only its top left corner.
        sizes_px: Height and width of each part, [B, 2].
        flipped: Whether to mirror each part, [B], bool.
        side_px: Side of the result, S.

    Returns:
        [B, 3, S, S], uint8, channels_last.
    """
    count, height, width, channels = parts.shape
    rows = _weights(sizes_px[:, 0], height, side_px)
    columns = _weights(sizes_px[:, 1], width, side_px)
    columns = torch.where(flipped[:, None, None], columns.flip(1), columns)
    # Both products contract the second dimension: the rows first, then the columns.
    squeezed = torch.bmm(rows, parts.reshape(count, height, width * channels))
    squeezed = squeezed.view(count, side_px, width, channels).transpose(1, 2).reshape(count, width, -1)
    result = torch.bmm(columns, squeezed).view(count, side_px, side_px, channels)
    return result.round_().byte().permute(0, 3, 2, 1).contiguous(memory_format=torch.channels_last)


def _weights(sizes_px: Tensor, most_px: int, side_px: int) -> Tensor:
    """Returns the share of each pixel of a row of each part in each pixel of the resized row, [B, S, most_px]."""
    scale = (sizes_px / side_px)[:, None, None]
    reach = scale.clamp(min=1.0)
    centres = (torch.arange(side_px, device=sizes_px.device)[:, None] + 0.5) * scale
    pixels = torch.arange(most_px, device=sizes_px.device)
    shares = (1 - (pixels + 0.5 - centres).abs() / reach).clamp_(min=0) * (pixels < sizes_px[:, None, None])
    return shares / shares.sum(dim=2, keepdim=True)


class ImagesOnDevice(Dataset[tuple[Tensor, Tensor]]):
    """Training images on a device, cropped and flipped there in whole batches.

    Args:
        images: Each [3, H, W], uint8, in the order of their indices.
        labels: The label of each.
        device: The device.
        side_px: Side of the square images that the net sees, in px.
        seed: The experiment's seed.

    Raises:
        UserError: If the images need more than half of the device's free memory.
    """

    def __init__(
        self, images: Iterable[Tensor], labels: Sequence[int], device: torch.device, side_px: int, seed: int
    ) -> None:
        self.labels = torch.tensor(labels, device=device)
        self.device = device
        self.side_px = side_px
        self.seed = seed
        self._images: list[Tensor] = []
        room_bytes = SHARE_OF_DEVICE_TO_FILL * free_bytes(device)
        for image in images:
            room_bytes -= image.nbytes
            if room_bytes < 0:
                raise UserError(
                    f"data.on_device is True, but the images need more than half of the free memory of {device}: set "
                    "data.on_device False"
                )
            self._images.append(image.permute(1, 2, 0).to(device).contiguous())
        self._sizes_px = torch.tensor([image.shape[:2] for image in self._images])
        self._epoch, self._crops = -1, Crops(torch.empty(0, 4), torch.empty(0))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Returns one image ([3, S, S], uint8) and its label."""
        images, labels = self.__getitems__([key])
        return images[0], labels[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Returns a batch, on the device: images ([B, 3, S, S], uint8, channels_last) and labels ([B], int64).

        Args:
            keys: (epoch, index) of each image; the epoch is the same for all.
        """
        self._draw(keys[0][0])
        places = torch.tensor([index for _, index in keys])
        boxes = self._crops.boxes[places]
        parts = torch.zeros(len(keys), *boxes[:, 2:].amax(dim=0).tolist(), 3, device=self.device)
        for part, place, (top, left, height, width) in zip(parts, places.tolist(), boxes.tolist(), strict=True):
            part[:height, :width] = self._images[place][top : top + height, left : left + width]
        sizes_px, flipped = (values.to(self.device) for values in (boxes[:, 2:], self._crops.flipped[places]))
        return resized(parts, sizes_px, flipped, self.side_px), self.labels[places.to(self.device)]

    def _draw(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._crops = epoch, drawn_crops(self._sizes_px, self.seed, epoch)


def free_bytes(device: torch.device) -> float:
    """Returns the free memory of a device; without limit if it does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(available_bytes() or math.inf) if device.type == "cpu" else math.inf
