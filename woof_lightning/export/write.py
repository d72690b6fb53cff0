"""Exports a checkpoint: makes the file, compares it with the checkpoint's net, then writes it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from woof_lightning.errors import UserError, did_you_mean
from woof_lightning.export.about import description
from woof_lightning.export.formats import FORMATS, OPSET, Format, Run, Task
from woof_lightning.export.graph import Classifier, Preprocess
from woof_lightning.recipe.checkpoint import net_of, read_checkpoint, recipe_of
from woof_lightning.recipe.preprocessing import preprocessing_of
from woof_lightning.runs.folder import writing_durably

# How much a probability may differ from the net's: rounding in float32.
TOLERANCE = 1e-5
# If the runtime resizes in floats: a pixel may be rounded to the next level.
TOLERANCE_OF_LEVELS = 1e-2
# Of the batches that an export is compared on. None of them is the size of the example.
BATCH_SIZES = (1, 3)


@dataclass(frozen=True)
class Exported:
    """An exported file.

    Args:
        file: The file.
        about: Its metadata.
        size_bytes: Its size.
        difference: The largest difference of a probability from the checkpoint's net, on random images.
    """

    file: Path
    about: dict[str, Any]
    size_bytes: int
    difference: float


def find_format(name: str, preprocess: bool) -> Format:
    """Returns a format by its name.

    Args:
        name: The value of --to.
        preprocess: Whether the preprocessing is wanted in it.

    Raises:
        UserError: If there is no such format, it cannot hold the preprocessing, or its packages are not installed.
    """
    if name not in FORMATS:
        raise UserError(f"--to is {name}: {did_you_mean(name, FORMATS, 'expected ' + ', '.join(FORMATS))}")
    found = FORMATS[name]
    if preprocess and not found.graph:
        graphs = [other for other, one in FORMATS.items() if one.graph]
        raise UserError(
            f"--to is {name}, which holds weights alone and no preprocessing: leave --preprocess out, or export to "
            f"{' or '.join(graphs)}"
        )
    missing = [package for package in found.packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(
            f"woof export --to {name} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed: install the extra `export` (pip install 'woof-lightning[export]')"
        )
    return found


@torch.no_grad()
def export(checkpoint_file: Path, to: str, out: Path, *, preprocess: bool) -> Exported:
    """Writes the net of a checkpoint to a file, after comparing the file's answers with the net's.

    Args:
        checkpoint_file: A checkpoint of any loop of this project.
        to: The name of the format.
        out: The file.
        preprocess: Whether the graph begins with the preprocessing.

    Raises:
        UserError: If the checkpoint cannot be read or exported to this format.
    """
    found = find_format(to, preprocess)
    checkpoint = read_checkpoint(checkpoint_file)
    trained = recipe_of(checkpoint)
    preprocessing = preprocessing_of(trained)
    packages = ("torch", "torchvision", *found.packages)
    about = description(trained, preprocessing, graph=found.graph, preprocess=preprocess, packages=packages)
    about = {"exported_to": to, **about, **({"opset": OPSET} if to == "onnx" else {})}

    def model() -> Classifier:
        net = net_of(checkpoint).to(memory_format=torch.contiguous_format)
        before = Preprocess(preprocessing, resize_floats=found.resize_floats) if preprocess else nn.Identity()
        return Classifier(net, len(trained.classes), before).eval()

    example = random_batch(2, preprocessing.image_size, preprocess)
    content = found.write(Task(model(), example, preprocess, about))
    batches = [random_batch(size, preprocessing.image_size, preprocess) for size in BATCH_SIZES]
    difference = largest_difference(found.read(content, model()), model(), batches)
    allowed = TOLERANCE_OF_LEVELS if preprocess and found.resize_floats else TOLERANCE
    if not difference <= allowed:  # NaN is refused, too.
        raise UserError(
            f"--to is {to}: probabilities of the exported net differ by {difference:.2g} from the checkpoint's, "
            f"expected at most {allowed:g}; nothing was written. Export to another format"
        )
    with writing_durably(out) as file:
        file.write(content)
    return Exported(out, about, len(content), difference)


def random_batch(batch_size: int, image_size: int, preprocess: bool) -> Tensor:
    """Returns random images as an exported graph takes them.

    Args:
        batch_size: Their number.
        image_size: Side of the images that the net sees, in px.
        preprocess: Whether they are bytes, [B, 3, H, W], larger than the net's; otherwise they are normalised floats.
    """
    random = torch.Generator().manual_seed(batch_size)
    if not preprocess:
        return torch.randn(batch_size, 3, image_size, image_size, generator=random)
    height, width = 2 * image_size + batch_size, 3 * image_size - batch_size
    return torch.randint(0, 256, (batch_size, 3, height, width), dtype=torch.uint8, generator=random)


def largest_difference(run: Run, model: Classifier, batches: Sequence[Tensor]) -> float:
    """Returns the largest difference of a probability."""
    return float(torch.stack([(run(batch) - model(batch)).abs().max() for batch in batches]).max())
