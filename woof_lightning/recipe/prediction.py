"""Classification of image files with the net of a checkpoint."""

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
    """A class and its probability according to the net.

    Args:
        breed: The readable name of the class.
        class_name: The name of the class folder, for Imagewoof the WordNet synset.
        probability: Softmax over the classes, in [0, 1].
    """

    breed: str
    class_name: str
    probability: float


@torch.inference_mode()
def predict(checkpoint_file: Path, images: Iterable[Path], top: int = 3) -> Iterator[tuple[Path, list[Guess]]]:
    """Yields each image file with its most probable classes, the most probable first.

    Args:
        checkpoint_file: A checkpoint of any loop of this project.
        images: Image files.
        top: Number of classes per image.

    Raises:
        UserError: If the checkpoint or an image cannot be read.
    """
    checkpoint = read_checkpoint(checkpoint_file)
    trained, net = recipe_of(checkpoint), net_of(checkpoint)
    transform = eval_transform(int(trained.data["image_size"]))
    for file in images:
        if not file.is_file():
            raise UserError(f"IMAGE is {file}: there is no such file")
        batch = transform(read_untrusted_image(file))[None]
        # A head with 1000 outputs has some that belong to no class of the data.
        logits = net(normalise(batch, bool(trained.model["channels_last"])))[0, : len(trained.classes)]
        best = logits.softmax(0).topk(min(top, len(trained.classes)))
        yield (
            file,
            [
                Guess(trained.breeds[place], trained.classes[place], probability)
                for probability, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ],
        )
