"""The ways to train: one list for the command, the comparison to the bit, and the measurement of their cost.

`woof_fit` is what `woof fit` runs (`lit/`). Every other way is a module of this folder with that name.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from woof_lightning.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from woof_lightning.loops.experiment import Experiment
    from woof_lightning.loops.run import LoopRun

REFERENCE = "bare"
WOOF_FIT = "woof_fit"


@dataclass(frozen=True)
class Way:
    """One way to train.

    Args:
        label: What figures and tables call it.
        files: What a person writes for it, relative to the package.
        distributions: What to install for it beside torch, torchvision and tensorboard.
        packages: The import names of its framework.
        entry: The modules of its framework that a script imports first.
    """

    label: str
    files: tuple[str, ...]
    distributions: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    entry: tuple[str, ...] = ()


LIGHTNING: dict[str, Any] = {
    "distributions": ("lightning",),
    "packages": ("lightning", "lightning_utilities", "torchmetrics"),
    "entry": ("lightning.pytorch",),
}
WAYS: dict[str, Way] = {
    REFERENCE: Way("the bare loop", ("loops/bare.py",)),
    "lightning": Way("Lightning, as documented", ("loops/lightning.py",), **LIGHTNING),
    "hand_rolled": Way(
        "the post's loop",
        ("loops/hand_rolled.py",),
        ("pytorch-nn-tools", "fastprogress"),
        ("pytorch_nn_tools", "fastprogress"),
        ("pytorch_nn_tools.train.checkpoint", "fastprogress.fastprogress"),
    ),
    "fabric": Way(
        "Fabric", ("loops/fabric.py",), ("lightning",), ("lightning", "lightning_fabric"), ("lightning.fabric",)
    ),
    "accelerate": Way("Accelerate", ("loops/accelerate.py",), ("accelerate",), ("accelerate",), ("accelerate",)),
    "ignite": Way("Ignite", ("loops/ignite.py",), ("pytorch-ignite",), ("ignite",), ("ignite.engine",)),
    "fastai": Way(
        "fastai", ("loops/fastai.py",), ("fastai",), ("fastai", "fastcore", "fastprogress"), ("fastai.learner",)
    ),
    # Batches come from elsewhere in every way: no datamodule counts.
    WOOF_FIT: Way("woof fit", ("lit/classifier.py",), **LIGHTNING),
}
LOOPS = tuple(name for name in WAYS if name != WOOF_FIT)
# Every name that stands in a table or a figure, with its label; the others are variants that `woof cost` measures.
LABELS = {name: way.label for name, way in WAYS.items()} | {
    "bare_again": "the bare loop again (noise)",
    "bare_early_zero_grad": "the bare loop, gradients freed earlier",
    "lightning_off": "Lightning's Trainer, all off",
    "lightning_barebones": "Lightning's Trainer, barebones",
    "lightning_barebones_no_search": "barebones, no driver search",
    # What `lightning` was called in rows that were measured before it became a loop of its own.
    "lightning_usual": "Lightning, as in tutorials",
}


def find_loop(name: str) -> Callable[[Experiment, LoopRun], None]:
    """Returns the `train` function of a loop.

    Raises:
        UserError: If there is no loop of that name, or its packages are not installed.
    """
    if name not in LOOPS:
        near = difflib.get_close_matches(name, LOOPS, n=1)
        raise UserError(f"{name} is no loop; {f'did you mean {near[0]}?' if near else 'expected ' + ', '.join(LOOPS)}")
    for package in {module.partition(".")[0]: None for module in WAYS[name].entry}:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"woof loop {name} needs {package}, which is not installed: install the extra `peers` "
                "(pip install 'woof-lightning[peers]', or make setup in the project's folder)"
            )
    train: Callable[[Experiment, LoopRun], None] = import_quietly(f"woof_lightning.loops.{name}").train
    return train


def import_quietly(name: str) -> ModuleType:
    """Imports a module without the warning of fastai 2.8, which calls what torch 2.14 deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
        return importlib.import_module(name)
