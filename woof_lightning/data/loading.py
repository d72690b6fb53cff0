"""Datasets and loaders: order and augmentation are functions of (seed, epoch, index) alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex, Sample, read_image
from woof_lightning.data.randomness import derived_seed, own_randomness
from woof_lightning.data.transforms import eval_transform, train_transform
from woof_lightning.data.workers import worker_options
from woof_lightning.errors import UserError

# What the sampler hands to the dataset. The epoch travels with the index because persistent workers
# keep their own copy of the dataset, which a later set_epoch in the main process would not reach.
Key = tuple[int, int]
Batch = tuple[Tensor, Tensor]


class ImageDataset(Dataset[Any]):
    """Images of one split, augmented by a function of (seed, epoch, index).

    Args:
        root: The data set's folder.
        samples: Its images of this split.
        transform: Takes and returns uint8 [3, H, W].
        seed: The experiment's seed.
    """

    def __init__(self, root: Path, samples: tuple[Sample, ...], transform: nn.Module, seed: int) -> None:
        self.root = root
        self.samples = samples
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        """Returns ([3, S, S], uint8) and the label."""
        epoch, index = key
        sample = self.samples[index]
        image = read_image(self.root / sample.path)
        with own_randomness("augmentation", self.seed, epoch, index):
            return self.transform(image), sample.label


class EpochSampler(Sampler[Key]):
    """Yields (epoch, index), shuffled by a function of (seed, epoch).

    With several devices each takes every n-th place of the same order, so that together they see
    the batches that one device would. The order is then filled up from its start to a multiple of n.

    Args:
        size: Number of images.
        seed: The experiment's seed.
        shuffle: Off for validation.
        rank: This device's number.
        world_size: Number of devices.
        first: Yield only so many of them; all by default.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        first: int | None = None,
    ) -> None:
        self.size = size
        self.first = first
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._cut = (0, 0)

    def go_on_at(self, epoch: int, place: int) -> None:
        """Says that an epoch was cut: its iterations begin at a place of this device's share, the others' at the start.

        Images before it are not read, and the length stays that of a whole epoch.
        """
        self._cut = (epoch, place)

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next iteration is."""
        self.epoch = epoch

    def __len__(self) -> int:
        share = -(-self.size // self.world_size)
        return share if self.first is None else min(share, self.first)

    def __iter__(self) -> Iterator[Key]:
        epoch, order = self.epoch, list(range(self.size))
        if self.shuffle:
            generator = torch.Generator().manual_seed(derived_seed("order", self.seed, epoch))
            order = torch.randperm(self.size, generator=generator).tolist()
        places = range(self.rank, self.rank + len(self) * self.world_size, self.world_size)
        first = self._cut[1] if epoch == self._cut[0] else 0
        return iter([(epoch, order[place % self.size]) for place in places[first:]])


def train_loader(
    index: ImageIndex,
    config: DataConfig,
    *,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    batches: int | None = None,
) -> DataLoader[Batch]:
    """Batches of augmented training images; say `loader.sampler.set_epoch(n)` before each epoch.

    Yields images ([B, 3, S, S], uint8) and labels ([B], int64). The last, smaller batch is kept.
    With `batches`, an epoch is only the first so many batches of its order.

    Raises:
        UserError: When batch_size exceeds the number of images or cannot be shared by the devices.
    """
    check_batch_size(config, index)
    if config.batch_size % world_size:
        raise UserError(
            f"data.batch_size is {config.batch_size} over {world_size} devices: expected a multiple of {world_size}"
        )
    dataset = ImageDataset(index.root, index.train, train_transform(config.image_size), seed)
    first = None if batches is None else batches * (config.batch_size // world_size)
    sampler = EpochSampler(len(dataset), seed, rank=rank, world_size=world_size, first=first)
    return _loader(dataset, sampler, config.batch_size // world_size, config)


def check_batch_size(config: DataConfig, index: ImageIndex) -> None:
    """Raises a UserError when a batch would hold more images than there are."""
    if config.batch_size > len(index.train):
        raise UserError(
            f"data.batch_size is {config.batch_size}, but {index.root} has {len(index.train)} training images: "
            "expected at most that many"
        )


def val_loader(index: ImageIndex, config: DataConfig, *, batches: int | None = None) -> DataLoader[Batch]:
    """All validation images in their fixed order, in batches of eval_batch_size, on every device.

    Yields images ([B, 3, S, S], uint8) and labels ([B], int64). With `batches`, only the first so many.
    """
    dataset = ImageDataset(index.root, index.val, eval_transform(config.image_size), seed=0)
    first = None if batches is None else batches * config.eval_batch_size
    sampler = EpochSampler(len(dataset), seed=0, shuffle=False, first=first)
    return _loader(dataset, sampler, config.eval_batch_size, config)


def _loader(dataset: ImageDataset, sampler: EpochSampler, batch_size: int, config: DataConfig) -> DataLoader[Batch]:
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        pin_memory=config.pin_memory,
        # Without a generator of its own a loader draws its workers' base seed from the global one.
        generator=torch.Generator().manual_seed(0),
        **worker_options(config.worker_count),
    )
