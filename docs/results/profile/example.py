"""Profiles the training of training.py with `woof profile`, and notes the conditions.

python docs/results/profile/example.py NAME
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from woof_lightning.measure.conditions import add_call
from woof_lightning.runs.record import machine, versions

HERE = Path(__file__).parent
COMMAND = ["woof", "profile", "training:make", "--steps", "600", "--prove"]


def main() -> None:
    """Profiles and notes."""
    name = sys.argv[1]
    words = [sys.executable, "-m", "woof_lightning", *COMMAND[1:], "--out", name, "--overwrite"]
    subprocess.run(words, cwd=HERE, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    call = {"command": " ".join(COMMAND), "date": time.strftime("%Y-%m-%d"), "machine": machine(1)}
    call["versions"] = versions(("lightning", "torchmetrics"))
    add_call(HERE / name / "conditions.json", call, replaces=lambda earlier: earlier["command"].startswith("woof"))


if __name__ == "__main__":
    main()
