"""Classification of image files with the net of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from woof_lightning.data.decoding import SUFFIXES, read_untrusted_image
from woof_lightning.data.listing import images_below
from woof_lightning.data.transforms import check_shape, eval_transform, normalise
from woof_lightning.errors import UserError
from woof_lightning.recipe.checkpoint import net_of, normalisation_of, read_checkpoint, recipe_of


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

    Args:
        given: Files and folders. Files need not exist.

    Raises:
        UserError: If a folder contains no image.
    """
    files: list[Path] = []
    for place in given:
        found = sorted(images_below(place)) if place.is_dir() else [place]
        if not found:
            raise UserError(f"IMAGE is {place}: the folder holds no image ({', '.join(SUFFIXES)})")
        files += found
    return files


@torch.inference_mode()
def predict(checkpoint_file: Path, images: Iterable[Path], top: int = 3) -> Iterator[Answer]:
    """Yields the most probable classes of each image file. A file that cannot be read gets a problem instead.

    Args:
        checkpoint_file: A checkpoint of any loop of this project.
        images: Image files.
        top: Number of classes per image.

    Raises:
        UserError: If the checkpoint cannot be read.
    """
    checkpoint = read_checkpoint(checkpoint_file)
    trained, net = recipe_of(checkpoint), net_of(checkpoint)
    image_size = int(trained.data["image_size"])
    transform, normalisation = eval_transform(image_size), normalisation_of(trained)
    for file in images:
        try:
            image = _read(file, image_size)
        except UserError as error:
            yield Answer(file, [], str(error))
            continue
        batch = normalise(transform(image)[None], bool(trained.model["channels_last"]), normalisation)
        # A head with 1000 outputs has some that belong to no class of the data.
        logits = net(batch)[0, : len(trained.classes)]
        best = logits.softmax(0).topk(min(top, len(trained.classes)))
        guesses = [
            Guess(trained.breeds[place], trained.classes[place], probability)
            for probability, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        yield Answer(file, guesses)


def _read(file: Path, image_size: int) -> Tensor:
    if not file.is_file():
        raise UserError(f"IMAGE is {file}: there is no such file")
    image = read_untrusted_image(file)
    height, width = image.shape[1:]
    check_shape(file, max(height, width) / min(height, width), image_size)
    return image
