"""Finds a loop by its name."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from types import ModuleType

from woof_lightning.errors import UserError, did_you_mean
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.run import LoopRun
from woof_lightning.loops.ways import LOOPS, WAYS

Train = Callable[[Experiment, LoopRun], None]


def find_loop(name: str) -> Train:
    """Returns the `train` function of a loop.

    Raises:
        UserError: If there is no loop of that name, or its packages are not installed.
    """
    if name not in LOOPS:
        raise UserError(f"{name} is no loop; {did_you_mean(name, LOOPS, 'expected ' + ', '.join(LOOPS))}")
    for package in {module.partition(".")[0]: None for module in WAYS[name].entry}:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"woof loop {name} needs {package}, which is not installed: install the extra `peers` "
                "(pip install 'woof-lightning[peers]', or make setup in the project's folder)"
            )
    train: Train = import_quietly(f"woof_lightning.loops.{name}").train
    return train


def import_quietly(name: str) -> ModuleType:
    """Imports a module without the deprecation warning of fastai 2.8, which uses torch.jit.script (torch 2.14)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
        return importlib.import_module(name)
