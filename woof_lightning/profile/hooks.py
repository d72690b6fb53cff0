"""The hooks of a training step that nobody has filled, which Lightning calls all the same."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

# Lightning's two packages, which have the same classes.
PACKAGES = ("lightning.pytorch", "pytorch_lightning")
STEP_HOOKS = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad"),
    *("on_before_backward", "on_after_backward", "on_before_optimizer_step"),
)


def installed() -> list[str]:
    """Returns Lightning's packages that are installed: one of them, or both."""
    return [package for package in PACKAGES if find_spec(package.partition(".")[0]) is not None]


def base_of(cls: type, name: str) -> type:
    """Returns the ancestor of a class that is Lightning's own of a name, of whichever of its two packages.

    Args:
        cls: The class.
        name: Such as LightningModule.
    """
    return next(one for one in cls.__mro__ if one.__name__ == name and "lightning" in one.__module__)


def lightning_module_of(cls: type) -> type:
    """Returns the LightningModule among the ancestors of a class."""
    return base_of(cls, "LightningModule")


def idle_hooks(trainer: Any) -> Iterator[tuple[str, Any, str]]:
    """Yields the step hooks whose body is Lightning's empty one: the action's name, the owner, the hook's name."""
    module = trainer.lightning_module
    owners = [(f"[Callback]{one.state_key}", one, base_of(type(one), "Callback")) for one in trainer.callbacks]
    owners.append((f"[LightningModule]{type(module).__name__}", module, lightning_module_of(type(module))))
    for action, owner, base in owners:
        for hook in STEP_HOOKS:
            if hook not in vars(owner) and getattr(type(owner), hook, None) is getattr(base, hook):
                yield f"{action}.{hook}", owner, hook
