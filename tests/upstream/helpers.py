"""A tiny training under Lightning, which shows a fault or does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, Sampler

from tests.processes import Ended, run

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Shuffled(Sampler[int]):
    """Yields its epoch as every index, so a batch shows which epoch's order it belongs to."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter([self.epoch] * 4)

    def __len__(self) -> int:
        return 4


class Tiny(LightningModule):
    def __init__(self, workers: int = 0) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.workers = workers
        self.orders: list[int] = []

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.arange(9.0)[:, None], sampler=Shuffled(), batch_size=2, num_workers=self.workers)  # type: ignore[arg-type]

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.orders.append(int(batch[0, 0]))
        loss: torch.Tensor = self.layer(batch).sum()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def last(folder: Path, **options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False, **options)


def by_epoch(sampler: Shuffled) -> DataLoader[Any]:
    """Returns a loader whose batches show the epoch that the sampler was given."""
    return DataLoader(torch.arange(9.0)[:, None], sampler=sampler, batch_size=2)  # type: ignore[arg-type]


def in_a_process(code: str, *, fresh: bool = False) -> Ended:
    """Runs Python code in a process of its own, in the folder of the checkout; `fresh` is that of Process."""
    folder = Path(__file__).parents[2]
    return run(["-c", code], folder, fresh=fresh)
