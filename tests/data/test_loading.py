from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex, index_folder
from woof_lightning.data.loading import Batch, train_loader, val_loader
from woof_lightning.data.sampling import EpochSampler
from woof_lightning.data.workers import check_shared_memory
from woof_lightning.errors import UnreadableImageError, UserError, user_message

CONFIG = DataConfig(variant="synthetic", image_size=32, batch_size=100, num_workers=0)


def epoch_of(loader: DataLoader[Batch], epoch: int) -> list[Batch]:
    cast(EpochSampler, loader.sampler).set_epoch(epoch)
    return [(images.clone(), labels.clone()) for images, labels in loader]


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second) > 0
    for (images, labels), (other_images, other_labels) in zip(first, second, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 4])
def test_batches_do_not_depend_on_the_number_of_workers(drawn_index: ImageIndex, workers: int) -> None:
    alone = train_loader(drawn_index, CONFIG, seed=3)
    helped = train_loader(drawn_index, DataConfig(**{**vars(CONFIG), "num_workers": workers}), seed=3)
    for epoch in (0, 1):  # The second epoch must also reach persistent workers.
        assert_same(epoch_of(alone, epoch), epoch_of(helped, epoch))


def test_without_devices_a_loader_reads_what_the_only_device_does(drawn_index: ImageIndex) -> None:
    assert_same(
        epoch_of(train_loader(drawn_index, CONFIG, seed=3), 0),
        epoch_of(train_loader(drawn_index, CONFIG, seed=3, rank=0, world_size=1), 0),
    )


def test_an_epoch_does_not_depend_on_the_epochs_before(drawn_index: ImageIndex) -> None:
    went_through = train_loader(drawn_index, CONFIG, seed=0)
    for epoch in range(7):
        next(iter(went_through))
        cast(EpochSampler, went_through.sampler).set_epoch(epoch)
    torch.rand(5)
    assert_same(epoch_of(went_through, 7), epoch_of(train_loader(drawn_index, CONFIG, seed=0), 7))


def test_epochs_and_seeds_differ(drawn_index: ImageIndex) -> None:
    loader = train_loader(drawn_index, CONFIG, seed=0)
    first, second = epoch_of(loader, 0), epoch_of(loader, 1)
    other_seed = epoch_of(train_loader(drawn_index, CONFIG, seed=1), 0)
    assert not torch.equal(first[0][0], second[0][0])
    assert not torch.equal(first[0][0], other_seed[0][0])


def test_augmentation_of_an_image_differs_between_epochs(drawn_index: ImageIndex) -> None:
    dataset = train_loader(drawn_index, CONFIG, seed=0).dataset
    assert not torch.equal(dataset[(0, 5)][0], dataset[(1, 5)][0])
    assert torch.equal(dataset[(1, 5)][0], dataset[(1, 5)][0])


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.process)])
def test_the_global_random_state_does_not_change(drawn_index: ImageIndex, workers: int) -> None:
    config = DataConfig(**{**vars(CONFIG), "num_workers": workers})
    before = torch.get_rng_state()
    epoch_of(train_loader(drawn_index, config, seed=0), 0)
    list(val_loader(drawn_index, config))
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_are_uint8_and_no_batch_is_dropped(drawn_index: ImageIndex) -> None:
    batches = epoch_of(train_loader(drawn_index, CONFIG, seed=0), 0)
    assert [len(labels) for _, labels in batches] == [100, 100, 100, 100, 80]
    images, labels = batches[0]
    assert (images.dtype, tuple(images.shape), labels.dtype) == (torch.uint8, (100, 3, 32, 32), torch.int64)


def test_validation_keeps_its_order(drawn_index: ImageIndex) -> None:
    labels = torch.cat([labels for _, labels in val_loader(drawn_index, CONFIG)])
    assert labels.tolist() == [sample.label for sample in drawn_index.val]


@given(
    size=st.integers(1, 300),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 1000),
)
def test_order_is_a_permutation(size: int, seed: int, epoch: int) -> None:
    sampler = EpochSampler(size, seed)
    sampler.set_epoch(epoch)
    assert sorted(index for _, index in sampler) == list(range(size))
    assert {key[0] for key in sampler} == {epoch}
    assert len(sampler) == size


def test_batch_larger_than_the_data_is_refused(drawn_index: ImageIndex) -> None:
    with pytest.raises(UserError, match="data.batch_size is 481, but .* has 480 training images"):
        train_loader(drawn_index, DataConfig(variant="synthetic", batch_size=481), seed=0)


def test_a_batch_of_fewer_images_than_devices_is_refused(drawn_index: ImageIndex) -> None:
    with pytest.raises(UserError, match=f"data.batch_size is {CONFIG.batch_size} over 101 devices: expected at least"):
        train_loader(drawn_index, CONFIG, seed=0, world_size=101)


def test_fewer_validation_batches_than_devices_are_refused(drawn_index: ImageIndex) -> None:
    with pytest.raises(UserError, match="1 batches to validate .* for 2 devices: expected one for each at least"):
        val_loader(drawn_index, replace(CONFIG, eval_batch_size=10**6), world_size=2)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.process)])
def test_a_decode_error_names_its_file(small_folder: Path, workers: int) -> None:
    victim = sorted((small_folder / "train").rglob("*.JPEG"))[3]
    index = index_folder(small_folder)
    victim.write_bytes(b"no image")
    config = DataConfig(folder=small_folder, image_size=32, batch_size=4, num_workers=workers)
    with pytest.raises(UnreadableImageError) as caught:
        epoch_of(train_loader(index, config, seed=0), 0)
    assert user_message(caught.value).startswith(f"{victim} cannot be decoded as an image")
    assert "Traceback" not in user_message(caught.value)


@pytest.mark.process
def test_a_worker_that_hangs_ends_with_its_process() -> None:
    script = (
        "import time\n"
        "from torch.utils.data import DataLoader\n"
        "from woof_lightning.data.workers import leave_stopping_to_the_trainer\n"
        "class Hanging:\n"
        "    def __len__(self): return 1\n"
        "    def __getitem__(self, index): time.sleep(1000)\n"
        "loader = DataLoader(Hanging(), num_workers=1, worker_init_fn=leave_stopping_to_the_trainer)\n"
        "batches = iter(loader)\n"
        "time.sleep(1)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_too_little_shared_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 64_000_000

    monkeypatch.setattr("woof_lightning.data.workers.shutil.disk_usage", lambda _: Usage)
    config = DataConfig(num_workers=4)
    with pytest.raises(UserError, match="shared memory.*64 MB free.*--shm-size"):
        check_shared_memory(config, tmp_path)
    check_shared_memory(DataConfig(num_workers=0), tmp_path)
    check_shared_memory(config, tmp_path / "missing")


@given(
    size=st.integers(2, 300),
    batch_size=st.integers(1, 40),
    cut=st.integers(0, 400),
    epoch=st.integers(0, 50),
    seed=st.integers(0, 9),
)
def test_an_interrupted_epoch_and_its_rest_are_the_whole_epoch(
    size: int, batch_size: int, cut: int, epoch: int, seed: int
) -> None:
    whole, rest = (EpochSampler(size, seed) for _ in range(2))
    place = min(cut, len(whole) // batch_size) * batch_size
    rest.resume_at(epoch, place)
    for sampler in (whole, rest):
        sampler.set_epoch(epoch)
    assert list(whole)[:place] + list(rest) == list(whole)
    assert len(rest) == len(whole)
    for sampler in (whole, rest):
        sampler.set_epoch(epoch + 1)
    assert list(rest) == list(whole)
