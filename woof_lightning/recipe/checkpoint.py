"""What a checkpoint holds beside Lightning's own keys, and reading one without any loop."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex
from woof_lightning.errors import UserError
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import build_net

RECIPE_KEY = "recipe"
# The net is the attribute `net` of the LightningModule, so its parameters carry this prefix.
NET_PREFIX = "net."


@dataclass(frozen=True)
class TrainedRecipe:
    """What must be known to use trained weights: it lies in each checkpoint under the key `recipe`.

    Args:
        model: The model's settings, with num_classes resolved.
        seed: The run's seed.
        classes: The class folders' names; an output's place is a place in this list.
        breeds: A readable name for each.
        data: The data's settings; paths as text.
        fingerprint: That of the images.
        precision: The Trainer's precision.
    """

    model: dict[str, Any]
    seed: int
    classes: list[str]
    breeds: list[str]
    data: dict[str, Any]
    fingerprint: str
    precision: str

    @classmethod
    def of(cls, model: ModelConfig, data: DataConfig, index: ImageIndex, *, seed: int, precision: str) -> TrainedRecipe:
        """The recipe of a training with these settings on these images."""
        return cls(
            model=asdict(model),
            seed=seed,
            classes=list(index.classes),
            breeds=list(index.breeds),
            data=data.as_plain(),
            fingerprint=index.fingerprint,
            precision=precision,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, which a checkpoint can be read with without running code."""
        return asdict(self)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Reads a checkpoint of this project; no code in it is run.

    Raises:
        UserError: When it cannot be read, or is of another program.
    """
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"--ckpt is {file}: it cannot be read as a checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", RECIPE_KEY} <= checkpoint.keys():
        raise UserError(f"--ckpt is {file}: expected a checkpoint of this project, with state_dict and {RECIPE_KEY}")
    return checkpoint


def recipe_of(checkpoint: dict[str, Any]) -> TrainedRecipe:
    """The recipe of a checkpoint."""
    return TrainedRecipe(**checkpoint[RECIPE_KEY])


def check_same_classes(trained: TrainedRecipe, classes: Sequence[str]) -> None:
    """Raises a UserError with both lists when the data's classes are not those of the checkpoint."""
    if list(classes) != trained.classes:
        raise UserError(
            f"the checkpoint was trained on {len(trained.classes)} classes ({', '.join(trained.classes)}), but "
            f"the data has {len(classes)} ({', '.join(classes)}): expected the same"
        )


def check_same_images(fingerprint: str, index: ImageIndex, run: Path) -> None:
    """Raises a UserError when a run would be resumed with other images than it was trained on."""
    if fingerprint != index.fingerprint:
        raise UserError(
            f"{run} cannot be resumed with other images: their fingerprint was {fingerprint}, that of {index.root} is "
            f"{index.fingerprint}. Name the run's own data, or start another run with --name"
        )


def load_net(file: Path) -> nn.Module:
    """The plain torchvision net of a checkpoint, whichever loop trained it, in evaluation mode.

    Raises:
        UserError: When the file cannot be read or its weights do not fit its architecture.
    """
    return net_of(read_checkpoint(file))


def net_of(checkpoint: dict[str, Any]) -> nn.Module:
    """The plain torchvision net of a checkpoint that was read, in evaluation mode."""
    model = ModelConfig(**recipe_of(checkpoint).model)
    if model.num_classes is None:
        raise UserError("the checkpoint's recipe has no num_classes: expected a number")
    net = build_net(model.arch, model.num_classes, channels_last=model.channels_last)
    weights = {name.removeprefix(NET_PREFIX): value for name, value in checkpoint["state_dict"].items()}
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"the checkpoint's weights are not those of {model.arch} with {model.num_classes} outputs"
        ) from error
    return net.eval()
