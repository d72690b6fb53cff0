"""Measures the same ways with `woof cost` and with `woof profile`: both should say what Lightning costs.

python docs/results/profile/agreement.py NAME

`woof cost` compares ways in processes of their own, `woof profile` a module with its copy in one training.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from woof_lightning.cost.rows import RowsFile
from woof_lightning.measure.conditions import add_call
from woof_lightning.measure.statistics import Estimate, median_of
from woof_lightning.runs.record import machine, versions

HERE = Path(__file__).parent
# Ways whose modules compute no metrics: those of a module are its own, and a bare loop of `woof cost` has none.
WAYS = ("lightning_one_log", "lightning_lean")
REPEATS = 10
COLUMNS = ("way", "instrument", "median_us", "low_us", "high_us", "repeats")
SCRIPT = """
from pathlib import Path
from woof_lightning.cost.features import way_named
from woof_lightning.cost.ready import Work
from woof_lightning.runs.folder import RunFolder

run = RunFolder(Path("run"))
run.create()
way_named({way!r}).train(Work("tiny", 8, 2, 20_000, 10).experiment(), run)
"""


def by_cost(folder: Path) -> dict[str, Estimate]:
    """Returns what each way costs over the bare loop, by `woof cost`, in us a step."""
    options = ["--groups", "fixed", "--repeats", str(REPEATS), "--out", str(folder)]
    subprocess.run([sys.executable, "-m", "woof_lightning", "cost", *options], check=True)
    times = {
        (row.way, row.condition, row.repeat): row.value
        for row in RowsFile(folder / "rows.csv").read()
        if row.measure == "step_us"
    }
    return {
        way: median_of([[times[way, "on", repeat] - times["bare", "off", repeat] for repeat in range(REPEATS)]])
        for way in WAYS
    }


def by_profile(way: str, folder: Path) -> Estimate:
    """Returns what a way costs over a bare loop, by `woof profile`: the median of some calls, in us a step."""
    found = []
    for repeat in range(REPEATS):
        here = folder / f"{way}-{repeat}"
        here.mkdir()
        (here / "way.py").write_text(SCRIPT.format(way=way))
        words = [sys.executable, "-m", "woof_lightning", "profile", "way.py", "--steps", "200"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(words, cwd=here, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, **quiet)  # type: ignore[call-overload]
        found.append(json.loads((here / "profile" / "profile.json").read_text())["bare"]["saving_us"]["median"])
    return median_of([found])


def main() -> None:
    """Writes what both instruments say."""
    out = HERE / sys.argv[1]
    out.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        rows = [("woof profile", way, by_profile(way, Path(folder))) for way in WAYS]
        rows += [("woof cost", way, found) for way, found in by_cost(Path(folder, "cost")).items()]
    with (out / "agreement.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for instrument, way, found in sorted(rows, key=lambda row: (row[1], row[0])):
            writer.writerow(
                (way, instrument, f"{found.median:.1f}", f"{found.low:.1f}", f"{found.high:.1f}", found.repeats)
            )
    command = f"python docs/results/profile/agreement.py {sys.argv[1]}"
    call = {"command": command, "date": time.strftime("%Y-%m-%d"), "machine": machine(1)}
    call["versions"] = versions(("lightning", "torchmetrics"))
    add_call(out / "conditions.json", call, replaces=lambda earlier: earlier["command"] == command)


if __name__ == "__main__":
    main()
