"""The recipe's data as a LightningDataModule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.imagewoof import open_data, prepare_checked_data
from woof_lightning.data.loading import Batch, EpochSampler, check_batch_size, train_loader, val_loader
from woof_lightning.data.workers import check_shared_memory
from woof_lightning.errors import UserError


class ImagewoofDataModule(LightningDataModule):
    """Imagewoof, the synthetic stand-in, or a person's own folder of images.

    Args:
        seed: Seed of the order of the images and of their augmentation.
        data: The settings of DataConfig.

    Raises:
        UserError: When a setting cannot be used.
    """

    def __init__(self, *, seed: int = 0, **data: Any) -> None:
        super().__init__()
        self.config = DataConfig(**data)
        self.seed = seed
        self.index: ImageIndex | None = None
        self._first_epoch = 0
        self._batches_done = 0

    def prepare_data(self) -> None:
        """Brings the images onto the disk and makes sure that each of them can be read.

        Raises:
            UserError: When that cannot be done, or the settings do not suit these images.
        """
        if self.index is None:
            prepare_checked_data(self.config)

    def setup(self, stage: str) -> None:
        """Indexes the images."""
        if self.index is None:
            self.index = open_data(self.config)
            if stage == "fit":
                check_batch_size(self.config, self.index)
            check_shared_memory(self.config)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of (images [B, 3, S, S], uint8; labels [B], int64), augmented and shuffled."""
        check_sampler(self.trainer)
        loader = train_loader(
            self._indexed(),
            self.config,
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )
        if self.trainer is not None and isinstance(loader.sampler, EpochSampler):
            # Lightning iterates a resumed run's loader before it says which epoch it is at, and workers fetch at once:
            # in `estimated_stepping_batches`, before the loops' own progress is restored. Hence the state below.
            # https://github.com/Lightning-AI/pytorch-lightning/issues/19764
            loader.sampler.set_epoch(max(self._first_epoch, _epochs_done(self.trainer)))
            loader.sampler.go_on_at(self._first_epoch, self._batches_done * (loader.batch_size or 0))
        return loader

    def val_dataloader(self) -> DataLoader[Batch]:
        """All validation images in a fixed order, as (images [B, 3, S, S], uint8; labels [B], int64)."""
        return val_loader(self._indexed(), self.config)

    def state_dict(self) -> dict[str, int]:
        """Which epoch comes next or was cut, and its batches that were trained; saved in every checkpoint."""
        if self.trainer is None:
            return {"next_epoch": 0, "batches_done": 0}
        return {"next_epoch": _epochs_done(self.trainer), "batches_done": _batches_done(self.trainer)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes on where a checkpoint was saved."""
        self._first_epoch = state_dict["next_epoch"]
        self._batches_done = state_dict.get("batches_done", 0)

    def teardown(self, stage: str) -> None:
        """Forgets where a resumed run went on, so that another fit starts at its beginning."""
        self._first_epoch = self._batches_done = 0

    def batch_files(self, epoch: int, batch_idx: int) -> list[Path]:
        """The images of a training batch: they follow from seed, epoch and place alone."""
        index = self._indexed()
        loader = train_loader(index, replace(self.config, num_workers=0), seed=self.seed)
        sampler = cast(EpochSampler, loader.sampler)
        sampler.set_epoch(epoch)
        places = list(sampler)[batch_idx * self.config.batch_size :][: self.config.batch_size]
        return [index.root / index.train[place].path for _, place in places]

    def _indexed(self) -> ImageIndex:
        assert self.index is not None, "setup() indexes the images"
        return self.index


def check_sampler(trainer: Trainer | None) -> None:
    """Raises a UserError when Lightning would share the images among the devices a second time."""
    if trainer is not None and trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
        raise UserError(
            "trainer.use_distributed_sampler is True: expected False with several devices, since this project's "
            "sampler shares the images itself (Trainer(use_distributed_sampler=False))"
        )


def _epochs_done(trainer: Trainer) -> int:
    return int(cast(Any, trainer.fit_loop.epoch_progress.current).processed)


def _batches_done(trainer: Trainer) -> int:
    """Batches trained in an epoch that is not done, not those that the loader has fetched ahead; else 0."""
    epoch: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return int(batches.processed) if epoch.started > epoch.processed else 0
