"""The list of the ways to train, which the command, `woof loop --check` and `woof cost` share.

The way `woof_fit` is what `woof fit` runs (`lit/`). Every other way is the module of that name in this folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

REFERENCE = "bare"
WOOF_FIT = "woof_fit"


@dataclass(frozen=True)
class Way:
    """One way to train.

    Args:
        label: Its name in figures and tables.
        files: The files that a user would write for it, relative to the package.
        distributions: What to install for it besides torch, torchvision and tensorboard.
        packages: The import names of its framework.
        entry: The modules of its framework that a script imports first.
        several_devices: Whether it can train on several devices.
    """

    label: str
    files: tuple[str, ...]
    distributions: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    entry: tuple[str, ...] = ()
    several_devices: bool = False


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
        "Fabric",
        ("loops/fabric.py",),
        ("lightning",),
        ("lightning", "lightning_fabric"),
        ("lightning.fabric",),
        several_devices=True,
    ),
    "accelerate": Way(
        "Accelerate",
        ("loops/accelerate.py",),
        ("accelerate",),
        ("accelerate",),
        ("accelerate",),
        several_devices=True,
    ),
    "ignite": Way("Ignite", ("loops/ignite.py",), ("pytorch-ignite",), ("ignite",), ("ignite.engine",)),
    "fastai": Way(
        "fastai", ("loops/fastai.py",), ("fastai",), ("fastai", "fastcore", "fastprogress"), ("fastai.learner",)
    ),
    # Without lit/datamodule.py: no way's files include its data loading.
    WOOF_FIT: Way("woof fit", ("lit/classifier.py",), **LIGHTNING, several_devices=True),
}
SEVERAL_DEVICES = tuple(name for name, way in WAYS.items() if way.several_devices)
LOOPS = tuple(name for name in WAYS if name != WOOF_FIT)
# The label of every name in tables and figures. The names that are not in WAYS are variants that `woof cost` measures.
LABELS = {name: way.label for name, way in WAYS.items()} | {
    "bare_again": "the bare loop again (noise)",
    "lightning_one_log": "Lightning, one self.log",
    "lightning_lean": "Lightning, lean",
    "lightning_barebones": "Lightning, barebones",
    "lightning_barebones_no_search": "Lightning, barebones, no driver search",
}
