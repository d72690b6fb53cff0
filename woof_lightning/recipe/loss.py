"""The training loss: cross-entropy with label smoothing and class weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from woof_lightning.errors import UserError
from woof_lightning.recipe.config import BALANCED, ModelConfig

Loss = Callable[[Tensor, Tensor], Tensor]


def build_loss(config: ModelConfig, labels: Iterable[int] | None, device: torch.device) -> Loss:
    """Returns the training loss: it maps logits ([B, C]) and labels ([B], int64) to a mean in nats.

    Args:
        config: The settings of the model, with num_classes resolved.
        labels: The label of each training image; None if they are not known.
        device: The device of the logits.

    Raises:
        UserError: If the class weights cannot be used.
    """
    weights = class_weights(config, labels)
    return partial(
        F.cross_entropy,
        weight=None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device),
        label_smoothing=config.label_smoothing,
    )


def class_weights(config: ModelConfig, labels: Iterable[int] | None) -> list[float] | None:
    """Returns the weight of each output in the training loss; None if all weigh the same.

    Args:
        config: The settings of the model, with num_classes resolved.
        labels: The label of each training image; None if they are not known.

    Raises:
        UserError: If there are not as many weights as outputs, or balanced weights have no images to count.
    """
    chosen, outputs = config.class_weights, config.num_classes
    if chosen is None:
        return None
    assert outputs is not None, "resolved from the data"
    if not isinstance(chosen, str):
        if len(chosen) != outputs:
            raise UserError(
                f"model.class_weights has {len(chosen)} numbers, but the net has {outputs} outputs: expected one for "
                "each, in the order of the class folders"
            )
        return list(chosen)
    if labels is None:
        raise UserError(
            f"model.class_weights is {BALANCED}, but the training images are not known: expected an "
            "ImagewoofDataModule, or a list of numbers"
        )
    counts = Counter(labels)
    # The mean over all training images is 1. Outputs of no class of the data (model.num_classes) have no images.
    mean_count = counts.total() / len(counts)
    return [mean_count / counts[output] if output in counts else 1.0 for output in range(outputs)]
