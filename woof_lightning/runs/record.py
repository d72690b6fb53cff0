"""What a run amounts to: its best and last epoch, its time, and where it ran; becomes result.json."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "numpy")


@dataclass
class RunRecord:
    """Gathers an epoch at a time; its state travels in the checkpoint, so that a resumed run goes on with it.

    Args:
        best: The epoch with the highest val/acc1, the earlier of equals; its metrics.
        final: The last validated epoch; its metrics.
        epochs: Epochs done.
        train_s: Time in training and validation, over all sittings.
        elapsed_s: The same at each epoch's end.
        images_per_s: Training speed of each epoch, validation aside.
    """

    best: dict[str, Any] = field(default_factory=dict)
    final: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    train_s: float = 0.0
    elapsed_s: list[float] = field(default_factory=list)
    images_per_s: list[float] = field(default_factory=list)

    def validated(self, epoch: int, metrics: dict[str, Any]) -> None:
        """Notes the validation metrics of an epoch."""
        self.final = {"epoch": epoch, **metrics}
        if not self.best or metrics["val/acc1"] > self.best["val/acc1"]:
            self.best = dict(self.final)

    def epoch_ended(self, epoch: int, elapsed_s: float, images: int, training_s: float) -> None:
        """Notes an epoch's time: all of it, and that of its training steps alone."""
        self.epochs = epoch + 1
        self.train_s += elapsed_s
        self.elapsed_s.append(self.train_s)
        self.images_per_s.append(images / training_s)

    def summary(self, folder: Path) -> str:
        """What was learned, where it is, and how to look at it; without the first if nothing was recorded."""
        where = f"run: {folder}\nlook at it: tensorboard --logdir {folder}"
        if not self.best:
            return where
        best, final = self.best, self.final
        return (
            f"best top-1 {best['val/acc1']:.3f} (epoch {best['epoch'] + 1}), top-5 {best['val/acc5']:.3f}; "
            f"final top-1 {final['val/acc1']:.3f}\n{where}"
        )

    def state_dict(self) -> dict[str, Any]:
        """The state as plain values."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state."""
        for name, value in state.items():
            setattr(self, name, value)

    def cut_to(self, epochs: int) -> None:
        """Forgets all but the first epochs, for a run that goes on before its last checkpoint."""
        if epochs >= self.epochs:
            return
        self.epochs, self.final = epochs, {}
        self.elapsed_s, self.images_per_s = self.elapsed_s[:epochs], self.images_per_s[:epochs]
        self.train_s = self.elapsed_s[-1] if self.elapsed_s else 0.0
        if self.best and self.best["epoch"] >= epochs:
            self.best = {}

    def result(
        self, *, status: str, loop: str, seed: int, data: dict[str, Any], config: dict[str, Any], threads: int
    ) -> dict[str, Any]:
        """The content of result.json.

        Args:
            status: How the run ended.
            loop: Which loop trained it.
            seed: Its seed.
            data: Fingerprint and counts of its images.
            config: Its settings.
            threads: Threads that torch computed with.
        """
        # The first epoch also warms caches up; with one epoch it is all there is.
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
            "versions": versions(),
            "machine": machine(threads),
            "config": config,
        }


def versions(also: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python, of this project, and of the libraries that a result depends on.

    Args:
        also: Further distributions.
    """
    found = {"python": platform.python_version(), "woof_lightning": package_version()}
    for name in (*PACKAGES, *also):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def package_version() -> str:
    """This project's version, with the commit where it runs from a checkout."""
    try:
        version = metadata.version("woof-lightning")
    except metadata.PackageNotFoundError:  # Found by PYTHONPATH.
        version = "not installed"
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return version
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+{commit.stdout.strip()}"


def machine(threads: int) -> dict[str, Any]:
    """What the run was computed on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
    }


def _processor() -> str:
    try:
        found = processor_in(Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found or platform.processor() or "unknown"


def processor_in(cpuinfo: str) -> str | None:
    """The processor that Linux's /proc/cpuinfo names; with family and model, since "AMD EPYC" can be one of a dozen."""
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in cpuinfo.splitlines())}
    name, family, model = (told.get(key) for key in ("model name", "cpu family", "model"))
    return name if name is None or family is None else f"{name} (family {family}, model {model})"
