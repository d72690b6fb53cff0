"""Compares ways to fine-tune on 300 photos: the measurement behind the defaults of configs/finetune.yaml.

`python docs/results/finetune/measure.py DATA OUT`: about an hour on 2 cores with bf16. DATA is the folder
imagewoof2-160, as `woof data --variant 160px` leaves it. For each seed a ResNet-18 is trained from scratch on seven
breeds at 64 px, in bf16. From it, each variant is trained on 100 images of each of the other three breeds, and
validated on all validation images of these. A seed leaves out other breeds, and draws other images. OUT keeps the
runs, so that a call that was stopped goes on where it was; rows.csv and conditions.json are written beside this file,
or into OUT with --tiny.

--tiny tries everything in a few minutes, with one seed, few images and few epochs. Its figures mean nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from woof_lightning.measure.conditions import add_call
from woof_lightning.measure.machine import machine_id
from woof_lightning.runs.record import machine, versions

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
LEFT_OUT = 3


@dataclass(frozen=True)
class Size:
    """How much is trained.

    Args:
        own_images: Training images of each breed that is fine-tuned on.
        before_epochs: Epochs of the training that comes before.
        epochs: Epochs of each fine-tuning.
        image_size: px.
        limit: Batches per epoch and per validation of all trainings; none is all of them.
    """

    own_images: int = 100
    before_epochs: int = 20
    epochs: int = 20
    image_size: int = 64
    limit: int | None = None


TINY = Size(own_images=12, before_epochs=1, epochs=4, image_size=32, limit=2)


@dataclass(frozen=True)
class Variant:
    """A way to train on the three breeds.

    Args:
        lr: model.lr, of the head.
        factor: model.backbone_lr_factor.
        frozen: model.freeze_epochs.
        smoothing: model.label_smoothing.
        scratch: Whether it starts from random weights.
    """

    lr: float
    factor: float = 1.0
    frozen: int = 0
    smoothing: float = 0.0
    scratch: bool = False

    @property
    def name(self) -> str:
        """Its name in rows and folders."""
        start = "scratch" if self.scratch else "tuned"
        return f"{start}-lr{self.lr}-factor{self.factor}-frozen{self.frozen}-smoothing{self.smoothing}"


def variants(epochs: int) -> list[Variant]:
    """Returns what is compared.

    Args:
        epochs: Epochs of each; a backbone that is frozen in all of them is never trained.
    """
    return [
        *(Variant(lr, scratch=True) for lr in (0.005, 0.02)),
        *(Variant(lr) for lr in (0.001, 0.005, 0.02)),
        *(Variant(0.005, 0.1, frozen, smoothing) for frozen in (0, 1, 3) for smoothing in (0.0, 0.1)),
        *(Variant(lr, 0.1, 1, 0.1) for lr in (0.001, 0.02)),
        Variant(0.005, 0.1, epochs),
    ]


def link(source: Path, target: Path, breeds: list[str], most: int | None, seed: int) -> None:
    """Makes a folder for data.folder of links to the breeds, with at most so many training images of each, drawn."""
    if target.exists():
        return
    shutil.rmtree(partial := target.with_name(f"{target.name}.partial"), ignore_errors=True)
    for split in ("train", "val"):
        for breed in breeds:
            files = sorted((source / split / breed).iterdir())
            if split == "train" and most is not None:
                files = random.Random(f"{seed} {breed}").sample(files, most)
            (partial / split / breed).mkdir(parents=True)
            for file in files:
                (partial / split / breed / file.name).symlink_to(file.resolve())
    partial.rename(target)


def fit(folder: Path, size: Size, epochs: int, seed: int, data: Path, *options: str) -> dict[str, Any]:
    """Trains with `woof fit`, unless the run is finished, and returns its result.json."""
    result = folder / "result.json"
    if not result.exists():
        limits = [f"--trainer.limit_{split}_batches={size.limit}" for split in ("train", "val") if size.limit]
        words = [
            *(sys.executable, "-m", "woof_lightning", "fit", "--runs_dir", str(folder.parent), "--name", folder.name),
            *("--data.folder", str(data), f"--data.image_size={size.image_size}", "--data.batch_size=32"),
            *("--data.eval_batch_size=64", "--model.channels_last=true", "--trainer.accelerator=cpu"),
            "--trainer.precision=bf16-mixed",
            *(f"--trainer.max_epochs={epochs}", f"--seed_everything={seed}", "--trainer.enable_progress_bar=false"),
            *limits,
            *options,
            "--resume",
        ]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def rows_of_seed(source: Path, out: Path, size: Size, seed: int) -> list[dict[str, Any]]:
    """Trains all of a seed and returns its rows."""
    breeds = sorted(folder.name for folder in (source / "train").iterdir() if folder.is_dir())
    own = breeds[seed * LEFT_OUT : (seed + 1) * LEFT_OUT]
    folders = {name: out / f"{name}-{seed}" for name in ("others", "own")}
    link(source, folders["others"], [breed for breed in breeds if breed not in own], None, seed)
    link(source, folders["own"], own, size.own_images, seed)
    before = out / f"before-{seed}"
    options = ["--data.batch_size=128", "--model.lr=0.02"]
    trained = fit(before, size, size.before_epochs, seed, folders["others"], *options)
    print(f"seed {seed}: top-1 {trained['final']['val/acc1']:.3f} on the {len(breeds) - LEFT_OUT} others", flush=True)
    rows = []
    for variant in variants(size.epochs):
        start = [] if variant.scratch else [f"--model.weights={before}", f"--model.freeze_epochs={variant.frozen}"]
        start += [f"--model.backbone_lr_factor={variant.factor}", f"--model.label_smoothing={variant.smoothing}"]
        run = out / f"{variant.name}-seed{seed}"
        result = fit(run, size, size.epochs, seed, folders["own"], f"--model.lr={variant.lr}", *start)
        row = {
            "variant": variant.name,
            "seed": seed,
            **asdict(variant),
            "own": " ".join(own),
            "acc1": result["final"]["val/acc1"],
            "best_acc1": result["best"]["val/acc1"],
            "loss": result["final"]["val/loss"],
            "train_s": result["train_s"],
            "before_acc1": trained["final"]["val/acc1"],
            "val_images": result["data"]["val"],
        }
        rows.append(row)
        print(f"seed {seed}: top-1 {row['acc1']:.3f}  {variant.name}", flush=True)
    return rows


def main() -> None:
    """Trains all seeds and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    size, place = (TINY, options.out) if options.tiny else (Size(), HERE)
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in SEEDS[:1] if options.tiny else SEEDS:
        rows += rows_of_seed(options.data, options.out, size, seed)
        with (place / "rows.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    call = {
        "command": "python docs/results/finetune/measure.py DATA OUT",
        "date": time.strftime("%Y-%m-%d"),
        "size": asdict(size),
        "machine": machine(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))),
        "machine_id": machine_id(),
        "versions": versions(),
    }
    add_call(place / "conditions.json", call, replaces=lambda earlier: True)


if __name__ == "__main__":
    main()
