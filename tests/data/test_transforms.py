"""Each transform against what it promises: sizes, shares, chances, types and the bound on memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from woof_lightning.data.decoding import MOST_PIXELS
from woof_lightning.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    check_shape,
    eval_transform,
    normalise,
    train_transform,
)
from woof_lightning.errors import UnreadableImageError


def ramp(height: int, width: int) -> torch.Tensor:
    """An image whose red grows to the right and whose green grows downwards."""
    red = torch.linspace(0, 255, width).expand(height, width)
    green = torch.linspace(0, 255, height)[:, None].expand(height, width)
    return torch.stack([red, green, torch.zeros(height, width)]).to(torch.uint8)


@pytest.mark.parametrize(("height", "width"), [(73, 146), (146, 73), (73, 73)])
def test_validation_sees_the_middle_of_the_short_side_s_seven_eighths(height: int, width: int) -> None:
    """At 64 px the short side becomes 73 px, here without a change, and 64 px in the middle are cut out."""
    image = ramp(height, width)
    out = eval_transform(64)(image)
    top, left = round((height - 64) / 2), round((width - 64) / 2)
    assert torch.equal(out, image[:, top : top + 64, left : left + 64])


def test_validation_is_the_same_each_time_and_keeps_the_shape() -> None:
    image = ramp(100, 300)
    first, second = (eval_transform(32)(image) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.uint8
    # 37 px high and 111 wide: a third of the green's range a pixel, a ninth of the red's.
    assert (first[1, -1, 0] - first[1, 0, 0]).item() == pytest.approx(255 * 31 / 37, abs=4)
    assert (first[0, 0, -1].int() - first[0, 0, 0].int()).item() == pytest.approx(255 * 31 / 111, abs=4)


def test_training_crops_and_mirrors_by_chance() -> None:
    """A random resized crop takes 8 % to all of the image, at aspects of 3:4 to 4:3, and half are mirrored."""
    image, transform = ramp(200, 200), train_transform(32)
    mirrored, areas = [], []
    torch.manual_seed(0)
    for _ in range(300):
        out = transform(image).float()
        across, down = out[0, 16, -1] - out[0, 16, 0], out[1, -1, 16] - out[1, 0, 16]
        assert down > 0, "Never upside down."
        mirrored.append(bool(across < 0))
        areas.append(float(abs(across) * down) / 255**2 * (32 / 31) ** 2)
        assert 0.7 < abs(across) / down < 1.45
    assert 0.4 < sum(mirrored) / 300 < 0.6
    assert 0.05 < min(areas) < 0.15
    assert 0.9 < max(areas) < 1.1
    assert sum(areas) / 300 == pytest.approx(0.54, abs=0.08)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("height", "width"), [(160, 213), (213, 160), (40, 41), (3, 200), (1, 1), (32, 32)])
def test_training_images_are_torchvision_s_to_the_bit(height: int, width: int, channels_last: bool) -> None:
    theirs = nn.Sequential(v2.RandomResizedCrop(32, antialias=True), v2.RandomHorizontalFlip())
    ours = train_transform(32)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    if channels_last:
        image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    for seed in range(40):
        torch.manual_seed(seed)
        expected, next_number = theirs(image), torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(ours(image), expected)
        assert torch.equal(torch.rand(1), next_number)


def test_shrinking_does_not_alias() -> None:
    """A fine chessboard becomes grey, and not a pattern of its own."""
    board = (torch.arange(256)[:, None] + torch.arange(256)) % 2 * 255
    image = board.to(torch.uint8).expand(3, 256, 256).contiguous()
    for transform in (eval_transform(28), train_transform(28)):
        torch.manual_seed(1)
        assert transform(image).float().std() < 40


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_normalised_batch(channels_last: bool) -> None:
    images = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    images[0, 0] = 255
    before = images.clone()
    found = normalise(images, channels_last)
    assert found.dtype == torch.float32
    assert found[0, 0].mean().item() == pytest.approx((1 - 0.485) / 0.229, rel=1e-5)
    assert found[1, 1].mean().item() == pytest.approx(-0.456 / 0.224, rel=1e-5)
    assert found[1, 2].mean().item() == pytest.approx(-0.406 / 0.225, rel=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert found.is_contiguous() != channels_last
    assert torch.equal(images, before)


@pytest.mark.parametrize("given", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(1, 3, 224, 224), (50, 3, 64, 64), (7, 3, 5, 9), (0, 3, 4, 4), (2, 3, 700, 400)])
def test_normalising_in_parts_changes_no_bit(
    shape: tuple[int, ...], channels_last: bool, given: torch.memory_format
) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8).contiguous(memory_format=given)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.equal(normalise(images, channels_last), images.float().mul(1 / (255 * std)).add(-mean / std))


def test_a_normalised_batch_is_float32_whatever_the_default() -> None:
    from woof_lightning.data import transforms

    transforms._scale_and_shift.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        assert normalise(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("image_size", [64, 224])
def test_what_resizing_makes_is_bounded_exactly(image_size: int) -> None:
    short_px = round(image_size * 8 / 7)
    most = MOST_PIXELS / short_px**2
    check_shape(Path("x.png"), most * 0.9999, image_size)
    with pytest.raises(UnreadableImageError, match=rf"x.png is .* times as long .* at data.image_size {image_size} "):
        check_shape(Path("x.png"), most * 1.0001, image_size)
    with pytest.raises(UnreadableImageError, match="40,000 times as long as it is wide.*to 213,160,000 pixels"):
        check_shape(Path("x.png"), 40_000, 64)


def test_transforms_are_modules_that_workers_can_be_given() -> None:
    import pickle

    for transform in (train_transform(8), eval_transform(8)):
        again: Any = pickle.loads(pickle.dumps(transform))
        assert isinstance(again, nn.Module)
        assert again(ramp(20, 20)).shape == (3, 8, 8)
