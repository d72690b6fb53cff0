"""The preprocessing in a graph is that of the validation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from woof_lightning.data.transforms import IMAGENET_MEAN, IMAGENET_STD, eval_transform, normalise
from woof_lightning.export.graph import Classifier, Preprocess, crop_start
from woof_lightning.recipe.preprocessing import Preprocessing

SIZE = 40
PREPROCESSING = Preprocessing(SIZE, 46, IMAGENET_MEAN, IMAGENET_STD)
# Tall, wide, smaller than the crop, with odd and even sides, thin, and without anything to resize.
SHAPES = [(131, 90), (90, 131), (30, 77), (77, 31), (64, 64), (46, 46), (47, 46), (9, 200)]


def smooth(height: int, width: int) -> torch.Tensor:
    """Two images whose neighbouring pixels are alike, as in photos."""
    random = torch.Generator().manual_seed(height)
    coarse = torch.randint(0, 256, (2, 3, height // 8 + 2, width // 8 + 2), generator=random).float()
    return nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 255).to(torch.uint8)


def validated(images: torch.Tensor) -> torch.Tensor:
    return normalise(torch.stack([eval_transform(SIZE)(image) for image in images]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bytes_become_what_validation_sees(shape: tuple[int, int]) -> None:
    images = smooth(*shape)
    torch.testing.assert_close(Preprocess(PREPROCESSING)(images), validated(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_floats_differ_in_few_pixels_and_by_a_level(shape: tuple[int, int]) -> None:
    images = smooth(*shape)
    found = Preprocess(PREPROCESSING, resize_floats=True)(images)
    levels = (found - validated(images)) * 255 * torch.tensor(IMAGENET_STD)[:, None, None]
    assert levels.abs().max() < 1.01
    # Rounded once instead of after each direction, more than a tenth would differ.
    assert (levels.abs() > 0.5).float().mean() < 0.05


def test_other_means_are_subtracted_from_pixels_in_0_to_1() -> None:
    other = Preprocessing(SIZE, 46, (0.0, 0.5, 1.0), (1.0, 0.5, 0.25))
    white = torch.full((1, 3, 60, 50), 255, dtype=torch.uint8)
    found = Preprocess(other)(white)
    assert found.shape == (1, 3, SIZE, SIZE)
    torch.testing.assert_close(found.amin((0, 2, 3)), torch.tensor([1.0, 1.0, 0.0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.amax((0, 2, 3)), torch.tensor([1.0, 1.0, 0.0]), rtol=0, atol=1e-6)


def test_a_crop_starts_where_torchvision_starts_it() -> None:
    assert [crop_start(spare) for spare in range(50)] == [round(spare / 2.0) for spare in range(50)]


def test_outputs_without_a_class_take_no_probability() -> None:
    net = nn.Linear(1, 3, bias=False)
    net.weight.data = torch.tensor([[0.0], [1.0], [9.0]])
    (found,) = Classifier(net, 2, nn.Identity())(torch.ones(1, 1))
    assert found.tolist() == pytest.approx(torch.tensor([0.0, 1.0]).softmax(0).tolist())
