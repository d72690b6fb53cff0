"""Sweeps the learning rate with every finder on the recipe's net and images, then trains three epochs at each answer.

python docs/results/lr_find/compare.py sweep DATA_FOLDER OUT    # rows to OUT/suggestions.csv, curves to OUT/curves
python docs/results/lr_find/compare.py train DATA_FOLDER OUT    # rows to OUT/training.csv
Both go on where they were cut. Needs the extra `peers`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gc
import io
import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback as LightningCallback
from lightning.pytorch import Trainer
from torch import Tensor, nn

from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import index_folder
from woof_lightning.data.loading import train_loader
from woof_lightning.data.transforms import normalise
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.lr_finder import lr_find
from woof_lightning.lit.quiet import quieten_libraries
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import build_net
from woof_lightning.recipe.optim import build_optimizer, resolve_optimizer
from woof_lightning.runs.lr_curve import LRCurve

# What the post took from its sweep.
POST_LR = 0.02
MIN_LR, MAX_LR, STEPS, EPOCHS, CLASSES = 1e-8, 10.0, 100, 3, 10
SEEDS = range(5)
OPTIMIZERS = ("adamw", "sgd")
# The head with 1,000 outputs, as in the post, for one seed.
CASES = [(seed, optimizer, CLASSES) for seed in SEEDS for optimizer in OPTIMIZERS]
CASES[2:2] = [(0, optimizer, 1000) for optimizer in OPTIMIZERS]
Found = dict[str, tuple[float | None, LRCurve]]


class NormalisingNet(nn.Module):
    """The recipe's net with normalisation inside, for finders that offer no place for it."""

    def __init__(self, seed: int, outputs: int) -> None:
        super().__init__()
        self.net = build_net("resnet18", outputs, seed=seed, channels_last=True)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(normalise(images, channels_last=True))
        return logits


def settings(folder: Path) -> dict[str, Any]:
    return {"folder": folder, "image_size": 128, "num_workers": 1}


def woof(folder: Path, seed: int, optimizer: str, outputs: int) -> Found:
    """`woof lr-find`, with Lightning's own suggestion from the same sweep."""
    model = WoofClassifier(optimizer=optimizer, channels_last=True, num_classes=outputs, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        found = lr_find(
            model,
            datamodule=ImagewoofDataModule(seed=seed, **settings(folder)),
            trainer=trainer(default_root_dir=scratch),
            min_lr=MIN_LR,
            max_lr=MAX_LR,
            num_training=STEPS,
        )
    return {
        "woof_steepest": (found.steepest, found.curve),
        "woof_valley": (found.valley, found.curve),
        "lightning": (found.lightning, found.curve),
    }


def torch_lr_finder(folder: Path, seed: int, optimizer: str, outputs: int) -> Found:
    """torch_lr_finder 0.2.1 with its defaults."""
    from torch_lr_finder import LRFinder, TrainDataLoaderIter

    net, loader = NormalisingNet(seed, outputs), loader_of(folder, seed)

    class Batches(TrainDataLoaderIter):  # type: ignore[misc]
        """Says the epoch before each round."""

        _iterator: Any

        def __next__(self) -> Any:
            try:
                batch = next(self._iterator)
            except StopIteration:
                loader.sampler.epoch += 1
                self._iterator = iter(loader)
                batch = next(self._iterator)
            return self.inputs_labels_from_batch(batch)

    finder = LRFinder(net, stated_optimizer(net, optimizer, MIN_LR), nn.CrossEntropyLoss(), device="cpu")
    with contextlib.redirect_stdout(io.StringIO()):
        finder.range_test(Batches(loader), end_lr=MAX_LR, num_iter=STEPS)
        plotted = finder.plot()
    smoothed = tuple(finder.history["loss"])
    suggestion = plotted[1] if isinstance(plotted, tuple) else None
    return {"torch_lr_finder": (suggestion, LRCurve(tuple(finder.history["lr"]), smoothed, smoothed))}


def fastai(folder: Path, seed: int, optimizer: str, outputs: int) -> Found:
    """Fastai's lr_find: its default, valley, and its steep."""
    from fastai.callback.core import Callback
    from fastai.callback.schedule import steep, valley
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    loader = loader_of(folder, seed)

    class Epochs(Callback):  # type: ignore[misc]
        def before_epoch(self) -> None:
            loader.sampler.set_epoch(self.epoch)

    cls, _ = resolve_optimizer(optimizer)
    extra = {"momentum": 0.9} if optimizer == "sgd" else {}
    with tempfile.TemporaryDirectory() as scratch:
        learner = Learner(
            DataLoaders(loader, loader),
            NormalisingNet(seed, outputs),
            loss_func=F.cross_entropy,
            opt_func=partial(OptimWrapper, opt=cls, weight_decay=1e-4, **extra),
            path=Path(scratch),
            cbs=[Epochs()],
        )
        with learner.no_bar():
            found = learner.lr_find(MIN_LR, MAX_LR, STEPS, show_plot=False, suggest_funcs=(valley, steep))
    losses = tuple(float(loss) for loss in learner.recorder.losses)
    curve = LRCurve(tuple(map(float, learner.recorder.lrs[: len(losses)])), losses, losses)
    return {"fastai_valley": (found.valley, curve), "fastai_steep": (found.steep, curve)}


def loader_of(folder: Path, seed: int) -> Any:
    return train_loader(index_folder(folder), DataConfig(**settings(folder)), seed=seed)


def stated_optimizer(net: nn.Module, name: str, lr: float) -> torch.optim.Optimizer:
    return build_optimizer(net.parameters(), ModelConfig(optimizer=name, lr=lr))


def trainer(**options: Any) -> Trainer:
    return Trainer(accelerator="cpu", use_distributed_sampler=False, max_epochs=EPOCHS, **options)


def sweep(folder: Path, out: Path, optimizers: Sequence[str]) -> None:
    finders: tuple[Callable[[Path, int, str, int], Found], ...] = (woof, torch_lr_finder, fastai)
    header = ("seed", "optimizer", "outputs", "finder", "suggestion", "threads")
    done = {(row["seed"], row["optimizer"], row["outputs"], row["finder"]) for row in rows(out / "suggestions.csv")}
    first_of = {"woof": "woof_steepest", "torch_lr_finder": "torch_lr_finder", "fastai": "fastai_valley"}
    for (seed, optimizer, outputs), finder in itertools.product(CASES, finders):
        if optimizer not in optimizers or (str(seed), optimizer, str(outputs), first_of[finder.__name__]) in done:
            continue
        found = finder(folder, seed, optimizer, outputs)
        curve = next(iter(found.values()))[1]
        curve.write(folder_of(out / "curves") / f"{finder.__name__}-{optimizer}-{outputs}-seed{seed}.csv")
        new = [(seed, optimizer, outputs, name, value, torch.get_num_threads()) for name, (value, _) in found.items()]
        append(out / "suggestions.csv", header, new)
        print(*new, sep="\n", flush=True)
        del found
        gc.collect()  # A finder's cycles keep its loader's workers alive, 2 GB each.


class LastEpoch(LightningCallback):
    """The training losses of the last epoch's batches."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_epoch_start(self, *args: Any) -> None:
        self.losses = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        self.losses.append(float(outputs["loss"]))


def train(folder: Path, out: Path, optimizers: Sequence[str]) -> None:
    """Trains at the post's rate and each finder's median, to three digits; finders that agree share a training."""
    header = ("optimizer", "finder", "lr", "seed", "epochs", "loss_last_epoch", "threads")
    trained = rows(out / "training.csv")
    done = {(row["optimizer"], row["finder"]) for row in trained}
    loss_at = {(row["optimizer"], float(row["lr"])): float(row["loss_last_epoch"]) for row in trained}
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows(out / "suggestions.csv"):
        if row["outputs"] == str(CLASSES) and row["suggestion"]:
            found.setdefault((row["optimizer"], row["finder"]), []).append(float(row["suggestion"]))
    for optimizer in OPTIMIZERS:
        found[optimizer, "post"] = [POST_LR]
    for (optimizer, finder), suggestions in found.items():
        if optimizer not in optimizers or (optimizer, finder) in done:
            continue
        lr = float(f"{statistics.median(suggestions):.3g}")
        if (optimizer, lr) not in loss_at:
            loss_at[optimizer, lr] = last_loss(folder, optimizer, lr)
        new = (optimizer, finder, lr, 0, EPOCHS, loss_at[optimizer, lr], torch.get_num_threads())
        append(out / "training.csv", header, [new])
        print(new, flush=True)


def last_loss(folder: Path, optimizer: str, lr: float) -> float:
    """The mean training loss of the last epoch."""
    model, losses = WoofClassifier(optimizer=optimizer, lr=lr, channels_last=True), LastEpoch()
    trainer(callbacks=[losses], limit_val_batches=0).fit(model, datamodule=ImagewoofDataModule(**settings(folder)))
    return statistics.fmean(losses.losses)


def rows(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def append(file: Path, header: Iterable[str], new: Iterable[Iterable[Any]]) -> None:
    started = file.exists()
    with file.open("a", newline="", encoding="utf-8") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([] if started else [header])
        writer.writerows(new)


def folder_of(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("sweep", "train"))
    parser.add_argument("data", type=Path, help="folder with train/ and val/")
    parser.add_argument("out", type=Path)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, nargs="+", default=OPTIMIZERS)
    options = parser.parse_args()
    quieten_libraries()
    mpl.use("agg")
    {"sweep": sweep, "train": train}[options.what](options.data, folder_of(options.out), options.optimizer)


if __name__ == "__main__":
    main()
