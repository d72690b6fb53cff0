"""Profiles the training of training.py with `woof profile`, and notes the conditions.

python docs/results/profile/example.py NAME
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from woof_lightning.measure.conditions import add_command
from woof_lightning.runs.record import machine, versions

HERE = Path(__file__).parent
COMMAND = ["woof", "profile", "training:make", "--steps", "600", "--prove"]


def main() -> None:
    """Profiles and notes."""
    name = sys.argv[1]
    words = [sys.executable, "-m", "woof_lightning", *COMMAND[1:], "--out", name, "--overwrite"]
    subprocess.run(words, cwd=HERE, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    about = {"machine": machine(1), "versions": versions()}
    add_command(HERE / name / "conditions.json", " ".join(COMMAND), about, instead_of="woof profile")


if __name__ == "__main__":
    main()
