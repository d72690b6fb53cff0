"""What the seed decides, one thing at a time: the weights, the order, the augmentation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from tests.conftest import Woof
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.loading import Batch, ImageDataset
from woof_lightning.data.randomness import derived_seed
from woof_lightning.data.samples import Samples
from woof_lightning.data.sampling import EpochSampler
from woof_lightning.data.transforms import train_transform
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.recipe.model import build_net

ARCH, SIZE_PX, BATCH = "shufflenet_v2_x0_5", 32, 8
Seen = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def expected_batch(index: ImageIndex, *, order: int, augmentation: int, epoch: int = 0) -> Batch:
    """The first batch of an epoch, asked for image by image."""
    sampler = EpochSampler(len(index.train), order)
    sampler.set_epoch(epoch)
    dataset = ImageDataset(index.root, index.train, train_transform(SIZE_PX), augmentation)
    images, labels = zip(*(dataset[key] for key in list(sampler)[:BATCH]), strict=True)
    return torch.stack(images), torch.tensor(labels)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The images, labels and weights of the head that each training step begins with."""
    found: Seen = []
    real = WoofClassifier.training_step

    def noted(self: WoofClassifier, batch: Batch, batch_idx: int) -> torch.Tensor:
        found.append((batch[0].clone(), batch[1].clone(), self.net.fc.weight.detach().clone()))  # type: ignore[union-attr, operator]
        return real(self, batch, batch_idx)

    monkeypatch.setattr(WoofClassifier, "training_step", noted)
    return found


@pytest.mark.parametrize("seed", [0, 7])
def test_the_first_batch_and_weights_of_a_fit_are_those_of_its_seed(
    seed: int, seen: Seen, woof: Woof, small_fit: list[str], drawn_index: ImageIndex
) -> None:
    assert woof("fit", *small_fit, "--seed_everything", seed).code == 0
    for epoch in (0, 1):
        images, labels = expected_batch(drawn_index, order=seed, augmentation=seed, epoch=epoch)
        assert torch.equal(seen[4 * epoch][0], images)
        assert torch.equal(seen[4 * epoch][1], labels)
    net: Any = build_net(ARCH, 10, seed=seed)
    assert torch.equal(seen[0][2], net.fc.weight)


def first_step(model_seed: int, data_seed: int, root: Any, seen: Seen) -> tuple[torch.Tensor, ...]:
    data = ImagewoofDataModule(
        root=root, variant="synthetic", image_size=SIZE_PX, batch_size=BATCH, num_workers=0, seed=data_seed
    )
    off: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = Trainer(max_steps=1, accelerator="cpu", num_sanity_val_steps=0, limit_val_batches=0, **off)
    seen.clear()
    trainer.fit(WoofClassifier(arch=ARCH, schedule="step", seed=model_seed), datamodule=data)
    return seen[0]


def test_the_module_s_seed_is_that_of_the_weights_and_the_data_s_that_of_the_batches(
    seen: Seen, drawn_root: Any
) -> None:
    images, labels, weights = first_step(0, 0, drawn_root, seen)
    other = first_step(1, 0, drawn_root, seen)
    assert torch.equal(other[0], images)
    assert torch.equal(other[1], labels)
    assert not torch.equal(other[2], weights)
    other = first_step(0, 1, drawn_root, seen)
    assert not torch.equal(other[0], images)
    assert not torch.equal(other[1], labels)
    assert torch.equal(other[2], weights)


def test_order_and_augmentation_each_depend_on_the_seed(drawn_index: ImageIndex) -> None:
    def order_of(seed: int) -> list[Any]:
        return list(EpochSampler(len(drawn_index.train), seed))

    def image_of(seed: int) -> torch.Tensor:
        image, _ = ImageDataset(drawn_index.root, drawn_index.train, train_transform(SIZE_PX), seed)[(0, 3)]
        return torch.as_tensor(image)

    assert order_of(0) == order_of(0) != order_of(1)
    assert torch.equal(image_of(0), image_of(0))
    assert not torch.equal(image_of(0), image_of(1))


def test_two_images_of_an_epoch_are_not_augmented_alike(drawn_index: ImageIndex) -> None:
    same = ImageIndex(
        drawn_index.root, drawn_index.classes, drawn_index.breeds, Samples.of([drawn_index.train[0]] * 2), Samples()
    )
    dataset = ImageDataset(same.root, same.train, train_transform(SIZE_PX), 0)
    assert not torch.equal(dataset[(0, 0)][0], dataset[(0, 1)][0])


def test_each_purpose_and_key_has_numbers_of_its_own() -> None:
    keys = [
        ("order", 0, 1),
        ("order", 1, 0),
        ("augmentation", 0, 1),
        ("order", 0),
        ("order", 0, 1, 0),
        ("order", 0, 11),
    ]
    seeds = {derived_seed(purpose, *numbers) for purpose, *numbers in keys}  # type: ignore[arg-type]
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    # It is the same on every machine and in every version: old runs can be resumed.
    assert derived_seed("order", 0, 1) == int.from_bytes(bytes.fromhex("7c2a0505f83abf7f"), "little") >> 1
