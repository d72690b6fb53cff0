"""Checkpoints of nets that tell images apart, made in seconds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F

from woof_lightning.data.decoding import read_image
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.transforms import eval_transform, normalise
from woof_lightning.recipe.checkpoint import RECIPE_KEY, TrainedRecipe
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import build_net

SIZE = 32


def breeds_of(index: ImageIndex) -> list[str]:
    """Names that are not those of the classes, which the drawn images have."""
    return [f"breed {name}" for name in index.classes]


def save_checkpoint(
    file: Path,
    index: ImageIndex,
    *,
    arch: str = "resnet18",
    num_classes: int = 10,
    channels_last: bool = False,
    steps: int = 10,
) -> Path:
    """Writes the checkpoint of a net that saw some drawn images in a few steps."""
    net = build_net(arch, num_classes, seed=3, channels_last=channels_last)
    samples = index.train[::20]
    images = [eval_transform(SIZE)(read_image(index.root / sample.path)) for sample in samples]
    batch, labels = normalise(torch.stack(images), channels_last), torch.tensor([sample.label for sample in samples])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for _ in range(steps):
        loss = F.cross_entropy(net(batch), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # The mean of what comes from now on.
    net(batch)
    model = ModelConfig(arch=arch, num_classes=num_classes, channels_last=channels_last)
    recipe = TrainedRecipe(
        asdict(model), 3, list(index.classes), breeds_of(index), {"image_size": SIZE}, "f", "32-true"
    )
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    # As large as AdamW's, to be left behind.
    states = [{name: torch.zeros_like(value) for name, value in state.items()} for _ in range(2)]
    torch.save({"state_dict": state, "optimizer_states": states, RECIPE_KEY: recipe.as_dict()}, file)
    return file
