"""Checkpoints of nets that tell images apart, without a training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from woof_lightning.data.decoding import read_image
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.transforms import eval_transform, normalise
from woof_lightning.recipe.checkpoint import RECIPE_KEY, TrainedRecipe
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import build_net

SIZE = 32


def save_checkpoint(
    file: Path, index: ImageIndex, *, arch: str = "resnet18", num_classes: int = 10, channels_last: bool = False
) -> Path:
    """Writes a checkpoint with statistics of the drawn images in its BatchNorm, and answers that are far apart."""
    net = build_net(arch, num_classes, seed=3, channels_last=channels_last)
    images = [read_image(index.root / sample.path) for sample in index.train[::40]]
    batch = normalise(torch.stack([eval_transform(SIZE)(image) for image in images]))
    with torch.no_grad():
        for _ in range(20):  # BatchNorm moves its statistics by a tenth each time.
            net.train()(batch)
        logits = net.eval()(batch)
        weights, bias = (net.fc.weight, net.fc.bias)
        scale = 2 / logits.std(0).mean()
        weights *= scale
        bias -= bias + scale * (logits - bias).mean(0)
    model = ModelConfig(arch=arch, num_classes=num_classes, channels_last=channels_last)
    recipe = TrainedRecipe(
        asdict(model), 3, list(index.classes), list(index.breeds), {"image_size": SIZE}, "f", "32-true"
    )
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    # As large as AdamW's, to be left behind.
    states = [{name: torch.zeros_like(value) for name, value in state.items()} for _ in range(2)]
    torch.save({"state_dict": state, "optimizer_states": states, RECIPE_KEY: recipe.as_dict()}, file)
    return file
