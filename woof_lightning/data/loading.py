"""Datasets and loaders, whose order and augmentation depend only on (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from woof_lightning.data.config import DataConfig
from woof_lightning.data.decoded import DecodedImages
from woof_lightning.data.decoding import read_image
from woof_lightning.data.images import ImageIndex, in_order
from woof_lightning.data.on_device import ImagesOnDevice
from woof_lightning.data.randomness import own_randomness
from woof_lightning.data.samples import Samples
from woof_lightning.data.sampling import (
    EpochSampler,
    FixedSampler,
    Key,
    SharedBatches,
    in_batches,
    share_of,
    spread_first,
)
from woof_lightning.data.transforms import eval_transform, train_transform
from woof_lightning.data.workers import worker_options
from woof_lightning.errors import UserError
from woof_lightning.resources import available_bytes

Batch = tuple[Tensor, Tensor]
SHARE_OF_MEMORY_TO_KEEP = 0.1


class ImageDataset(Dataset[Any]):
    """The images of one split. The augmentation is a function of (seed, epoch, index).

    Args:
        root: The data set's folder.
        samples: The images of this split.
        transform: Takes an image [3, H, W], uint8, and returns [3, S, S], uint8.
        seed: The experiment's seed.
        decoded: The decoded images of the data set; without them each image is decoded when it is needed.
        first: The number of this split's first image among them.
        keep: Whether to keep each transformed image, for a transform without randomness.
    """

    def __init__(
        self,
        root: Path,
        samples: Samples,
        transform: nn.Module,
        seed: int,
        *,
        decoded: DecodedImages | None = None,
        first: int = 0,
        keep: bool = False,
    ) -> None:
        self.root = root
        self.samples = samples
        self.transform = transform
        self.seed = seed
        self.decoded = decoded
        self.first = first
        self.keep = keep
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        """Returns an image ([3, S, S], uint8) and its label."""
        epoch, index = key
        label = self.samples[index].label
        if index in self._kept:
            return self._kept[index], label
        if self.decoded is None:
            image = read_image(self.root / self.samples[index].path)
        else:
            image = self.decoded.read(self.first + index)
        with own_randomness("augmentation", self.seed, epoch, index):
            transformed: Tensor = self.transform(image)
        if self.keep:
            self._kept[index] = transformed
        return transformed, label

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Returns a batch: images ([B, 3, S, S], uint8, channels_last) and labels ([B], int64)."""
        images, labels = zip(*(self[key] for key in keys), strict=True)
        # In memory, decoded images are in the order height, width, channels.
        pixels = torch.stack([image.permute(1, 2, 0) for image in images])
        return pixels.permute(0, 3, 1, 2), torch.tensor(labels)


def as_it_is(batch: Any) -> Any:
    """Returns a batch unchanged: the dataset has put it together."""
    return batch


def train_loader(
    index: ImageIndex,
    config: DataConfig,
    *,
    seed: int,
    decoded: DecodedImages | None = None,
    device: torch.device | None = None,
    rank: int = 0,
    world_size: int = 1,
    batches: int | None = None,
) -> DataLoader[Batch]:
    """Returns a loader of augmented training images. Call `loader.sampler.set_epoch(n)` before each epoch.

    It yields images ([B, 3, S, S], uint8) and labels ([B], int64). The last batch may be smaller.

    Args:
        index: The data set.
        config: The settings of the data. batch_size is divided among the devices.
        seed: The experiment's seed.
        decoded: The decoded images of the data set, see `opened`; without them each image is decoded when it is needed.
        device: The training device, which keeps the images if data.on_device is set; by default the CPU.
        rank: This device's number.
        world_size: Number of devices.
        batches: Limits an epoch to its first batches; all of them by default.

    Raises:
        UserError: If batch_size exceeds the number of images or is below the number of devices, or the images should be
            kept on the device and it has too little memory.
    """
    check_batch_size(config, index)
    if config.batch_size < world_size:
        raise UserError(
            f"data.batch_size is {config.batch_size} over {world_size} devices: expected at least {world_size}"
        )
    dataset: ImageDataset | ImagesOnDevice
    if config.on_device:
        images, labels = _training_images(index, decoded), index.train.labels
        dataset = ImagesOnDevice(images, labels, device or torch.device("cpu"), config.image_size, seed)
    else:
        transform = train_transform(config.image_size)
        dataset = ImageDataset(index.root, index.train, transform, seed, decoded=decoded)
    sampler = EpochSampler(len(dataset), seed, first=None if batches is None else batches * config.batch_size)
    if world_size == 1:
        return _loader(dataset, config, batch_size=config.batch_size, sampler=sampler)
    return _loader(dataset, config, batch_sampler=SharedBatches(sampler, config.batch_size, rank, world_size))


def _training_images(index: ImageIndex, decoded: DecodedImages | None) -> Iterator[Tensor]:
    if decoded is None:
        return in_order(read_image, (index.root / path for path in index.train.paths))
    return map(decoded.read, range(len(index.train)))


def smallest_batch(config: DataConfig, index: ImageIndex, *, world_size: int = 1, batches: int | None = None) -> int:
    """Returns the number of images in the smallest training batch of a device.

    Args:
        config: The settings of the data.
        index: The data set.
        world_size: Number of devices.
        batches: Number of batches to which an epoch is limited; None for all.
    """
    images = len(index.train) if batches is None else min(batches * config.batch_size, len(index.train))
    # The last device has the fewest; without an image of its own it takes part with one that does not count.
    return max(1, share_of(images % config.batch_size or config.batch_size, world_size - 1, world_size))


def check_batch_size(config: DataConfig, index: ImageIndex) -> None:
    """Raises a UserError if a batch would be larger than the training split."""
    if config.batch_size > len(index.train):
        raise UserError(
            f"data.batch_size is {config.batch_size}, but {index.root} has {len(index.train)} training images: "
            "expected at most that many"
        )


def val_loader(
    index: ImageIndex,
    config: DataConfig,
    *,
    decoded: DecodedImages | None = None,
    batches: int | None = None,
    cut: bool = True,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[Batch]:
    """Returns a loader of the validation images in a fixed order. Of n devices, each takes every n-th batch.

    It yields images ([B, 3, S, S], uint8) and labels ([B], int64), in batches of eval_batch_size.

    Args:
        index: The data set.
        config: The settings of the data.
        decoded: As for train_loader.
        batches: Limits the validation to a number of batches, whose images are spread over the split; all by default.
        cut: Whether the loader ends after them. Lightning ends there by itself, but with one device alone.
        rank: This device's number.
        world_size: Number of devices.

    Raises:
        UserError: If there are fewer batches than devices.
    """
    dataset = ImageDataset(
        index.root,
        index.val,
        eval_transform(config.image_size),
        seed=0,
        decoded=decoded,
        first=len(index.train),
        # Most is left to the training and to the disk cache of the system.
        keep=len(index.val) * 3 * config.image_size**2 < SHARE_OF_MEMORY_TO_KEEP * available_bytes(),
    )
    count = len(dataset) if batches is None else min(batches * config.eval_batch_size, len(dataset))
    order = spread_first(len(dataset), count)
    sampler = FixedSampler(order[:count] if cut or world_size > 1 else order)
    if world_size == 1:
        return _loader(dataset, config, batch_size=config.eval_batch_size, sampler=sampler)
    shares = list(in_batches(sampler, config.eval_batch_size))
    check_enough_batches(len(shares), config, world_size)
    return _loader(dataset, config, batch_sampler=shares[rank::world_size])


def check_enough_batches(batches: int, config: DataConfig, world_size: int) -> None:
    """Raises a UserError if a device would have nothing to validate.

    Args:
        batches: Number of batches to validate.
        config: The settings of the data.
        world_size: Number of devices.
    """
    if batches < world_size:
        raise UserError(
            f"{batches} batches to validate (data.eval_batch_size {config.eval_batch_size}) for {world_size} "
            "devices: expected one for each at least; take fewer devices or smaller batches"
        )


def _loader(dataset: ImageDataset | ImagesOnDevice, config: DataConfig, **batches: Any) -> DataLoader[Batch]:
    on_device = isinstance(dataset, ImagesOnDevice)
    return DataLoader(
        dataset,
        **batches,
        collate_fn=as_it_is,
        pin_memory=config.pin_memory and not on_device,
        # Without a generator, a DataLoader draws the base seed of its workers from the global random state.
        generator=torch.Generator().manual_seed(0),
        **worker_options(0 if on_device else config.worker_count),
    )


def limited(batches: int, key: str, limit: int | float | None) -> int:
    """Returns how many batches a limit of Lightning's Trainer leaves.

    Args:
        batches: Number of batches there are.
        key: Name of the limit, for the message.
        limit: An int is a number of batches, a float a fraction of them. None takes all.

    Raises:
        UserError: If it leaves none.
    """
    count = taken(batches, limit)
    if count < 1:
        raise UserError(f"trainer.{key} is {limit} of {batches} batches: expected at least one batch")
    return count


def taken(batches: int, limit: int | float | None) -> int:
    """Returns how many batches a limit of Lightning's Trainer leaves; it may be none.

    Args:
        batches: Number of batches there are.
        limit: An int is a number of batches, a float a fraction of them. None takes all.
    """
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * min(limit, 1.0))
