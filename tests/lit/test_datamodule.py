"""The datamodule and what surrounds a training, used without the command."""

from __future__ import annotations

import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from woof_lightning.data.config import DataConfig
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.lr_finder import lr_find
from woof_lightning.lit.recorder import disk_errors_reported_once
from woof_lightning.lit.trainer import files_of_batch
from woof_lightning.recipe.config import ModelConfig


@pytest.fixture
def data(drawn_root: Path) -> ImagewoofDataModule:
    found = ImagewoofDataModule(
        seed=2, root=drawn_root, variant="synthetic", image_size=16, batch_size=32, eval_batch_size=20, num_workers=0
    )
    found.prepare_data()
    found.setup("fit")
    return found


def test_without_a_trainer_its_loaders_are_those_of_one_device(data: ImagewoofDataModule) -> None:
    train, val = data.train_dataloader(), data.val_dataloader()
    assert [len(labels) for _, labels in train] == [32] * 15
    assert [len(labels) for _, labels in val] == [20] * 8
    assert data.state_dict() == {"next_epoch": 0, "batches_done": 0}


SETTINGS: dict[str, Any] = {
    "root": Path("elsewhere"), "variant": "160px", "folder": Path("mine"), "archive": Path("a.tgz"), "download": False,
    "image_size": 31, "batch_size": 3, "eval_batch_size": 5, "num_workers": 2, "noisy_labels": 25, "pin_memory": True,
    "cache": "disk", "on_device": True, "val_share": 0.3, "split_seed": 4, "skip_unreadable": True,
}  # fmt: skip
OF_THE_NET: dict[str, Any] = {
    "arch": "resnet34", "num_classes": 3, "optimizer": "sgd", "schedule": "step", "lr": 0.5, "momentum": 0.8,
    "weight_decay": 0.3, "channels_last": True, "compile": True, "weights": "DEFAULT", "freeze_epochs": 2,
    "backbone_lr_factor": 0.2, "label_smoothing": 0.1, "class_weights": "balanced", "ema_decay": 0.9,
}  # fmt: skip

# What a setting cannot be given without.
NEEDS: dict[str, Any] = {"momentum": {"schedule": "step"}, "freeze_epochs": {"weights": "DEFAULT"}}


def test_each_setting_reaches_its_config() -> None:
    for settings, config, made in (
        (SETTINGS, DataConfig, ImagewoofDataModule),
        (OF_THE_NET, ModelConfig, WoofClassifier),
    ):
        assert settings.keys() == {field.name for field in fields(config)}
        for name, value in settings.items():
            one = {name: value} | NEEDS.get(name, {})
            assert made(**one).config == config(**one), name
            assert getattr(config(**one), name) != getattr(config(), name)


def test_the_reports_of_a_cut_epoch_have_their_name_in_a_checkpoint() -> None:
    model = WoofClassifier(num_classes=2)
    reports = [{"train/loss": 1.0}]
    for earlier, kept in (({}, []), ({"epoch_reports": reports}, reports)):
        model.on_load_checkpoint(dict(earlier))
        later: dict[str, Any] = {"state_dict": {}}
        model.on_save_checkpoint(later)
        assert later["epoch_reports"] == kept


def test_without_a_datamodule_no_file_of_a_batch_is_known() -> None:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert files_of_batch(trainer, 0, 0) == ""


def failing(error: Exception) -> None:
    def run() -> None:
        raise error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_only_disk_errors_of_threads_are_kept_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr("threading.excepthook", lambda failure: told.append(failure.exc_value))
    before = threading.excepthook
    unexpected = ValueError("a fault of ours")
    with disk_errors_reported_once():
        failing(OSError(28, "no space"))
        failing(unexpected)
    assert told == [unexpected]
    assert threading.excepthook is before
    failing(OSError(28, "no space"))
    assert len(told) == 2


class Line(LightningModule):
    """Learns y = 2 x."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.lr = torch.nn.Linear(1, 1), 0.1

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.log("train/loss", 1.0)
        loss: torch.Tensor = (self.layer(batch) - 2 * batch).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def test_a_sweep_without_a_trainer_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    numbers: Any = torch.randn(64, 1)
    found = lr_find(Line(), DataLoader(numbers, batch_size=8), min_lr=1e-4, max_lr=5.0, num_training=40)
    assert found.steps == 40
    assert len(found.curve) > 20
    assert list(tmp_path.iterdir()) == []
