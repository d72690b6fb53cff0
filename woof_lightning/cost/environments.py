"""Makes a virtual environment for each framework, so that each starts with nothing but what it needs."""

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

# What every way needs: torch, and the libraries of the recipe and of a run's files.
BASE = ("torch", "torchvision", "tensorboard", "numpy", "pillow", "pyyaml", "tqdm")
# Every new environment contains these.
TOOLS = {"pip", "setuptools", "wheel"}


@dataclass(frozen=True)
class Environment:
    """An environment with one framework.

    Args:
        python: Its interpreter.
        packages: Number of distributions that it has in addition to those of the base.
        installed_mb: Size of their files, in MB.
    """

    python: Path
    packages: int
    installed_mb: float

    def values(self) -> dict[str, float]:
        """Returns what was installed, by measure."""
        return {"packages": float(self.packages), "installed_mb": self.installed_mb}


def make_environments(folder: Path, ways: Iterable[str], report: Callable[[str], None]) -> dict[str, Environment]:
    """Returns an environment for each way. Ways with the same framework share one.

    The packages have the versions of this process's environment.

    Args:
        folder: The folder of the environments. Those that exist with the same versions are used again.
        ways: The names of the ways.
        report: Called with a line of text before each installation.

    Raises:
        UserError: If pip cannot install the packages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pins = folder / "constraints.txt"
    versions = "".join(f"{name}=={version}\n" for name, version in sorted(installed_versions().items()))
    pins.write_text(versions, encoding="utf-8")
    base = installed(folder / "base", BASE, pins, None, report)
    made: dict[tuple[str, ...], Environment] = {(): Environment(python_of(base), 0, 0.0)}
    for way in ways:
        needed = MEASURED[way].way.distributions
        if needed not in made:
            place = installed(folder / "-".join(needed), needed, pins, base, report)
            made[needed] = Environment(python_of(place), *size_of(site_packages(place)))
    return {way: made[MEASURED[way].way.distributions] for way in ways}


def installed(place: Path, needed: Iterable[str], pins: Path, base: Path | None, report: Callable[[str], None]) -> Path:
    """Makes a virtual environment, unless it exists already, and returns its folder.

    Args:
        place: The folder of the environment.
        needed: The distributions to install.
        pins: A file of constraints for pip.
        base: Another environment whose packages are visible in this one.
        report: Called with a line of text before the installation.

    Raises:
        UserError: If pip cannot install the distributions.
    """
    ready, holds = place / ".ready", f"{' '.join(needed)}\n" + pins.read_text(encoding="utf-8")
    if ready.exists() and ready.read_text(encoding="utf-8") == holds:
        return place
    report(f"installing {', '.join(needed)} into {place}")
    venv.create(place, with_pip=True, clear=True)
    if base is not None:
        (site_packages(place) / "base.pth").write_text(f"{site_packages(base)}\n", encoding="utf-8")
    command = [str(python_of(place)), "-m", "pip", "install", "--quiet", "--constraint", str(pins), *needed]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode != 0:
        raise UserError(
            f"pip cannot install {', '.join(needed)} into {place}: expected a network or a package cache; leave the "
            f"group `start` out with --groups\n{done.stderr.strip()[-2000:]}"
        )
    ready.write_text(holds, encoding="utf-8")
    return place


def installed_versions() -> dict[str, str]:
    """Returns the version of every distribution in this process's environment, except this project and TOOLS."""
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    return {name: version for name, version in found.items() if name not in (*TOOLS, "woof-lightning")}


def size_of(place: Path) -> tuple[int, float]:
    """Returns the number of distributions in a folder of packages, without TOOLS, and their size in MB."""
    dists = [d for d in metadata.distributions(path=[str(place)]) if d.metadata["Name"] not in TOOLS]
    files = {Path(str(file.locate())) for dist in dists for file in dist.files or ()}
    return len(dists), sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def python_of(place: Path) -> Path:
    """Returns the interpreter of an environment."""
    return place / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def site_packages(place: Path) -> Path:
    """Returns the folder of packages of an environment, which its own interpreter knows."""
    asked = [str(python_of(place)), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(asked, capture_output=True, encoding="utf-8", check=True).stdout.strip())
