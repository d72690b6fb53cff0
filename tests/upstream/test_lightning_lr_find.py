"""Faults of Lightning's learning rate finder, for `woof lr-find`: a test fails on the day its fault is fixed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.tuner.lr_finder import _LRFinder
from lightning.pytorch.tuner.tuning import Tuner
from torch.utils.data import DataLoader

from tests.upstream.helpers import QUIET, Tiny


class Sweeping(Tiny):
    """Gives a constant loss, and notes what a sweep does to it."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.validations = 0
        self.beta1: set[float] = set()

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.zeros(4, 1), batch_size=2)  # type: ignore[arg-type]

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.beta1.add(self.trainer.optimizers[0].param_groups[0]["betas"][0])
        loss: torch.Tensor = self.layer(batch).sum() * 0 + 2.3026
        return loss

    def val_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.validations += 1

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), 0.1)
        return [optimizer], [torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100)]


def swept(folder: Path, model: LightningModule, steps: int, **options: Any) -> Any:
    trainer = Trainer(default_root_dir=folder, enable_checkpointing=False, **{**QUIET, "max_epochs": 99, **options})
    return Tuner(trainer).lr_find(model, num_training=steps, update_attr=False)


def test_lr_find_records_a_constant_loss_as_half_of_itself(tmp_path: Path) -> None:
    """See SweepRecorder."""
    losses = swept(tmp_path, Sweeping(), 20).results["loss"]
    assert losses[0] == pytest.approx(2.3026 / 1.98)
    assert losses[-1] < 2.25


def test_lr_find_takes_the_steepest_descent_on_the_linear_axis() -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/21141; see lit/lr_suggestion.py."""
    finder = _LRFinder("exponential", 1e-8, 10, 100)
    rates = [1e-8 * 10 ** (9 * step / 99) for step in range(100)]
    # Falls by 1e-4 per step at 1e-6, and by ten thousand times that at 0.01.
    losses = [2.3 - (1e-4 if lr > 1e-6 else 0) - (1.0 if lr > 1e-2 else 0) for lr in rates]
    finder.results = {"lr": rates, "loss": losses}
    assert finder.suggestion() < 2e-6  # type: ignore[operator]


def test_lr_find_ends_at_max_epochs(tmp_path: Path) -> None:
    """See _prepared in lit/lr_finder.py."""
    assert len(swept(tmp_path, Sweeping(), 50, max_epochs=1).results["lr"]) == 2


def test_lr_find_validates_even_when_told_not_to(tmp_path: Path) -> None:
    """See _prepared in lit/lr_finder.py."""
    model = Sweeping()
    swept(tmp_path, model, 20, limit_val_batches=0)
    assert model.validations > 0


def test_lr_find_runs_with_the_betas_of_one_cycle(tmp_path: Path) -> None:
    """See _stated_momentum."""
    model = Sweeping()
    swept(tmp_path, model, 20)
    assert model.beta1 == {0.95}


def test_lr_find_dies_of_a_path_and_leaves_its_checkpoint(tmp_path: Path) -> None:
    """See _no_checkpoint_left and _any_content_read."""
    with pytest.raises(pickle.UnpicklingError, match="PosixPath"):
        swept(tmp_path, Sweeping(folder=tmp_path), 20)
    assert len(list(tmp_path.glob(".lr_find_*.ckpt"))) == 1


def test_lr_find_leaves_out_partly_accumulated_steps(tmp_path: Path) -> None:
    """See SweepRecorder: epochs of 2 batches never make a group of 4, and yet each ends with a step."""
    results = swept(tmp_path, Sweeping(), 20, accumulate_grad_batches=4).results
    assert len(results["lr"]) == 0


def test_lr_find_shows_a_bar_even_when_told_not_to(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """See started in lit/lr_finder.py; the bar that the Trainer itself would show is turned off here."""
    swept(tmp_path, Sweeping(), 20)
    assert "Finding best initial lr" in capfd.readouterr().err


def test_lr_find_returns_nothing_for_few_points(tmp_path: Path) -> None:
    """See LRFound.problem."""
    assert swept(tmp_path, Sweeping(), 12).suggestion() is None


def test_lr_find_drops_callbacks(tmp_path: Path) -> None:
    """Why the recorder is added in on_train_start; see _prepared in lit/lr_finder.py."""
    called = []

    class Watching(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            called.append(1)

    swept(tmp_path, Sweeping(), 20, callbacks=[Watching()])
    assert not called
