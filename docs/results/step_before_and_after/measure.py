"""Measures a step of `woof fit` with two versions of this project, interleaved: an earlier one, and this one twice.

`python docs/results/step_before_and_after/measure.py EARLIER [REPEATS]`, on a free machine. EARLIER is a checkout.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from woof_lightning.cost.measurement import FRAMEWORKS, check_free
from woof_lightning.cost.plan import ON, tiny
from woof_lightning.cost.rows import RowsFile
from woof_lightning.cost.turns import measure_in_turns, pinned
from woof_lightning.measure.machine import machine_id
from woof_lightning.runs.record import machine, versions

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BEFORE, AFTER, AGAIN = "before", "after", "after, again"
WAY = "woof_fit"


def commit_of(checkout: Path) -> str:
    """Returns the commit of a checkout."""
    asked = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, encoding="utf-8", check=True).stdout.strip()


def main(earlier: Path, repeats: int) -> None:
    """Measures in blocks in which each version takes turns, and writes rows.csv and conditions.json."""
    places = {BEFORE: earlier.absolute(), AFTER: ROOT, AGAIN: ROOT}
    cases = [
        replace(tiny(WAY, ON), condition=condition, variables=(("PYTHONPATH", str(place)),))
        for condition, place in places.items()
    ]
    check_free()
    about = {"machine": machine(1), "machine_id": machine_id(), "versions": versions(FRAMEWORKS)}
    compared = {BEFORE: commit_of(earlier), AFTER: commit_of(ROOT)}
    conditions = json.dumps({**about, "compared": compared}, indent=2)
    (HERE / "conditions.json").write_text(conditions + "\n", encoding="utf-8")
    for repeat in range(repeats):
        rows = measure_in_turns(pinned(cases, 1), "step_before_and_after", repeat, functools.partial(print, flush=True))
        RowsFile(HERE / "rows.csv").append(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 12)
