"""The order of the images, which depends only on (seed, epoch), and how several devices share it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler

from woof_lightning.data.randomness import derived_seed

# (epoch, index): what the sampler passes to the dataset. Persistent workers have their own copy of the dataset, so the
# epoch cannot be set there from the training process.
Key = tuple[int, int]


class FixedSampler(Sampler[Key]):
    """Yields (0, index) in an order that never changes.

    Args:
        order: The indices.
    """

    def __init__(self, order: Sequence[int]) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Key]:
        return ((0, index) for index in self.order)


def spread_first(size: int, count: int) -> list[int]:
    """Returns the indices below `size`, first `count` of them at equal distances, then the others, both ascending.

    The images of a split are sorted by class, so its first images are of one class, and these are of all.
    """
    count = min(count, size)
    spread = [place * size // count for place in range(count)]
    return spread + sorted(set(range(size)) - set(spread))


class EpochSampler(Sampler[Key]):
    """Yields (epoch, index) in an order that is a function of (seed, epoch).

    Args:
        size: Number of images.
        seed: The experiment's seed.
        shuffle: Whether to shuffle; off for validation.
        first: The most images that an epoch has; all of them by default.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        shuffle: bool = True,
        first: int | None = None,
    ) -> None:
        self.size = size
        self.first = first
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self._cut = (0, 0)

    def resume_at(self, epoch: int, place: int) -> None:
        """Sets where an interrupted epoch resumes. The images before that place are not read again.

        The other epochs start at the beginning, and the length stays that of a whole epoch.

        Args:
            epoch: The interrupted epoch.
            place: The number of images that were already trained in it.
        """
        self._cut = (epoch, place)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size if self.first is None else min(self.size, self.first)

    def __iter__(self) -> Iterator[Key]:
        epoch, order = self.epoch, list(range(self.size))
        if self.shuffle:
            generator = torch.Generator().manual_seed(derived_seed("order", self.seed, epoch))
            order = torch.randperm(self.size, generator=generator).tolist()
        first = self._cut[1] if epoch == self._cut[0] else 0
        return ((epoch, place) for place in order[first : len(self)])


def in_batches(sampler: Sampler[Key], batch_size: int) -> Iterator[list[Key]]:
    """Yields the keys of a sampler in batches; the last one may be smaller.

    Args:
        sampler: The order of the images.
        batch_size: Images in a batch.
    """
    # PyTorch's batches are of any keys; its annotation says numbers.
    return cast(Iterator[list[Key]], iter(BatchSampler(cast(Any, sampler), batch_size, drop_last=False)))


class SharedBatches(Sampler[list[Key]]):
    """Yields a device's share of each batch: of n devices, each takes every n-th image of it.

    So together they train on the batches that one device would train on. If a batch has fewer images than there are
    devices, a device without an image gets the batch's first one, which must not count: see `share_of`.

    Args:
        sampler: The order of the images.
        batch_size: Images in a batch of all devices together.
        rank: This device's number.
        world_size: Number of devices.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, rank: int, world_size: int) -> None:
        self.sampler, self.batch_size, self.rank, self.world_size = sampler, batch_size, rank, world_size

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in in_batches(self.sampler, self.batch_size):
            yield batch[self.rank :: self.world_size] or batch[:1]


def share_of(size: int, rank: int, world_size: int) -> int:
    """Returns how many images of a batch are a device's own; it may be none.

    Args:
        size: Images in the batch of all devices together.
        rank: The device's number.
        world_size: Number of devices.
    """
    return len(range(rank, size, world_size))


def sampler_of(loader: DataLoader[Any]) -> EpochSampler:
    """Returns the sampler of a loader of training images: the order of all devices' images."""
    # A loader whose dataset yields whole batches has no sampler of batches.
    return cast(EpochSampler, getattr(loader.batch_sampler, "sampler", loader.sampler))
