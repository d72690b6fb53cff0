"""A virtual environment for each framework, so that nothing but what it needs is there when it starts."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from woof_lightning.cost.ways import MEASURED
from woof_lightning.errors import UserError

# What every way needs: torch, and what the recipe and a run's files are made with.
BASE = ("torch", "torchvision", "tensorboard", "numpy", "pillow", "pyyaml", "tqdm")
# A new environment holds these, whatever is installed into it.
TOOLS = {"pip", "setuptools", "wheel"}


@dataclass(frozen=True)
class Environment:
    """An environment with one framework.

    Args:
        python: Its interpreter.
        packages: Distributions in it beyond those of the base.
        installed_mb: The size of their files.
    """

    python: Path
    packages: int
    installed_mb: float

    def values(self) -> dict[str, float]:
        """What was installed, by measure."""
        return {"packages": float(self.packages), "installed_mb": self.installed_mb}


def make_environments(folder: Path, ways: Iterable[str], told: Callable[[str], None]) -> dict[str, Environment]:
    """An environment for each way, with the versions that this process has; ways of one framework share theirs.

    Args:
        folder: Where they are made; what is there with the same versions is used again.
        ways: Their names.
        told: Is told of each installation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pins = folder / "constraints.txt"
    pins.write_text("".join(f"{name}=={version}\n" for name, version in sorted(installed_versions().items())))
    base = installed(folder / "base", BASE, pins, None, told)
    made: dict[tuple[str, ...], Environment] = {(): Environment(python_of(base), 0, 0.0)}
    for way in ways:
        needed = MEASURED[way].way.distributions
        if needed not in made:
            place = installed(folder / "-".join(needed), needed, pins, base, told)
            made[needed] = Environment(python_of(place), *size_of(site_packages(place)))
    return {way: made[MEASURED[way].way.distributions] for way in ways}


def installed(place: Path, needed: Iterable[str], pins: Path, base: Path | None, told: Callable[[str], None]) -> Path:
    """A virtual environment with some distributions; those of the base environment are seen in it too.

    Raises:
        UserError: When pip cannot install them.
    """
    ready, holds = place / ".ready", f"{' '.join(needed)}\n{pins.read_text()}"
    if ready.exists() and ready.read_text() == holds:
        return place
    told(f"installing {', '.join(needed)} into {place}")
    venv.create(place, with_pip=True, clear=True)
    if base is not None:
        (site_packages(place) / "base.pth").write_text(f"{site_packages(base)}\n")
    command = [str(python_of(place)), "-m", "pip", "install", "--quiet", "--constraint", str(pins), *needed]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(
            f"pip cannot install {', '.join(needed)} into {place}: expected a network or a package cache; leave the "
            f"group `start` out with --groups\n{done.stderr.strip()[-2000:]}"
        )
    ready.write_text(holds)
    return place


def installed_versions() -> dict[str, str]:
    """The versions of everything in this process's environment, this project aside."""
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    return {name: version for name, version in found.items() if name not in (*TOOLS, "woof-lightning")}


def size_of(place: Path) -> tuple[int, float]:
    """How many distributions a folder of packages holds, tools aside, and their size in MB."""
    dists = [d for d in metadata.distributions(path=[str(place)]) if d.metadata["Name"] not in TOOLS]
    files = {Path(str(file.locate())) for dist in dists for file in dist.files or ()}
    return len(dists), sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def python_of(place: Path) -> Path:
    """An environment's interpreter."""
    return place / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def site_packages(place: Path) -> Path:
    """An environment's folder of packages, as its own interpreter says."""
    asked = [str(python_of(place)), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
