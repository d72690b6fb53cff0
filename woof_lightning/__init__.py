"""Imagewoof trained the Lightning way, beside other loops on the same recipe.

The names below are imported when they are asked for: `import woof_lightning` alone loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from woof_lightning.lit.callbacks.checkpoints import DurableCheckpointIO as DurableCheckpointIO
    from woof_lightning.lit.callbacks.stopping import NonFiniteLossGuard as NonFiniteLossGuard
    from woof_lightning.lit.callbacks.stopping import SaveEvery as SaveEvery
    from woof_lightning.lit.callbacks.stopping import StopOnSignal as StopOnSignal
    from woof_lightning.lit.classifier import WoofClassifier as WoofClassifier
    from woof_lightning.lit.datamodule import ImagewoofDataModule as ImagewoofDataModule
    from woof_lightning.lit.lr_finder import lr_find as lr_find
    from woof_lightning.profile.overhead import OverheadProfiler as OverheadProfiler
    from woof_lightning.recipe.checkpoint import load_net as load_net

_MODULES = {
    "DurableCheckpointIO": "lit.callbacks.checkpoints",
    "ImagewoofDataModule": "lit.datamodule",
    "NonFiniteLossGuard": "lit.callbacks.stopping",
    "OverheadProfiler": "profile.overhead",
    "SaveEvery": "lit.callbacks.stopping",
    "StopOnSignal": "lit.callbacks.stopping",
    "WoofClassifier": "lit.classifier",
    "load_net": "recipe.checkpoint",
    "lr_find": "lit.lr_finder",
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("woof-lightning")
    if name in _MODULES:
        return getattr(importlib.import_module(f"woof_lightning.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
