"""Trains the main experiment with every loop, each in a process of its own, and notes what validation says.

python docs/results/parity/measure.py demo OUT_FOLDER
python docs/results/parity/measure.py real OUT_FOLDER --data.archive imagewoof2-160.tgz
Options after the folder go to every loop. Rows to OUT_FOLDER/rows.csv. Needs the extra `peers`.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

from woof_lightning.loops.ways import WAYS, WOOF_FIT

BASE = ["--config", "configs/adamw_onecycle.yaml"]
SETTINGS = {
    "demo": [*BASE, "--config", "configs/demo.yaml"],
    # fp32, since fastai offers no bf16 on a CPU.
    "real": [
        *(*BASE, "--config", "configs/cpu.yaml", "--trainer.precision", "32-true"),
        *("--data.image_size", "64", "--trainer.max_epochs", "2"),
    ],
}


def main() -> None:
    setting, out, options = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    out.mkdir(parents=True, exist_ok=True)
    for way in WAYS:
        if way == "lightning":  # It leaves TensorBoard events, whose values are float32.
            continue
        verb = ["fit"] if way == WOOF_FIT else ["loop", way]
        name = f"{setting}-{way}"
        place = ["--runs_dir", str(out / "runs"), "--name", name, "--resume"]
        subprocess.run(
            [sys.executable, "-m", "woof_lightning", *verb, *SETTINGS[setting], *place, *options], check=True
        )
        result = json.loads((out / "runs" / name / "result.json").read_text())
        started = (out / "rows.csv").exists()
        with (out / "rows.csv").open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows(
                [] if started else [("setting", "way", "epochs", "val_loss", "val_acc1", "threads", "torch")]
            )
            final = result["final"]
            measured = (repr(final["val/loss"]), repr(final["val/acc1"]))
            writer.writerow(
                (setting, way, result["epochs"], *measured, result["machine"]["threads"], result["versions"]["torch"])
            )


if __name__ == "__main__":
    main()
