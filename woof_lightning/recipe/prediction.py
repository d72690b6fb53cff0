"""Naming what is on images, from a checkpoint alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from woof_lightning.data.images import read_untrusted_image
from woof_lightning.data.transforms import eval_transform, normalise
from woof_lightning.errors import UserError
from woof_lightning.recipe.checkpoint import net_of, read_checkpoint, recipe_of


@dataclass(frozen=True)
class Guess:
    """A class and how probable the net finds it.

    Args:
        breed: Its readable name.
        class_name: The name of its folder: for Imagewoof the WordNet synset.
        probability: Softmax over the classes, in [0, 1].
    """

    breed: str
    class_name: str
    probability: float


@torch.inference_mode()
def predict(checkpoint_file: Path, images: Iterable[Path], top: int = 3) -> Iterator[tuple[Path, list[Guess]]]:
    """The most probable classes of each image, the most probable first.

    Args:
        checkpoint_file: A checkpoint of this project, of any loop.
        images: Image files.
        top: How many classes to name.

    Raises:
        UserError: When the checkpoint or an image cannot be read.
    """
    checkpoint = read_checkpoint(checkpoint_file)
    trained, net = recipe_of(checkpoint), net_of(checkpoint)
    transform = eval_transform(int(trained.data["image_size"]))
    for file in images:
        if not file.is_file():
            raise UserError(f"IMAGE is {file}: there is no such file")
        batch = transform(read_untrusted_image(file))[None]
        # An untouched 1000-way head has outputs that no class of the data trained.
        logits = net(normalise(batch, bool(trained.model["channels_last"])))[0, : len(trained.classes)]
        best = logits.softmax(0).topk(min(top, len(trained.classes)))
        yield (
            file,
            [
                Guess(trained.breeds[place], trained.classes[place], probability)
                for probability, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ],
        )
