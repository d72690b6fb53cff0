"""What an exported graph computes: preprocessing if it holds it, the net, probabilities."""

# Not line by line: TorchScript reads the comments with types in what it compiles.
# mypy: disable-error-code="assignment, attr-defined, operator"

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from woof_lightning.recipe.preprocessing import Preprocessing


class Classifier(nn.Module):
    """The net with its preprocessing and a softmax over the classes.

    Args:
        net: The net.
        classes: Number of classes. The head may have more outputs; the others belong to no class.
        preprocess: What turns the input into what the net takes.
    """

    def __init__(self, net: nn.Module, classes: int, preprocess: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.classes = classes
        self.preprocess = preprocess

    def forward(self, images: Tensor) -> Tensor:
        """Maps a batch to probabilities ([B, classes], float32)."""
        logits: Tensor = self.net(self.preprocess(images))
        return logits[:, : self.classes].softmax(1)


class Preprocess(nn.Module):
    """The validation's preprocessing for a batch of images of one size, whatever that size is.

    Args:
        preprocessing: Sizes, mean and standard deviation.
        resize_floats: Whether to resize in floats, for runtimes that cannot resize bytes. Torch resizes bytes with
            integers, so some pixels differ by a level of 255.
    """

    def __init__(self, preprocessing: Preprocessing, *, resize_floats: bool = False) -> None:
        super().__init__()
        self.image_size = preprocessing.image_size
        self.resize_px = preprocessing.resize_px
        self.resize_floats = resize_floats
        mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ([B, 3, H, W], uint8, RGB) to what the net takes ([B, 3, S, S], float32, normalised)."""
        height, width = images.shape[2], images.shape[3]
        # Not min(height, width) while it is exported, which would compare sizes that are not known yet.
        # An if, since a script has both sides of an expression.
        if torch.jit.is_scripting():  # noqa: SIM108
            short = min(height, width)
        else:
            short = torch.sym_min(height, width)
        new_height, new_width = self.resize_px * height // short, self.resize_px * width // short
        if self.resize_floats:
            # Along the rows, then along the columns, rounded after each, as torch resizes bytes.
            levels = rounded(resized(images.float(), height, new_width))
            levels = rounded(resized(levels, new_height, new_width))
        else:
            levels = resized(images, new_height, new_width)
        top, left = crop_start(new_height - self.image_size), crop_start(new_width - self.image_size)
        cropped = levels.narrow(2, top, self.image_size).narrow(3, left, self.image_size)
        return cropped.float() * self.scale + self.shift


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Resizes a batch with antialiasing, as torchvision's Resize does."""
    return F.interpolate(images, size=[height, width], mode="bilinear", antialias=True, align_corners=False)


def rounded(levels: Tensor) -> Tensor:
    """Rounds floats to the levels of bytes."""
    return levels.round().clamp(0, 255)


def crop_start(spare: int) -> int:
    """Returns where a centre crop begins: half of what is left over, half a pixel rounded to an even number.

    This is torchvision's round(spare / 2) without a comparison, which cannot be exported.

    Args:
        spare: By how much the image is longer than the crop, in px.
    """
    half = spare // 2
    return half + (spare % 2) * (half % 2)
