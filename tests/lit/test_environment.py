"""Environment variables that are set or taken away for a while are as before afterwards, and reach no worker."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from tests.conftest import Woof
from woof_lightning.lit.lr_finder import lr_find
from woof_lightning.lit.sweep import FORCE_LOAD
from woof_lightning.lit.trainer import NVML_CHECK, no_search_for_a_driver

QUIET: dict[str, Any] = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)


class Variables(Dataset[torch.Tensor]):
    """Its items tell, by a loading process's own environment, whether the variable is there."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([float(FORCE_LOAD in os.environ)])


class Noting(LightningModule):
    def __init__(self, folder: Path, fails: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(1, 1)
        self.lr, self.fails, self.seen = 0.1, fails, list[float]()

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.seen += batch.flatten().tolist()
        if self.fails:
            raise RuntimeError("no luck")
        loss: torch.Tensor = self.layer(batch).square().mean() + 1
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


@pytest.mark.parametrize("setting", [None, "0"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_sweep_leaves_the_environment_as_it_was(
    setting: str | None, fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setting is None:
        monkeypatch.delenv(FORCE_LOAD, raising=False)
    else:
        monkeypatch.setenv(FORCE_LOAD, setting)
    before = dict(os.environ)
    trainer = Trainer(accelerator="cpu", default_root_dir=tmp_path, **QUIET)
    model = Noting(tmp_path, fails)
    with pytest.raises(RuntimeError, match="no luck") if fails else nullcontext():
        lr_find(model, DataLoader(Variables(), batch_size=1), trainer=trainer, num_training=20)
    assert dict(os.environ) == before
    assert not list(tmp_path.glob(".lr_find*"))


@pytest.mark.process
def test_loading_processes_of_a_sweep_do_not_see_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FORCE_LOAD, raising=False)
    trainer = Trainer(accelerator="cpu", default_root_dir=tmp_path, **QUIET)
    model = Noting(tmp_path)
    lr_find(model, DataLoader(Variables(), batch_size=1, num_workers=1), trainer=trainer, num_training=20)
    assert set(model.seen) == {0.0}


@pytest.mark.parametrize("setting", [None, "1", "0"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_search_for_a_driver_is_as_before_after_the_block(
    setting: str | None, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    if setting is None:
        monkeypatch.delenv(NVML_CHECK, raising=False)
    else:
        monkeypatch.setenv(NVML_CHECK, setting)
    before = dict(os.environ)
    with pytest.raises(RuntimeError) if fails else nullcontext(), no_search_for_a_driver():
        assert NVML_CHECK not in os.environ
        if fails:
            raise RuntimeError("no luck")
    assert dict(os.environ) == before


def test_with_a_device_the_search_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setenv(NVML_CHECK, "1")
    with no_search_for_a_driver():
        assert os.environ[NVML_CHECK] == "1"


SWEEP = ("--num_training", 40, "--min_lr", 1e-5, "--max_lr", 10)


@pytest.mark.parametrize(
    ("verb", "more", "code"),
    [("fit", (), 0), ("fit", ("--model.lr", -1), 2), ("loop bare", (), 0), ("lr-find", SWEEP, 0)],
)
def test_a_verb_leaves_the_environment_as_it_was(
    verb: str, more: tuple[object, ...], code: int, woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apart from the backend of figures, which stays chosen."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv(NVML_CHECK, "1")
    # A sweep has no limits and epochs of its own.
    options = small_fit[: small_fit.index("--trainer.limit_train_batches")] if verb == "lr-find" else small_fit
    before = dict(os.environ)
    done = woof(*verb.split(), *options, *more)
    assert done.code == code, done.err
    assert dict(os.environ) == before
