"""Images that are augmented on the device: the crops are as torchvision draws them, the pixels as it resizes them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from woof_lightning.data import on_device
from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.loading import train_loader
from woof_lightning.data.on_device import AREA_SHARES, SIDE_RATIOS, ImagesOnDevice, drawn_crops, resized
from woof_lightning.errors import UserError

CPU = torch.device("cpu")
CONFIG = DataConfig(variant="synthetic", image_size=24, batch_size=32, on_device=True, num_workers=2, pin_memory=True)


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size_px", [(20, 31), (90, 47), (12, 100), (24, 24), (1, 3)])
def test_parts_are_resized_as_by_torchvision(size_px: tuple[int, int], flip: bool) -> None:
    image = noise(*size_px)
    padded = torch.full((1, 100, 120, 3), 99.0)
    padded[0, : size_px[0], : size_px[1]] = image.permute(1, 2, 0)
    found = resized(padded, torch.tensor([size_px]), torch.tensor([flip]), 24)[0]
    exact, bytes_ = (F.resize_image(one, [24, 24], antialias=True) for one in (image.float(), image))
    exact, bytes_ = (F.horizontal_flip_image(one) if flip else one for one in (exact, bytes_))
    assert (found - exact).abs().max() <= 0.501
    # As bytes, torchvision rounds once more, between rows and columns.
    assert (found.int() - bytes_.int()).abs().max() <= 1


def test_batches_are_bytes_in_channels_last() -> None:
    sizes_px = torch.tensor([[10, 12], [30, 31]])
    found = resized(torch.rand(2, 30, 31, 3) * 300 - 20, sizes_px, torch.tensor([False, True]), 16)
    assert (found.dtype, tuple(found.shape)) == (torch.uint8, (2, 3, 16, 16))
    assert found.is_contiguous(memory_format=torch.channels_last)


def relative(boxes: Tensor, sizes_px: Tensor) -> dict[str, Tensor]:
    """Quantities of crops whose distribution does not depend on the size of an image."""
    top, left, height, width = boxes.double().unbind(1)
    heights, widths = sizes_px.double().unbind(1)
    return {
        "area": height * width / (heights * widths),
        "shape": (width / height).log(),
        "down": (top + 0.5) / (heights - height + 1),
        "right": (left + 0.5) / (widths - width + 1),
    }


def test_crops_are_drawn_like_those_of_torchvision() -> None:
    count, size_px = 20_000, (160, 213)
    sizes_px = torch.tensor([size_px] * count)
    found = relative(drawn_crops(sizes_px, 0, 0).boxes, sizes_px)
    crop, image = v2.RandomResizedCrop(24), noise(*size_px)
    torch.manual_seed(0)
    drawn = [crop.make_params([image]) for _ in range(4000)]
    boxes = torch.tensor([[box[name] for name in ("top", "left", "height", "width")] for box in drawn])
    expected = relative(boxes, sizes_px[:4000])
    for name, values in expected.items():
        error = values.std() * math.sqrt(1 / 4000 + 1 / count)
        assert abs(found[name].mean() - values.mean()) < 4 * error, name
        assert found[name].std() / values.std() == pytest.approx(1, abs=0.05), name
    assert found["area"].min() > AREA_SHARES[0] - 0.01
    assert found["shape"].abs().max() < math.log(SIDE_RATIOS[1]) + 0.05


def test_crops_are_within_their_images() -> None:
    sizes_px = torch.randint(1, 300, (3000, 2), generator=torch.Generator().manual_seed(1))
    top, left, height, width = drawn_crops(sizes_px, 0, 3).boxes.unbind(1)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (height >= 1).all()
    assert (width >= 1).all()
    assert (top + height <= sizes_px[:, 0]).all()
    assert (left + width <= sizes_px[:, 1]).all()


def test_of_an_image_that_no_crop_fits_the_middle_is_taken() -> None:
    boxes = drawn_crops(torch.tensor([[10, 1000], [1000, 10]]), 0, 0).boxes.tolist()
    # As torchvision's RandomResizedCrop takes it.
    assert boxes == [[0, 493, 10, 13], [493, 0, 13, 10]]


def test_crops_depend_on_seed_and_epoch_and_half_are_flipped() -> None:
    sizes_px = torch.tensor([[160, 200]] * 4000)
    crops = drawn_crops(sizes_px, 3, 5)
    again = drawn_crops(sizes_px, 3, 5)
    assert torch.equal(crops.boxes, again.boxes)
    assert torch.equal(crops.flipped, again.flipped)
    for other in (drawn_crops(sizes_px, 4, 5), drawn_crops(sizes_px, 3, 6)):
        assert not torch.equal(crops.boxes, other.boxes)
        assert not torch.equal(crops.flipped, other.flipped)
    assert crops.flipped.float().mean() == pytest.approx(0.5, abs=0.04)


def test_each_image_of_a_batch_is_its_own_crop() -> None:
    images = [noise(20 + 3 * number, 50 - number, number) for number in range(6)]
    dataset = ImagesOnDevice(images, [5, 4, 3, 2, 1, 0], CPU, 16, seed=2)
    batch, labels = dataset.__getitems__([(1, 4), (1, 0), (1, 5)])
    assert labels.tolist() == [1, 5, 0]
    crops = drawn_crops(torch.tensor([image.shape[1:] for image in images]), 2, 1)
    for found, place in zip(batch, (4, 0, 5), strict=True):
        top, left, height, width = crops.boxes[place].tolist()
        part = F.resize_image(images[place][:, top : top + height, left : left + width], [16, 16], antialias=True)
        expected = F.horizontal_flip_image(part) if crops.flipped[place] else part
        assert (found.int() - expected.int()).abs().max() <= 1
    alone, label = dataset[(1, 4)]
    assert int(label) == 1
    assert len(dataset) == 6
    assert (alone.int() - batch[0].int()).abs().max() <= 1
    assert not torch.equal(dataset[(2, 4)][0], alone), "another epoch"


def test_a_loader_trains_on_all_images_and_resumes_in_the_middle(drawn_index: ImageIndex) -> None:
    loader = train_loader(drawn_index, CONFIG, seed=1)
    assert (loader.num_workers, loader.pin_memory) == (0, False)
    loader.sampler.set_epoch(2)  # type: ignore[attr-defined]
    whole = list(loader)
    assert sorted(torch.cat([labels for _, labels in whole]).tolist()) == sorted(drawn_index.train.labels)
    loader.sampler.resume_at(2, 5 * 32)  # type: ignore[attr-defined]
    for one, other in zip(whole[5:], loader, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    on_cpu = next(iter(train_loader(drawn_index, DataConfig(image_size=24, batch_size=32, num_workers=0), seed=1)))
    assert on_cpu[0].stride() == whole[0][0].stride()
    assert on_cpu[0].float().mean() == pytest.approx(float(whole[0][0].float().mean()), rel=0.2)


def test_images_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    size_bytes = sum(noise(10, 10).nbytes for _ in range(3))
    monkeypatch.setattr(on_device, "available_bytes", lambda: 2 * size_bytes)
    ImagesOnDevice([noise(10, 10)] * 3, [0, 1, 2], CPU, 8, 0)
    monkeypatch.setattr(on_device, "available_bytes", lambda: 2 * size_bytes - 2)
    with pytest.raises(UserError, match=r"data\.on_device is True, but the images need more than half .* cpu"):
        ImagesOnDevice([noise(10, 10)] * 3, [0, 1, 2], CPU, 8, 0)
