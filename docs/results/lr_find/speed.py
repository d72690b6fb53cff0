"""The time of a sweep's steps beside that of `fit`'s, in turns in one process.

python docs/results/lr_find/speed.py DATA_FOLDER OUT    # rows to OUT/speed.csv; nothing else may run
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.lr_finder import lr_find
from woof_lightning.lit.quiet import quieten_libraries

STEPS, REPEATS = 40, 6


class Timed(WoofClassifier):
    """Notes when each step ends."""

    def __init__(self, **recipe: Any) -> None:
        super().__init__(**recipe)
        self.ends_s: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        self.ends_s.append(time.perf_counter())


def seconds(way: str, folder: Path) -> tuple[float, float]:
    """The time from the first step's end to the last's, and of the whole call."""
    unseen = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            accelerator="cpu",
            precision="32-true",
            use_distributed_sampler=False,
            max_epochs=1,
            limit_train_batches=STEPS,
            limit_val_batches=0,
            default_root_dir=scratch,
            **unseen,  # type: ignore[arg-type]
        )
        model = Timed(channels_last=True)
        data = ImagewoofDataModule(folder=folder, image_size=64, num_workers=1)
        start_s = time.perf_counter()
        if way == "sweep":
            lr_find(model, datamodule=data, trainer=trainer, num_training=STEPS, early_stop_threshold=None)
        else:
            trainer.fit(model, datamodule=data)
        return model.ends_s[-1] - model.ends_s[0], time.perf_counter() - start_s


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    quieten_libraries()
    seconds("fit", folder)
    with (out / "speed.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("repeat", "way", "steps", "steps_s", "call_s"))
        for repeat in range(REPEATS):
            for way in ("sweep", "fit") if repeat % 2 else ("fit", "sweep"):
                row = (repeat, way, STEPS, *(round(value, 3) for value in seconds(way, folder)))
                writer.writerow(row)
                print(row, flush=True)


if __name__ == "__main__":
    main()
