"""Finds a loop by its name."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterable
from types import ModuleType

from woof_lightning.errors import UserError, did_you_mean
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.run import LoopRun
from woof_lightning.loops.ways import LOOPS, WAYS

Train = Callable[[Experiment, LoopRun], None]
INSTALL_PEERS = "install the extra `peers` (pip install 'woof-lightning[peers]', or make setup in the project's folder)"


def find_loop(name: str) -> Train:
    """Returns the `train` function of a loop.

    Raises:
        UserError: If there is no loop of that name, or its packages are not installed.
    """
    if name not in LOOPS:
        raise UserError(f"{name} is no loop; {did_you_mean(name, LOOPS, 'expected ' + ', '.join(LOOPS))}")
    if lacking := packages_lacking([name]):
        raise UserError(f"woof loop {name} needs {', '.join(lacking)}, which is not installed: {INSTALL_PEERS}")
    train: Train = import_quietly(f"woof_lightning.loops.{name}").train
    return train


def packages_lacking(names: Iterable[str]) -> list[str]:
    """Returns the packages of ways that are not installed.

    Args:
        names: The ways.
    """
    packages = {module.partition(".")[0]: None for name in names for module in WAYS[name].entry}
    return [package for package in packages if importlib.util.find_spec(package) is None]


def import_quietly(name: str) -> ModuleType:
    """Imports a module without the deprecation warning of fastai 2.8, which uses torch.jit.script (torch 2.14)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
        return importlib.import_module(name)
