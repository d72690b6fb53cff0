"""The summary of a run in result.json: best and last epoch, times, versions and machine."""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from woof_lightning.resources import usable_cores

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "numpy")


@dataclass
class RunRecord:
    """Collects the results of a run epoch by epoch. Its state is saved in checkpoints, so a resumed run continues it.

    Args:
        best: The epoch with the highest val/acc1, the earliest if several are equal, and its metrics.
        final: The last validated epoch and its metrics.
        epochs: Number of epochs done.
        train_s: Time in training and validation, including the parts before a resume, in s.
        elapsed_s: train_s at the end of each epoch.
        images_per_s: Training speed of each epoch, without validation.
    """

    best: dict[str, Any] = field(default_factory=dict)
    final: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    train_s: float = 0.0
    elapsed_s: list[float] = field(default_factory=list)
    images_per_s: list[float] = field(default_factory=list)

    def validated(self, epoch: int, metrics: dict[str, Any]) -> None:
        """Records the validation metrics of an epoch.

        Args:
            epoch: The epoch, counted from 0.
            metrics: Its metrics, with val/acc1.
        """
        self.final = {"epoch": epoch, **metrics}
        if not self.best or metrics["val/acc1"] > self.best["val/acc1"]:
            self.best = dict(self.final)

    def epoch_ended(self, epoch: int, elapsed_s: float, images: int, training_s: float) -> None:
        """Records the times of an epoch.

        Args:
            epoch: The epoch, counted from 0.
            elapsed_s: Time of its training and validation.
            images: Number of images trained.
            training_s: Time of its training alone.
        """
        self.epochs = epoch + 1
        self.train_s += elapsed_s
        self.elapsed_s.append(self.train_s)
        self.images_per_s.append(images / training_s)

    def summary(self, folder: Path) -> str:
        """Returns text for the terminal: the accuracies, if any were recorded, the folder, and how to view the run."""
        where = f"run: {folder}\nview it with: tensorboard --logdir {shlex.quote(str(folder))}"
        if not self.best:
            return where
        best, final = self.best, self.final
        return (
            f"best top-1 {best['val/acc1']:.3f} (epoch {best['epoch'] + 1}), top-5 {best['val/acc5']:.3f}; "
            f"final top-1 {final['val/acc1']:.3f}\n{where}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as plain values."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state."""
        for name, value in state.items():
            setattr(self, name, value)

    def cut_to(self, epochs: int) -> None:
        """Removes the records of all later epochs, for a run that is resumed before its last checkpoint.

        Args:
            epochs: The number of epochs to keep.
        """
        if epochs >= self.epochs:
            return
        self.epochs, self.final = epochs, {}
        self.elapsed_s, self.images_per_s = self.elapsed_s[:epochs], self.images_per_s[:epochs]
        self.train_s = self.elapsed_s[-1] if self.elapsed_s else 0.0
        if self.best and self.best["epoch"] >= epochs:
            self.best = {}

    def result(
        self,
        *,
        status: str,
        loop: str,
        seed: int,
        data: dict[str, Any],
        loading: dict[str, Any],
        config: dict[str, Any],
        threads: int,
        pretrained: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Returns the content of result.json.

        Args:
            status: How the run ended, such as "finished".
            loop: The name of the loop that trained it.
            seed: The run's seed.
            data: Fingerprint and counts of the images.
            loading: How the images were loaded.
            config: The run's settings.
            threads: The number of threads that torch used.
            pretrained: What the net started from; None if from random weights.
        """
        # The first epoch also fills caches, so it is left out unless it is the only one.
        speeds = self.images_per_s[1:] or self.images_per_s
        return {
            "best": self.best,
            "final": self.final,
            "epochs": self.epochs,
            "train_s": round(self.train_s, 2),
            "elapsed_s": [round(elapsed_s, 2) for elapsed_s in self.elapsed_s],
            "images_per_s": round(statistics.median(speeds), 2) if speeds else None,
            "status": status,
            "loop": loop,
            "seed": seed,
            "data": data,
            "loading": loading,
            "pretrained": pretrained,
            "versions": versions(),
            "machine": machine(threads),
            "config": config,
        }


def versions(also: Iterable[str] = ()) -> dict[str, str]:
    """Returns the versions of Python, of this project, and of the libraries that a result depends on.

    Args:
        also: Names of further distributions. Those that are not installed are skipped.
    """
    found = {"python": platform.python_version(), "woof_lightning": package_version()}
    for name in (*PACKAGES, *also):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def package_version() -> str:
    """Returns this project's version, with the commit if it runs from a git checkout."""
    try:
        version = metadata.version("woof-lightning")
    except metadata.PackageNotFoundError:  # It was imported through PYTHONPATH.
        version = "not installed"
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return version
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty"],
            capture_output=True, encoding="utf-8", timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+{commit.stdout.strip()}"


def machine(threads: int) -> dict[str, Any]:
    """Returns a description of this machine.

    Args:
        threads: The number of threads that torch uses.
    """
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "threads": threads,
    }


def _processor() -> str:
    try:
        found = processor_in(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found or platform.processor() or "unknown"


def processor_in(cpuinfo: str) -> str | None:
    """Returns the name of the processor in Linux's /proc/cpuinfo, or None if it has none.

    Family and model are added, since a name like "AMD EPYC" can mean a dozen processors.

    Args:
        cpuinfo: The content of /proc/cpuinfo.
    """
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in cpuinfo.splitlines())}
    name, family, model = (fields.get(key) for key in ("model name", "cpu family", "model"))
    return name if name is None or family is None else f"{name} (family {family}, model {model})"
