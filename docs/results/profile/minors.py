"""Tries the profiler with earlier minors of Lightning, each in an environment of its own.

python docs/results/profile/minors.py NAME ENVIRONMENTS

This project itself asks for Lightning 2.6, so it is not installed there but found by its path.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from woof_lightning.cost.environments import installed, python_of
from woof_lightning.measure.conditions import add_command
from woof_lightning.runs.record import machine

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MINORS = ("2.4", "2.5", "2.6")
NEEDED = ("torch==2.14.1", "torchvision==0.29.1", "tensorboard", "jsonargparse[signatures]>=4.49,<5", "matplotlib")
COLUMNS = ("lightning", "profiler", "verb")
SCRIPT = """
import sys
from training import make
from woof_lightning.profile.overhead import OverheadProfiler

trainer, module, data = make()
trainer.profiler = OverheadProfiler(sys.argv[1])
trainer.fit(module, data)
shares = {share.name: share for share in trainer.profiler.profile_of_fit.shares}
for name in ("forward", "backward", "optimizer step", "zero_grad", "self.log", "waiting for data", "training_step"):
    assert shares[name].calls == 1 or name == "self.log" and shares[name].calls == 2, (name, shares[name])
    assert shares[name].median_us > 0, name
"""


def environment(minor: str, folder: Path) -> Path:
    """Returns the Python of an environment with a minor of Lightning; makes it if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    pins = folder / "constraints.txt"
    pins.touch()
    return python_of(installed(folder / f"lightning-{minor}", (*NEEDED, f"lightning=={minor}.*"), pins, None, print))


def tried(words: list[str | Path], folder: str) -> str:
    """Returns "works", or the last line of what went wrong."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [*words, folder]
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, encoding="utf-8", check=False)
    if done.returncode == 0 and (Path(folder) / "profile.json").exists():
        return "works"
    return (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]


def main() -> None:
    """Writes what works."""
    out, environments = HERE / sys.argv[1], Path(sys.argv[2]).absolute()
    rows, versions = [], {}
    for minor in MINORS:
        python = environment(minor, environments)
        code = "import json, lightning, torch; print(json.dumps([lightning.__version__, torch.__version__]))"
        told = subprocess.run([python, "-c", code], check=True, capture_output=True, encoding="utf-8").stdout
        lightning, versions["torch"] = json.loads(told.splitlines()[-1])
        versions[f"lightning {minor}"] = lightning
        verb: list[str | Path] = [python, "-m", "woof_lightning", "profile", "training:make", "--steps", "60", "--out"]
        with TemporaryDirectory() as first, TemporaryDirectory() as second:
            rows.append((lightning, tried([python, "-c", SCRIPT], first), tried(verb, second)))
    out.mkdir(exist_ok=True)
    with (out / "minors.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    command = f"python docs/results/profile/minors.py {sys.argv[1]} ENVIRONMENTS"
    add_command(out / "conditions.json", command, {"machine": machine(1), "versions": versions})


if __name__ == "__main__":
    main()
