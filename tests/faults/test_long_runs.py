"""A long training on a tiny net: no growth, no slowing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STEPS, WARMUP, WINDOW = 50_000, 5_000, 5_000
MOST_GROWTH_MB = 20
# Prints memory (MB), open files and the time of a window of steps (s), after the warm-up and at the end.
CODE = f"""
import json, os, sys, time, torch
from pathlib import Path
from lightning.pytorch import Callback
from woof_lightning.cost import ways
from woof_lightning.cost.ready import Work
from woof_lightning.lit import trainer
from woof_lightning.runs.folder import RunFolder

class Look(Callback):
    seen, start_s = [], 0.0
    def on_train_batch_end(self, trainer, *args):
        step = trainer.global_step
        if step in ({WARMUP}, {STEPS - WINDOW}):
            self.start_s = time.perf_counter()
        if step in ({WARMUP + WINDOW}, {STEPS}):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            files = len(os.listdir("/proc/self/fd"))
            self.seen.append((pages * os.sysconf("SC_PAGE_SIZE") / 1e6, files, time.perf_counter() - self.start_s))

torch.set_num_threads(1)
look, real = Look(), ways.woof_fit
import woof_lightning.lit.trainer as lit_trainer
given = lit_trainer.run_callbacks
lit_trainer.run_callbacks = lambda *args, **options: [*given(*args, save_every=1000, **options), look]
run = RunFolder(Path(sys.argv[1]))
run.create()
real(Work(arch="tiny", image_size=8, batch_size=2, steps={STEPS}, log_every_n_steps=10).experiment(), run)
print(json.dumps(look.seen))
"""


@pytest.mark.slow
@pytest.mark.process
def test_fifty_thousand_steps_neither_grow_nor_slow_down(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "run")], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    (early_mb, early_files, early_s), (late_mb, late_files, late_s) = json.loads(done.stdout.splitlines()[-1])
    print(f"memory {early_mb:.0f} to {late_mb:.0f} MB, files {early_files} to {late_files}")
    print(f"{WINDOW} steps: {early_s:.1f}, then {late_s:.1f} s")
    assert late_mb - early_mb < MOST_GROWTH_MB
    assert late_files <= early_files
    # The machine itself may be this much slower at one time than at another.
    assert late_s < 1.5 * early_s
