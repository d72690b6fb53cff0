"""Classification of image files with the net of a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from woof_lightning.data.decoding import SUFFIXES, read_untrusted_image
from woof_lightning.data.listing import images_below
from woof_lightning.data.transforms import check_shape, eval_transform, normalise
from woof_lightning.errors import UserError
from woof_lightning.recipe.checkpoint import TrainedRecipe, net_of, normalisation_of, read_checkpoint, recipe_of
from woof_lightning.recipe.preprocessing import preprocessing_of


@dataclass(frozen=True)
class Guess:
    """A class and its probability according to the net.

    Args:
        breed: The readable name of the class.
        class_name: The name of the class folder, for Imagewoof the WordNet synset.
        probability: Softmax over the classes, in [0, 1].
    """

    breed: str
    class_name: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """What the net says of an image file.

    Args:
        image: The file.
        top: Its most probable classes, the most probable first; none if the file cannot be read.
        problem: Why the file cannot be read; None if it can.
    """

    image: Path
    top: list[Guess]
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        answer: dict[str, Any] = {"image": str(self.image), "top": [asdict(guess) for guess in self.top]}
        return answer if self.problem is None else {**answer, "problem": self.problem}


def image_files(given: Iterable[Path]) -> list[Path]:
    """Returns image files; a folder stands for all images in it and in its subfolders.

    A folder without an image stays in the list, so that it gets a problem for its answer.

    Args:
        given: Files and folders. Files need not exist.
    """
    files: list[Path] = []
    for place in given:
        # Not Path.is_dir, which raises an error for a name that is too long.
        found = sorted(images_below(place)) if os.path.isdir(place) else []  # noqa: PTH112
        files += found or [place]
    return files


@torch.inference_mode()
def predict(checkpoint_file: Path, images: Iterable[Path], top: int = 3, batch_size: int = 32) -> Iterator[Answer]:
    """Yields the most probable classes of each image file. A file that cannot be read gets a problem instead.

    Args:
        checkpoint_file: A checkpoint of any loop of this project.
        images: Image files.
        top: Number of classes per image.
        batch_size: Number of images that the net takes at once. Answers are yielded after each batch.

    Raises:
        UserError: If the checkpoint cannot be read.
    """
    checkpoint = read_checkpoint(checkpoint_file)
    trained, net = recipe_of(checkpoint), net_of(checkpoint)
    image_size = preprocessing_of(trained).image_size
    remaining = iter(images)
    while files := list(islice(remaining, batch_size)):
        found = [_cropped(file, image_size) for file in files]
        readable = [image for image in found if isinstance(image, Tensor)]
        guesses = iter(_guesses(net, trained, torch.stack(readable), top) if readable else [])
        for file, image in zip(files, found, strict=True):
            yield Answer(file, next(guesses)) if isinstance(image, Tensor) else Answer(file, [], str(image))


def _guesses(net: nn.Module, trained: TrainedRecipe, images: Tensor, top: int) -> list[list[Guess]]:
    """Returns the most probable classes of each image of a batch ([B, 3, S, S], uint8)."""
    batch = normalise(images, bool(trained.model["channels_last"]), normalisation_of(trained))
    # A head with 1000 outputs has some that belong to no class of the data.
    probabilities = net(batch)[:, : len(trained.classes)].softmax(1)
    best = probabilities.topk(min(top, len(trained.classes)))
    return [
        [Guess(trained.breeds[place], trained.classes[place], share) for share, place in zip(*of_image, strict=True)]
        for of_image in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def _cropped(file: Path, image_size: int) -> Tensor | UserError:
    """Returns what validation would see of an image ([3, S, S], uint8), or why it cannot be read."""
    try:
        image = _read(file, image_size)
    except UserError as error:
        return error
    cropped: Tensor = eval_transform(image_size)(image)
    return cropped


def _read(file: Path, image_size: int) -> Tensor:
    if os.path.isdir(file):  # noqa: PTH112
        raise UserError(f"IMAGE is {file}: the folder holds no image ({', '.join(SUFFIXES)})")
    if not os.path.isfile(file):  # noqa: PTH113
        raise UserError(f"IMAGE is {file}: there is no such file")
    image = read_untrusted_image(file)
    height, width = image.shape[1:]
    check_shape(file, max(height, width) / min(height, width), image_size)
    return image
