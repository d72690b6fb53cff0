"""Times two epochs of the plain script and of `woof fit` in turns, with validation and without start-up.

python docs/results/epoch_time/measure.py FOLDER [--repeats 3]

FOLDER is the data set's, with train/ and val/: `woof data --variant 160px` prints it. Nothing else may run. Rows go to
rows.csv beside this file; repeats that are there already are not measured again.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from woof_lightning.measure.conditions import add_call
from woof_lightning.measure.environment import clean_environment
from woof_lightning.measure.machine import machine_id
from woof_lightning.runs.record import machine, versions

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[3]
EPOCHS = 2
COLUMNS = ("way", "repeat", "two_epochs_s", "last_epoch_s", "val_acc1")


def plain(folder: Path, _: Path) -> tuple[list[float], float]:
    """Returns the seconds of each epoch of the plain script, and its last top-1."""
    printed = output_of([sys.executable, str(HERE / "plain.py"), str(folder), str(EPOCHS)])
    found = re.findall(r"epoch \d+: ([\d.]+) s, top-1 ([\d.]+)", printed)
    return [float(epoch_s) for epoch_s, _ in found], float(found[-1][1])


def fit(folder: Path, work: Path) -> tuple[list[float], float]:
    """Returns the seconds of each epoch of `woof fit`, and its last top-1."""
    command = [sys.executable, "-m", "woof_lightning", "fit", "--config", "adamw_onecycle", "--config", "cpu"]
    command += ["--data.folder", str(folder), "--trainer.max_epochs", str(EPOCHS)]
    output_of([*command, "--runs_dir", str(work), "--name", "timed", "--overwrite"])
    result = json.loads((work / "timed" / "result.json").read_text(encoding="utf-8"))
    ends = [0.0, *result["elapsed_s"]]
    return [end - start for start, end in pairwise(ends)], result["final"]["val/acc1"]


def output_of(command: list[str]) -> str:
    """Runs a command in a clean environment and returns what it prints.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True
    ).stdout


def main() -> None:
    """Measures, and writes rows.csv and conditions.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    rows = HERE / "rows.csv"
    if not rows.exists():
        rows.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    with rows.open(newline="", encoding="utf-8") as file:
        done = {(row["way"], int(row["repeat"])) for row in csv.DictReader(file)}
    call = {
        "command": f"python docs/results/epoch_time/measure.py FOLDER --repeats {args.repeats}",
        "machine": machine(0) | {"threads": "one per usable core"},
        "machine_id": machine_id(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(()),
    }
    add_call(HERE / "conditions.json", call)
    with TemporaryDirectory(prefix="woof-timed-") as work:
        for repeat in range(1, args.repeats + 1):
            for way, timed in (("plain", plain), ("fit", fit)):
                if (way, repeat) in done:
                    continue
                epochs_s, top1 = timed(args.folder.resolve(), Path(work))
                with rows.open("a", newline="", encoding="utf-8") as file:
                    row = (way, repeat, f"{sum(epochs_s):.2f}", f"{epochs_s[-1]:.2f}", f"{top1:.4f}")
                    csv.writer(file, lineterminator="\n").writerow(row)
                print(time.strftime("%H:%M:%S"), *row, flush=True)


if __name__ == "__main__":
    main()
