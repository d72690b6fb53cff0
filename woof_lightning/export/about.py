"""What an exported file says of itself."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from woof_lightning.recipe.checkpoint import TrainedRecipe
from woof_lightning.recipe.preprocessing import Preprocessing
from woof_lightning.runs.record import package_version

# The names by which a runtime finds the input and the output of a graph.
IMAGES, NORMALISED, PROBABILITIES, LOGITS = "images", "normalised", "probabilities", "logits"
BATCH, HEIGHT, WIDTH = "batch", "height", "width"


def description(
    trained: TrainedRecipe, preprocessing: Preprocessing, *, graph: bool, preprocess: bool, packages: Sequence[str]
) -> dict[str, Any]:
    """Returns the metadata of an exported file, as plain values.

    Args:
        trained: The recipe in the checkpoint.
        preprocessing: That of the run's validation.
        graph: Whether the file holds a graph, which ends with a softmax, or weights alone.
        preprocess: Whether the graph begins with the preprocessing.
        packages: The packages whose versions matter.
    """
    outputs, size = int(trained.model["num_classes"]), preprocessing.image_size
    return {
        "arch": trained.model["arch"],
        "classes": trained.classes,
        "breeds": trained.breeds,
        "image_size_px": size,
        "resize_short_side_px": preprocessing.resize_px,
        "interpolation": "bilinear, antialiased",
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "preprocess_in_graph": preprocess,
        "input": {"name": IMAGES, "shape": [BATCH, 3, HEIGHT, WIDTH], "type": "uint8, RGB"}
        if preprocess
        else {"name": NORMALISED, "shape": [BATCH, 3, size, size], "type": "float32, RGB, normalised"},
        "output": {"name": PROBABILITIES, "shape": [BATCH, len(trained.classes)], "type": "float32"}
        if graph
        else {"name": LOGITS, "shape": [BATCH, outputs], "type": "float32"},
        "versions": {
            "python": platform.python_version(),
            "woof_lightning": package_version(),
            **{name: metadata.version(name) for name in packages},
        },
    }
