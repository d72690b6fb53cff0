"""Trains the main experiment in every way, each in a process of its own, and notes what validation says.

python docs/results/parity/measure.py demo OUT_FOLDER
python docs/results/parity/measure.py real OUT_FOLDER --data.archive imagewoof2-160.tgz
Options after the folder go to every way. Rows to OUT_FOLDER/rows.csv. Needs the extra `peers`.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from woof_lightning.loops.ways import WAYS, WOOF_FIT
from woof_lightning.runs.folder import RunFolder

HEADER = ("setting", "way", "epochs", "val_loss", "val_acc1", "threads", "torch")
BASE = ["--config", "adamw_onecycle"]
SETTINGS = {
    "demo": [*BASE, "--config", "demo"],
    # fp32, since fastai offers no bf16 on a CPU.
    "real": [
        *(*BASE, "--config", "cpu", "--trainer.precision", "32-true"),
        *("--data.image_size", "64", "--trainer.max_epochs", "2"),
    ],
}


def main() -> None:
    setting, out, options = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    out.mkdir(parents=True, exist_ok=True)
    for way in WAYS:
        run = RunFolder(out / "runs" / f"{setting}-{way}")
        place = ["--runs_dir", str(run.path.parent), "--name", run.path.name, "--resume"]
        woof(*(["fit"] if way == WOOF_FIT else ["loop", way]), *SETTINGS[setting], *place, *options)
        conditions = (torch.get_num_threads(), metadata.version("torch"))
        append(out / "rows.csv", (setting, way, *last_validation(run), *conditions))


def woof(*args: str) -> str:
    command = [sys.executable, "-m", "woof_lightning", *args]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def last_validation(run: RunFolder) -> tuple[Any, ...]:
    """Epochs, loss and top-1 of a run's last validation, every digit."""
    if run.result.exists():
        result = json.loads(run.result.read_text(encoding="utf-8"))
        epochs, found = result["epochs"], result["final"]
    else:  # `lightning` leaves TensorBoard events, whose values are float32: its last weights are validated once more.
        epochs = torch.load(run.last, weights_only=True)["epoch"] + 1
        found = json.loads(woof("validate", "--ckpt", str(run.last), "--out", str(run.path / "validate"), "--json"))
    return epochs, repr(found["val/loss"]), repr(found["val/acc1"])


def append(file: Path, row: tuple[Any, ...]) -> None:
    started = file.exists()
    with file.open("a", newline="", encoding="utf-8") as text:
        csv.writer(text, lineterminator="\n").writerows([row] if started else [HEADER, row])


if __name__ == "__main__":
    main()
