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
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from woof_lightning.cost.plan import GROUPS, LOG_EVERY, OFF, ON
from woof_lightning.cost.ready import NEVER
from woof_lightning.cost.rows import STEP
from woof_lightning.cost.turns import measure_in_turns, pinned
from woof_lightning.measure.conditions import add_command
from woof_lightning.measure.statistics import median_of
from woof_lightning.runs.record import machine, versions

HERE = Path(__file__).parent
# Ways whose modules compute no metrics: those of a module are its own, and a bare loop of `woof cost` has none. The
# lean one without reports, which its module writes itself, so in the copy, too.
WAYS = {"lightning_one_log": ON, "lightning_lean": OFF}
EVERY = {ON: LOG_EVERY, OFF: NEVER}
REPEATS = 4
COLUMNS = ("way", "instrument", "median_us", "low_us", "high_us", "repeats")
SCRIPT = """
from pathlib import Path
from woof_lightning.cost.features import way_named
from woof_lightning.cost.ready import Work
from woof_lightning.runs.folder import RunFolder

run = RunFolder(Path("run"))
run.create()
way_named({way!r}).train(Work("tiny", 8, 2, 20_000, {every}).experiment(), run)
"""


def by_cost(repeat: int) -> dict[str, float]:
    """Returns what each way costs over the bare loop, as `woof cost` measures it, in us a step."""
    wanted = {("bare", OFF), *WAYS.items()}
    # Neither instrument has a terminal.
    cases = [replace(case, terminal=False) for case in GROUPS["fixed"]() if (case.way, case.condition) in wanted]
    rows = measure_in_turns(pinned(cases, 1), "fixed", repeat, print)
    times = {row.way: row.value for row in rows if row.measure == STEP}
    return {way: times[way] - times["bare"] for way in WAYS}


def by_profile(way: str) -> float:
    """Returns what a way costs over a bare loop, by `woof profile`, in us a step."""
    with TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "way.py").write_text(SCRIPT.format(way=way, every=EVERY[WAYS[way]]), encoding="utf-8")
        words = [sys.executable, "-m", "woof_lightning", "profile", "way.py", "--steps", "200"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(words, cwd=here, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, **quiet)  # type: ignore[call-overload]
        profile = json.loads((here / "profile" / "profile.json").read_text(encoding="utf-8"))
        return float(profile["bare"]["saving_us"]["median"])


def main() -> None:
    """Writes what both instruments say."""
    out = HERE / sys.argv[1]
    out.mkdir(exist_ok=True)
    found: dict[tuple[str, str], list[float]] = {}
    for repeat in range(REPEATS):  # In turns: the machine's speed changes over minutes.
        for way, cost_us in by_cost(repeat).items():
            found.setdefault((way, "woof cost"), []).append(cost_us)
            found.setdefault((way, "woof profile"), []).append(by_profile(way))
    rows = [(way, instrument, median_of([values])) for (way, instrument), values in found.items()]
    with (out / "agreement.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for way, instrument, one in sorted(rows, key=lambda row: row[:2]):
            writer.writerow((way, instrument, f"{one.median:.1f}", f"{one.low:.1f}", f"{one.high:.1f}", one.repeats))
    command = f"python docs/results/profile/agreement.py {sys.argv[1]}"
    about = {"machine": machine(1), "versions": versions()}
    add_command(out / "conditions.json", command, about)


if __name__ == "__main__":
    main()
