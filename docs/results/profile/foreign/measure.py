"""Installs packages that ship a LightningModule, each in an environment of its own, and profiles one module of each.

python docs/results/profile/foreign/measure.py NAME ENVIRONMENTS
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from woof_lightning.cost.environments import installed, python_of
from woof_lightning.measure.conditions import add_command
from woof_lightning.runs.record import machine

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
COMMON = ("torch==2.14.1", "torchvision==0.29.1", "lightning==2.6.6")


@dataclass(frozen=True)
class Foreign:
    """A package, and what it needs beyond what it asks for.

    Args:
        package: Its name in the index.
        training: What `woof profile` takes.
        needs: What it imports and does not ask for.
    """

    package: str
    training: str
    needs: tuple[str, ...] = ()


# By the file that trains one of its modules.
FOREIGN = {
    "tft": Foreign("pytorch-forecasting", "tft:make"),
    "uncertainty": Foreign("torch-uncertainty", "uncertainty:make", ("rich", "scikit-learn", "timm")),
    "chemistry": Foreign("chemprop", "chemistry:make"),
    "physics": Foreign("pina-mathlab", "physics.py"),
    "cells": Foreign("scvi-tools", "cells.py"),
    "earth": Foreign("torchgeo", "earth:make", ("requests",)),
    "tabular": Foreign("pytorch-tabular", "tabular.py", ("requests",)),
    "forecasts": Foreign("neuralforecast", "forecasts.py"),
}


def environment(package: Foreign, folder: Path) -> Path:
    """Returns the Python of an environment with a package, this project, and Lightning; makes it if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    pins = folder / "constraints.txt"
    pins.write_text("".join(f"{pin}\n" for pin in COMMON), encoding="utf-8")
    wanted = (*COMMON, package.package, *package.needs, "--editable", str(ROOT))
    return python_of(installed(folder / package.package, wanted, pins, None, print))


def version_of(python: Path, package: str) -> str:
    """Returns the version of a package in an environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, encoding="utf-8").stdout.strip()


def main() -> None:
    """Profiles each and notes the conditions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the folder for the rows: the kind of processor")
    parser.add_argument("environments", type=Path, help="a folder for the environments: 3 GB each")
    parser.add_argument("--only", nargs="+", choices=list(FOREIGN), default=list(FOREIGN))
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    out = HERE.parent / options.name / "foreign"
    for name in options.only:
        package = FOREIGN[name]
        python = environment(package, options.environments.absolute())
        command = ["profile", package.training, "--steps", str(options.steps), "--prove"]
        words: list[str | Path] = [python, "-m", "woof_lightning", *command, "--out", str(out / name), "--overwrite"]
        with TemporaryDirectory() as folder:  # What the training writes is no result.
            shutil.copy(HERE / f"{name}.py", folder)
            done = subprocess.run(words, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
        if done.returncode:
            print(f"{package.package}: exit code {done.returncode}", file=sys.stderr)
            continue
        profiled = json.loads((out / name / "profile.json").read_text(encoding="utf-8"))["about"]
        versions = {package.package: version_of(python, package.package)}
        versions |= {library: profiled[library] for library in ("lightning", "torch")}
        about = {"machine": machine(1), "versions": versions}
        add_command(out / "conditions.json", f"woof {' '.join(command)}", about)


if __name__ == "__main__":
    main()
