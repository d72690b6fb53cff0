"""Measures ways with the variable that `import lightning` sets, as their processes once inherited it, and without.

`python docs/results/inherited_variable/measure.py [REPEATS]`, on a free machine.
"""

from __future__ import annotations

import functools
import json
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
CLEAN, INHERITED = "clean", "inherited"
VARIABLE = ("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
WAYS = ("bare", "hand_rolled", "fabric", "accelerate", "ignite", "fastai", "lightning", "woof_fit")


def main(repeats: int) -> None:
    """Measures in blocks in which every way is there twice, and writes rows.csv and conditions.json."""
    variables = {CLEAN: (), INHERITED: (VARIABLE,)}
    cases = [
        replace(tiny(way, ON), condition=condition, variables=added)
        for way in WAYS
        for condition, added in variables.items()
    ]
    check_free()
    conditions = {"machine": machine(1), "machine_id": machine_id(), "versions": versions(FRAMEWORKS)}
    (HERE / "conditions.json").write_text(json.dumps(conditions, indent=2) + "\n", encoding="utf-8")
    for repeat in range(repeats):
        rows = measure_in_turns(pinned(cases, 1), "inherited_variable", repeat, functools.partial(print, flush=True))
        RowsFile(HERE / "rows.csv").append(rows)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
