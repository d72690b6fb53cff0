"""woof lr-find beside torch_lr_finder: the same rates give the same losses, the same curve the same suggestion."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from tests.ways import NEEDS_PEERS
from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.loading import train_loader
from woof_lightning.data.transforms import normalise
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.lr_finder import LRFound, lr_find
from woof_lightning.lit.lr_suggestion import steepest
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import build_net
from woof_lightning.recipe.optim import build_optimizer
from woof_lightning.runs.lr_curve import LRCurve

torch_lr_finder = pytest.importorskip("torch_lr_finder", reason=NEEDS_PEERS)
pytestmark = pytest.mark.peer
ARCH, STEPS = "shufflenet_v2_x0_5", 30
DATA: dict[str, Any] = {"variant": "synthetic", "image_size": 32, "batch_size": 16, "num_workers": 0}


class Normalised(nn.Module):
    """The recipe's net, with the first line of every loop inside."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build_net(ARCH, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(normalise(images))
        return logits


def woof_sweep(root: Path, folder: Path, optimizer: str) -> LRFound:
    unseen: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    return lr_find(
        WoofClassifier(arch=ARCH, optimizer=optimizer),
        datamodule=ImagewoofDataModule(root=root, **DATA),
        trainer=Trainer(accelerator="cpu", default_root_dir=folder, use_distributed_sampler=False, **unseen),
        min_lr=1e-5,
        num_training=STEPS,
        early_stop_threshold=None,
    )


def other_finder(optimizer: str, rate: Callable[[int], float], monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch_lr_finder, which takes no list of rates, with its schedule replaced."""

    def get_lr(self: Any) -> list[float]:
        return [rate(min(self.last_epoch, STEPS - 1)) for _ in self.base_lrs]

    monkeypatch.setattr(torch_lr_finder.lr_finder.ExponentialLR, "get_lr", get_lr)
    net = Normalised()
    made = build_optimizer(net.parameters(), ModelConfig(optimizer=optimizer))
    return torch_lr_finder.LRFinder(net, made, nn.CrossEntropyLoss(), device="cpu")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_same_rates_give_the_same_losses(
    optimizer: str, drawn_root: Path, drawn_index: ImageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = woof_sweep(drawn_root, tmp_path, optimizer)
    other = other_finder(optimizer, found.curve.lr.__getitem__, monkeypatch)
    loader = train_loader(drawn_index, DataConfig(root=drawn_root, **DATA), seed=0)
    assert len(loader) >= STEPS, "it would begin the same epoch again"
    other.range_test(loader, num_iter=STEPS, smooth_f=0, diverge_th=math.inf)
    assert other.history["lr"] == list(found.curve.lr)
    assert other.history["loss"] == list(found.curve.raw_loss)


def test_the_same_curve_gives_the_same_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    mpl.use("agg")
    other = other_finder("sgd", lambda step: 1.0, monkeypatch)
    generator = torch.Generator().manual_seed(0)
    rates = [1e-8 * 10 ** (9 * step / 99) for step in range(100)]
    for fastest in (1e-5, 1e-4, 1e-3, 1e-2):
        noise = (0.05 * torch.randn(100, generator=generator)).tolist()
        raw = [
            2.3 - 1 / (1 + (fastest / lr) ** 2) + lr / (300 * fastest) + dot
            for lr, dot in zip(rates, noise, strict=True)
        ]
        smoothed = raw[:1]
        for loss in raw[1:]:
            smoothed.append(0.2 * loss + 0.8 * smoothed[-1])
        ours = steepest(LRCurve(tuple(rates), tuple(smoothed), tuple(raw)))
        other.history = {"lr": rates, "loss": smoothed}
        _, theirs = other.plot()
        assert ours is not None
        assert abs(rates.index(ours) - rates.index(theirs)) <= 2
