"""Trained weights to start from: torchvision's published ones by their names, a file, or another run."""

from __future__ import annotations

import hashlib
import pickle
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_weights

from woof_lightning.checksums import zip_problem
from woof_lightning.data.config import expanded
from woof_lightning.data.listing import first_of
from woof_lightning.data.transforms import IMAGENET, Normalisation
from woof_lightning.errors import UserError, did_you_mean, reason_of
from woof_lightning.recipe.checkpoint import NET_PREFIX, RECIPE_KEY, TrainedRecipe, normalisation_of, recipe_of
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.head import head_names, shapes
from woof_lightning.recipe.model import ARCHS_WITH_AUXILIARY_HEADS

CHECKPOINTS_OF_A_RUN = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
MOST_NAMED = 4
SUFFIXES = (".pt", ".pth", ".safetensors", ".ckpt")
# Where other programs keep the weights in a checkpoint: Lightning and timm, torchvision's references.
STATE_KEYS = ("state_dict", "model")
# What they put before each name: DistributedDataParallel, torch.compile, a LightningModule's attribute.
PREFIXES = ("module.", "_orig_mod.", "model.", NET_PREFIX)
# GoogLeNet's and Inception's further heads, which are for training from scratch.
AUXILIARY_HEADS = ("aux1.", "aux2.", "AuxLogits.")
# Files of before 2017 do not have it, and nothing that this project trains reads it.
COUNTER = "num_batches_tracked"
# torchvision's file names end in the first digits of the content's SHA-256.
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")
# The published DenseNets are older than their code: denselayer1.norm.1.weight is denselayer1.norm1.weight now.
OLD_DENSENET_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")


@dataclass(frozen=True)
class Source:
    """Trained weights as they were found.

    Args:
        file: The file.
        tensors: The weights by their names in the net.
        normalisation: Mean and standard deviation of the images that they were trained with.
        image_size: Side of these images, in px; None if it is not known.
    """

    file: Path
    tensors: Mapping[str, Tensor]
    normalisation: Normalisation = IMAGENET
    image_size: int | None = None


@dataclass(frozen=True)
class Start:
    """What a net starts from.

    Args:
        tensors: The trained weights that are loaded, by their names in the net; none from scratch and in a resumed run.
        normalisation: Mean and standard deviation of the images.
        report: What was loaded, for the run's record; None from scratch.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    normalisation: Normalisation = IMAGENET
    report: dict[str, Any] | None = None

    @torch.no_grad()
    def load_into(self, net: nn.Module) -> None:
        """Copies the trained weights into a net and leaves all others as they are."""
        # Not load_state_dict: a state without a version is refused by some nets (MNASNet).
        own = net.state_dict()
        for name, value in self.tensors.items():
            own[name].copy_(value)

    def as_recipe(self) -> dict[str, Any]:
        """Returns what a checkpoint says of it, as fields of a TrainedRecipe."""
        return {"normalisation": self.normalisation._asdict(), "pretrained": self.report}

    def lines(self, image_size: int) -> list[str]:
        """Returns what was loaded as lines for the terminal; none from scratch.

        Args:
            image_size: The value of data.image_size.
        """
        if self.report is None:
            return []
        parts = {"left out": self.report["left_out"], "made anew": self.report["made_anew"]}
        told = "".join(f"; {what}: {first_of(names, MOST_NAMED)}" for what, names in parts.items() if names)
        line = f"weights from {self.report['weights']} ({self.report['file']}): {self.report['loaded']} tensors{told}"
        trained_at = self.report["image_size"]
        if trained_at in (None, image_size):
            return [line]
        return [line, f"note: these weights were trained at {trained_at} px, and data.image_size is {image_size}"]


def start_of(config: ModelConfig) -> Start:
    """Returns what a new training's net starts from.

    Args:
        config: The settings of the model, with num_classes resolved.

    Raises:
        UserError: If the weights cannot be had, or are those of another net.
    """
    if config.weights is None:
        return Start()
    assert config.num_classes is not None, "resolved from the data"
    found = read_source(config.weights, config.arch)
    check_fitting(config, found)
    needed = shapes(config.arch, config.num_classes)
    loaded = {
        name: found.tensors[name]
        for name in needed
        if name in found.tensors and found.tensors[name].shape == needed[name]
    }
    report = {
        "weights": config.weights,
        "file": str(found.file),
        "image_size": found.image_size,
        "loaded": len(loaded),
        "left_out": [name for name in found.tensors if name not in loaded],
        "made_anew": [name for name in needed if name not in loaded and not name.endswith(COUNTER)],
    }
    return Start(loaded, found.normalisation, report)


def loaded_into(net: nn.Module, config: ModelConfig) -> Start:
    """Loads the weights that a new training starts from, and returns what was loaded, without the weights.

    Args:
        net: The net.
        config: The settings of the model, with num_classes resolved.

    Raises:
        UserError: If the weights cannot be had, or are those of another net.
    """
    start = start_of(config)
    start.load_into(net)
    return replace(start, tensors={})


def resumed_start(trained: TrainedRecipe) -> Start:
    """Returns what a resumed run started from. Its weights are in its checkpoint.

    Args:
        trained: The recipe in that checkpoint.
    """
    return Start(normalisation=normalisation_of(trained), report=trained.pretrained)


def check_weights(config: ModelConfig) -> None:
    """Raises a UserError if there are no weights of that name and no such file. It reads and downloads nothing."""
    if config.weights is not None and config.weights not in published(config.arch):
        file_of(config.weights, config.arch)


def published(arch: str) -> dict[str, WeightsEnum]:
    """Returns torchvision's published weights of a net by their names, DEFAULT among them."""
    return dict(get_model_weights(arch).__members__)


def read_source(choice: str, arch: str) -> Source:
    """Returns trained weights.

    Args:
        choice: The value of model.weights.
        arch: Name of a torchvision classifier.

    Raises:
        UserError: If they cannot be had.
    """
    names = published(arch)
    return from_torchvision(choice, arch, names[choice]) if choice in names else from_file(choice, arch)


def from_torchvision(choice: str, arch: str, weights: WeightsEnum) -> Source:
    """Returns published weights, which torchvision downloads into torch.hub's folder if they are not there.

    Args:
        choice: Their name.
        arch: Name of a torchvision classifier.
        weights: What torchvision says of them.

    Raises:
        UserError: If they cannot be downloaded, or the file is not the published one.
    """
    url = str(weights.url)
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    told = f"model.weights is {choice}"
    if file.is_file() and not _is_the_published(file):
        raise UserError(f"{told}: {file} is not the published file (its SHA-256 is another); remove it")
    try:
        tensors = weights.get_state_dict(
            progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, HTTPException, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UserError(
            f"{told}: {url} cannot be had ({reason_of(error)}); expected a network, or that file as {file}, or another "
            "file or run as model.weights"
        ) from error
    preset = weights.transforms()
    mean, std = tuple(preset.mean), tuple(preset.std)
    if arch in ARCHS_WITH_AUXILIARY_HEADS:
        # torchvision's nets with these weights normalise ImageNet's values once more (transform_input), to these.
        mean = std = (0.5, 0.5, 0.5)
    return Source(file, _renamed(tensors, arch), Normalisation(mean, std), int(preset.crop_size[0]))


def from_file(choice: str, arch: str) -> Source:
    """Returns the weights in a file or a run's folder. No code in a file is run.

    Args:
        choice: The value of model.weights.
        arch: Name of a torchvision classifier.

    Raises:
        UserError: If there is no such file, or it holds no weights.
    """
    file = file_of(choice, arch)
    content = _content(file, choice)
    if {RECIPE_KEY, "state_dict"} <= content.keys():
        if problem := zip_problem(file):  # torch.load does not test the checksums.
            raise UserError(f"model.weights is {choice}: {file}: {problem}; take another checkpoint")
        trained = recipe_of(content)
        if trained.model["arch"] != arch:
            raise UserError(
                f"model.weights is {choice}, which is a {trained.model['arch']}, but model.arch is {arch}: expected "
                "the same"
            )
        tensors = {name.removeprefix(NET_PREFIX): value for name, value in content["state_dict"].items()}
        return Source(file, tensors, normalisation_of(trained), int(trained.data["image_size"]))
    inner = next((content[key] for key in STATE_KEYS if isinstance(content.get(key), dict)), content)
    if not inner or not all(isinstance(value, Tensor) for value in inner.values()):
        raise UserError(
            f"model.weights is {choice}: {file} holds no weights; expected tensors by their names, as "
            "torch.save(net.state_dict(), FILE) writes them"
        )
    return Source(file, _renamed(inner, arch))


def file_of(choice: str, arch: str) -> Path:
    """Returns the file that model.weights names: the file itself, or of a run's folder best.ckpt, else last.ckpt.

    Args:
        choice: The value of model.weights.
        arch: Name of a torchvision classifier, for the error.

    Raises:
        UserError: If there is no such file.
    """
    place = expanded(Path(choice))
    if place.is_file():
        return place
    checkpoints = [place / name for name in CHECKPOINTS_OF_A_RUN]
    if file := next((there for there in checkpoints if there.is_file()), None):
        return file
    names = published(arch)
    what = "there is no checkpoint in it" if place.is_dir() else f"that is no file, and no weights of {arch}"
    hint = did_you_mean(choice, names, f"torchvision has {', '.join(names)}")
    raise UserError(
        f"model.weights is {choice}: {what}; expected the name of published weights ({hint}), a file "
        f"({', '.join(SUFFIXES)}) or a run's folder"
    )


def check_fitting(config: ModelConfig, found: Source) -> None:
    """Raises a UserError if weights are not those of the net, apart from its head.

    Args:
        config: The settings of the model, with num_classes resolved.
        found: The weights.
    """
    assert config.num_classes is not None, "resolved from the data"
    needed, head = shapes(config.arch, config.num_classes), head_names(config.arch)
    problems = [
        f"{name} is missing" for name in needed if name not in {*found.tensors, *head} and not name.endswith(COUNTER)
    ]
    for name, value in found.tensors.items():
        if name not in needed and not name.startswith(AUXILIARY_HEADS):
            problems.append(f"{name} is in no {config.arch}")
        elif name in needed and name not in head and value.shape != needed[name]:
            problems.append(f"{name} has shape {list(value.shape)}, expected {list(needed[name])}")
    if problems:
        raise UserError(
            f"model.weights is {config.weights}: {found.file} does not hold the weights of model.arch {config.arch} "
            f"({first_of(problems, MOST_NAMED)}); expected that net's"
        )


def _content(file: Path, choice: str) -> dict[str, Any]:
    try:
        content = _safetensors(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        raise UserError(
            f"model.weights is {choice}: {file} cannot be read as weights alone ({reason_of(error)}); expected tensors "
            "by their names, as torch.save(net.state_dict(), FILE) writes them"
        ) from error
    return content if isinstance(content, dict) else {}


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(
            f"model.weights is {file}: reading it needs safetensors, which is not installed (pip install safetensors)"
        ) from error
    try:
        found: dict[str, Tensor] = load_file(file)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    return found


def _renamed(tensors: Mapping[str, Tensor], arch: str) -> dict[str, Tensor]:
    """Returns weights with the names of the net's own."""
    names = {name: name for name in tensors}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in names.values()):
            names = {old: name.removeprefix(prefix) for old, name in names.items()}
    if arch.startswith("densenet"):
        names = {old: OLD_DENSENET_NAME.sub(r"\1\2", name) for old, name in names.items()}
    return {names[name]: value for name, value in tensors.items()}


def _is_the_published(file: Path) -> bool:
    expected = HASH_IN_NAME.search(file.name)
    return expected is None or hashlib.sha256(file.read_bytes()).hexdigest().startswith(expected[1])
