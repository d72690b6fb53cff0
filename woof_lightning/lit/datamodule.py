"""The recipe's data as a LightningDataModule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from woof_lightning.data.cache import opened
from woof_lightning.data.config import DataConfig
from woof_lightning.data.decoded import DecodedImages
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.imagewoof import open_checked_data, prepare_checked_data
from woof_lightning.data.loading import Batch, check_batch_size, taken, train_loader, val_loader
from woof_lightning.data.sampling import sampler_of
from woof_lightning.data.workers import check_shared_memory
from woof_lightning.errors import UserError


class ImagewoofDataModule(LightningDataModule):
    """Loads Imagewoof, its synthetic stand-in, or any folder of images.

    Batches are (images [B, 3, S, S], uint8; labels [B], int64). The order of an epoch depends on (seed, epoch) alone,
    and the augmentation of an image on (seed, epoch, index).

    Args:
        root: Folder that contains the data sets.
        variant: full, 320px, 160px (the official archives) or synthetic (drawn by this program, needs no network).
            Each has its own folder in root.
        folder: A folder with train/CLASS/ and val/CLASS/, or with CLASS/ alone, used instead of root and variant.
        val_share: Share of the images used for validation, if folder has no train/ and val/. An image's own name
            decides its split, so it stays there when others are added. A class has this share on average.
        split_seed: Seed of that split. seed_everything does not change the split: runs with different seeds are
            validated on the same images.
        archive: A local archive to unpack into root if the variant is not there.
        download: Download the official archive if the variant is not there.
        image_size: Side of the square images that the net sees, in px.
        batch_size: Images per training step, over all devices together.
        eval_batch_size: Images per validation batch, per device.
        num_workers: Number of worker processes that load images. 0 loads in the training process, null takes one per
            core. Results do not depend on it.
        skip_unreadable: Train without the images that cannot be read. If false, they end the run before the training.
        noisy_labels: Percentage of training labels replaced by wrong ones: 0, 1, 5, 25 or 50.
        pin_memory: Load into page-locked memory, for faster copies to a CUDA device.
        cache: Whether decoded images are kept in the user's cache folder: off, disk, or auto, which keeps them if they
            need at most half of the free disk. Results do not depend on it.
        on_device: Keep all training images on the training device and augment there, which takes no processor time. The
            augmentation then draws other random numbers, so the same seed gives other results than without it.
        seed: Seed of the order of the images and of their augmentation.

    Raises:
        UserError: If a setting cannot be used.

    Examples:
        >>> from woof_lightning import ImagewoofDataModule
        >>> data = ImagewoofDataModule(variant="synthetic", image_size=64, batch_size=32, num_workers=0)
        >>> data.prepare_data()
        >>> data.setup("fit")
        >>> data.index.counts()
        {'train': 480, 'val': 160}
        >>> images, labels = next(iter(data.train_dataloader()))
        >>> images.shape, images.dtype, labels.shape
        (torch.Size([32, 3, 64, 64]), torch.uint8, torch.Size([32]))
    """

    def __init__(
        self,
        *,
        root: Path = Path("data"),
        variant: str = "320px",
        folder: Path | None = None,
        val_share: float = 0.2,
        split_seed: int = 0,
        archive: Path | None = None,
        download: bool = True,
        image_size: int = 224,
        batch_size: int = 128,
        eval_batch_size: int = 16,
        num_workers: int | None = None,
        skip_unreadable: bool = False,
        noisy_labels: int = 0,
        pin_memory: bool = False,
        cache: str | bool = "auto",
        on_device: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = DataConfig(
            root=root,
            variant=variant,
            folder=folder,
            val_share=val_share,
            split_seed=split_seed,
            archive=archive,
            download=download,
            image_size=image_size,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            skip_unreadable=skip_unreadable,
            noisy_labels=noisy_labels,
            pin_memory=pin_memory,
            cache=cache,
            on_device=on_device,
        )
        self.seed = seed
        self.index: ImageIndex | None = None
        self.decoded: DecodedImages | None = None
        self._first_epoch = 0
        self._batches_done = 0

    def prepare_data(self) -> None:
        """Downloads, unpacks or draws the images, if they are not on the disk, and checks that each can be read.

        Raises:
            UserError: If that fails, or the settings do not fit the images.
        """
        if self.index is None:
            self.index = prepare_checked_data(self.config)

    def setup(self, stage: str) -> None:
        """Lists the images of both splits in `index`, and opens the decoded ones.

        Raises:
            UserError: If batch_size or num_workers does not fit the images or the machine.
        """
        if self.index is None:  # In processes other than the first, prepare_data is not called.
            self.index = open_checked_data(self.config)
        if stage == "fit":
            check_batch_size(self.config, self.index)
        check_shared_memory(self.config)
        if self.decoded is None:  # Lightning calls this again for each stage.
            self.decoded = opened(self.index, self.config)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Returns shuffled and augmented batches of (images [B, 3, S, S], uint8; labels [B], int64)."""
        check_sampler(self.trainer)
        loader = train_loader(
            self._indexed(),
            self.config,
            seed=self.seed,
            decoded=self.decoded,
            device=self.trainer.strategy.root_device if self.trainer else None,
            **self._device_of_several(),
        )
        if self.trainer is not None:
            # Lightning iterates a resumed run's loader before it knows the epoch: `estimated_stepping_batches` runs
            # before the loops' progress is restored, and workers fetch at once. The state below has the epoch.
            # https://github.com/Lightning-AI/pytorch-lightning/issues/19764
            sampler = sampler_of(loader)
            sampler.set_epoch(max(self._first_epoch, _epochs_done(self.trainer)))
            sampler.resume_at(self._first_epoch, self._batches_done * self.config.batch_size)
        return loader

    def val_dataloader(self) -> DataLoader[Batch]:
        """Returns all validation images in a fixed order, as (images [B, 3, S, S], uint8; labels [B], int64).

        With limit_val_batches, the images of the first batches are spread over all classes.
        """
        index, limit = self._indexed(), getattr(self.trainer, "limit_val_batches", None)
        batches = -(-len(index.val) // self.config.eval_batch_size)
        return val_loader(
            index,
            self.config,
            decoded=self.decoded,
            batches=taken(batches, limit),
            cut=False,
            **self._device_of_several(),
        )

    def _device_of_several(self) -> dict[str, int]:
        if self.trainer is None:
            return {}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def state_dict(self) -> dict[str, int]:
        """Returns the epoch to resume and the number of its batches already trained; saved in every checkpoint."""
        if self.trainer is None:
            return {"next_epoch": 0, "batches_done": 0}
        return {"next_epoch": _epochs_done(self.trainer), "batches_done": _batches_done(self.trainer)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Resumes at the epoch and batch at which a checkpoint was saved."""
        self._first_epoch = state_dict["next_epoch"]
        self._batches_done = state_dict.get("batches_done", 0)

    def teardown(self, stage: str) -> None:
        """Forgets where a resumed run started, so that another fit starts at the beginning."""
        self._first_epoch = self._batches_done = 0

    def batch_files(self, epoch: int, batch_idx: int) -> list[Path]:
        """Returns the image files of a training batch.

        Args:
            epoch: The epoch, counted from 0.
            batch_idx: The batch's place in that epoch, counted from 0.
        """
        index = self._indexed()
        loader = train_loader(index, replace(self.config, num_workers=0, on_device=False), seed=self.seed)
        sampler = sampler_of(loader)
        sampler.set_epoch(epoch)
        places = list(sampler)[batch_idx * self.config.batch_size :][: self.config.batch_size]
        return [index.root / index.train[place].path for _, place in places]

    def _indexed(self) -> ImageIndex:
        assert self.index is not None, "setup() indexes the images"
        return self.index


def check_sampler(trainer: Trainer | None) -> None:
    """Raises a UserError if Lightning would divide the images among the devices a second time."""
    if trainer is not None and trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
        raise UserError(
            "trainer.use_distributed_sampler is True: expected False with several devices, since this project's "
            "sampler divides the images itself (Trainer(use_distributed_sampler=False))"
        )


def _epochs_done(trainer: Trainer) -> int:
    return int(cast(Any, trainer.fit_loop.epoch_progress.current).processed)


def _batches_done(trainer: Trainer) -> int:
    """Returns how many batches of an unfinished epoch were trained, not how many were fetched; 0 between epochs."""
    epoch: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return int(batches.processed) if epoch.started > epoch.processed else 0
