"""The recipe that a checkpoint contains beside Lightning's keys, and reading checkpoints without a training loop."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from woof_lightning.checksums import zip_problem
from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.listing import first_of
from woof_lightning.data.transforms import IMAGENET, Normalisation
from woof_lightning.errors import UserError, reason_of
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import build_net

RECIPE_KEY = "recipe"
# The net is the attribute `net` of the LightningModule, so its parameters carry this prefix.
NET_PREFIX = "net."


@dataclass(frozen=True)
class TrainedRecipe:
    """The settings that are needed to use trained weights. Each checkpoint has them under the key `recipe`.

    Args:
        model: The settings of the model, with num_classes resolved.
        seed: The run's seed.
        classes: The names of the class folders, in the order of the net's outputs.
        breeds: A readable name for each class.
        data: The settings of the data, with paths as text.
        fingerprint: The fingerprint of the images.
        precision: The Trainer's precision.
        normalisation: Mean and standard deviation of the images, by these names.
        pretrained: What the net started from, as `Start.report`; None if from random weights.
    """

    model: dict[str, Any]
    seed: int
    classes: list[str]
    breeds: list[str]
    data: dict[str, Any]
    fingerprint: str
    precision: str
    # Checkpoints of before these were there are of nets that were trained from scratch.
    normalisation: dict[str, Any] = field(default_factory=IMAGENET._asdict)
    pretrained: dict[str, Any] | None = None

    @classmethod
    def of(cls, model: ModelConfig, data: DataConfig, index: ImageIndex, *, seed: int, precision: str) -> TrainedRecipe:
        """Returns the recipe of a run.

        Args:
            model: The settings of the model, with num_classes resolved.
            data: The settings of the data.
            index: The images.
            seed: The run's seed.
            precision: The Trainer's precision.
        """
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
        """Returns plain values, which torch.load can read without running code from the checkpoint."""
        return asdict(self)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Tests the checksums of a checkpoint of this project, and reads it onto the CPU. No code in it is run.

    Raises:
        UserError: If it is damaged or cannot be read, or another program wrote it.
    """
    try:
        if problem := zip_problem(file):
            raise UserError(f"--ckpt is {file}: {problem}; take another checkpoint")
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        raise UserError(f"--ckpt is {file}: it cannot be read as a checkpoint ({reason_of(error)})") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", RECIPE_KEY} <= checkpoint.keys():
        raise UserError(f"--ckpt is {file}: expected a checkpoint of this project, with state_dict and {RECIPE_KEY}")
    return checkpoint


def recipe_of(checkpoint: dict[str, Any]) -> TrainedRecipe:
    """Returns the recipe of a checkpoint."""
    return TrainedRecipe(**checkpoint[RECIPE_KEY])


def normalisation_of(trained: TrainedRecipe) -> Normalisation:
    """Returns the mean and the standard deviation with which a trained net's images are normalised."""
    return Normalisation(**{name: tuple(values) for name, values in trained.normalisation.items()})


def check_same_classes(trained: TrainedRecipe, classes: Sequence[str]) -> None:
    """Raises a UserError that names the classes which differ if the data's classes are not those of the checkpoint."""
    if list(classes) != trained.classes:
        lacking = [name for name in trained.classes if name not in set(classes)]
        strange = [name for name in classes if name not in set(trained.classes)]
        raise UserError(
            f"the checkpoint was trained on {len(trained.classes)} classes ({first_of(trained.classes, 10)}), but "
            f"the data has {len(classes)} ({first_of(classes, 10)}): expected the same. Only in the checkpoint: "
            f"{first_of(lacking)}; only in the data: {first_of(strange)}"
        )


def check_same_images(fingerprint: str, index: ImageIndex, run: Path) -> None:
    """Raises a UserError if a run would be resumed with other images than it was trained on.

    Args:
        fingerprint: The fingerprint in the run's checkpoint.
        index: The images to resume with.
        run: The run's folder.
    """
    if fingerprint != index.fingerprint:
        raise UserError(
            f"{run} cannot be resumed with other images: their fingerprint was {fingerprint}, that of {index.root} is "
            f"{index.fingerprint}. Use the data that the run was started with, or start another run with --name"
        )


def load_net(file: Path) -> nn.Module:
    """Returns the plain torchvision net of a checkpoint file of any loop, in evaluation mode.

    Raises:
        UserError: If the file cannot be read or its weights do not fit its architecture.

    Examples:
        >>> from pathlib import Path
        >>> import torch
        >>> from lightning.pytorch import Trainer
        >>> from woof_lightning import ImagewoofDataModule, WoofClassifier, load_net
        >>> data = ImagewoofDataModule(variant="synthetic", image_size=32, batch_size=48, num_workers=0)
        >>> trainer = Trainer(
        ...     max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        ...     enable_model_summary=False,
        ... )
        >>> trainer.fit(WoofClassifier(arch="shufflenet_v2_x0_5"), datamodule=data)
        >>> trainer.save_checkpoint("trained.ckpt")
        >>> load_net(Path("trained.ckpt"))(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    return net_of(read_checkpoint(file))


def net_of(checkpoint: dict[str, Any]) -> nn.Module:
    """Returns the plain torchvision net of a checkpoint, in evaluation mode.

    Raises:
        UserError: If the weights do not fit the architecture.
    """
    model = ModelConfig(**recipe_of(checkpoint).model)
    if model.num_classes is None:
        raise UserError("the checkpoint's recipe has no num_classes: expected a number")
    net = build_net(model.arch, model.num_classes, channels_last=model.channels_last)
    weights = net.state_dict()  # Not a dict of its own: this one has the version that some nets (MNASNet) ask for.
    weights.clear()
    weights.update({name.removeprefix(NET_PREFIX): value for name, value in checkpoint["state_dict"].items()})
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"the checkpoint's weights are not those of {model.arch} with {model.num_classes} outputs"
        ) from error
    return net.eval()
