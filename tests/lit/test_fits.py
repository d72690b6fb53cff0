"""A net that cannot be trained on the batches is refused before the training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Trainer

from tests.conftest import Woof
from tests.ways import WITHOUT_PEERS
from woof_lightning.data.config import DataConfig
from woof_lightning.data.images import ImageIndex, index_folder
from woof_lightning.data.loading import smallest_batch, train_loader
from woof_lightning.data.samples import Sample, Samples
from woof_lightning.errors import UserError
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.lr_finder import lr_find
from woof_lightning.recipe.model import check_fits
from woof_lightning.runs.alone import check_alone
from woof_lightning.runs.hparams import SUFFIX

SMALL = ("--model.arch", "shufflenet_v2_x0_5", "--data.image_size", 32, "--data.num_workers", 0)
ALONE = "a batch of a single image, such as the last one of an epoch"


@pytest.fixture
def odd_folder(small_folder: Path) -> Path:
    """17 training images: two batches of 8 and one of 1."""
    first = sorted((small_folder / "train").rglob("*.JPEG"))[0]
    shutil.copy(first, first.with_name("more.JPEG"))
    return small_folder


@pytest.mark.parametrize("verb", [("fit",), *(("loop", name) for name in WITHOUT_PEERS if name != "woof_fit")])
def test_a_last_batch_of_one_is_refused_before_the_training(
    verb: tuple[str, ...], woof: Woof, odd_folder: Path
) -> None:
    options = (*SMALL, "--data.folder", odd_folder, "--trainer.max_epochs", 1, "--name", "run")
    refused = woof(*verb, *options, "--data.batch_size", 8)
    assert refused.code == 2
    assert ALONE in refused.err
    assert "choose another data.batch_size" in refused.err
    assert not Path("runs").exists()
    if verb == ("fit",):  # What the message tells to do works.
        assert woof(*verb, *options, "--data.batch_size", 7).code == 0


def test_a_sweep_over_such_a_batch_is_refused(woof: Woof, odd_folder: Path) -> None:
    refused = woof("lr-find", *SMALL, "--data.folder", odd_folder, "--data.batch_size", 8)
    assert (refused.code, ALONE in refused.err) == (2, True)
    assert not Path("runs").exists()


def test_a_net_without_batch_norm_takes_a_single_image(woof: Woof, odd_folder: Path) -> None:
    options = ("--data.folder", odd_folder, "--trainer.max_epochs", 1, "--data.num_workers", 0, "--data.batch_size", 8)
    done = woof("fit", *options, "--model.arch", "squeezenet1_1", "--data.image_size", 32)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("arch", "image_size", "smallest", "told"),
    [
        ("vit_b_16", 128, 8, "cannot take images of this size"),
        ("inception_v3", 32, 8, "cannot take images of this size"),
        ("resnet18", 32, 1, ALONE),
        ("vit_b_16", 224, 1, None),
        ("resnet18", 64, 1, None),
        ("resnet18", 32, 2, None),
    ],
)
def test_a_net_is_tried_on_the_smallest_batch(arch: str, image_size: int, smallest: int, told: str | None) -> None:
    if told is None:
        check_fits(arch, image_size=image_size, smallest_batch=smallest)
        return
    with pytest.raises(UserError, match=told):
        check_fits(arch, image_size=image_size, smallest_batch=smallest)


@given(
    images=st.integers(1, 60),
    per_device=st.integers(1, 9),
    world_size=st.integers(1, 4),
    limit=st.none() | st.integers(1, 9),
)
def test_the_smallest_batch_is_that_of_the_loaders(
    images: int, per_device: int, world_size: int, limit: int | None
) -> None:
    samples = Samples.of(Sample(f"train/a/{number}.jpg", 0, 1) for number in range(images))
    index = ImageIndex(Path(), ("a", "b"), ("a", "b"), samples, samples)
    config = DataConfig(batch_size=min(per_device * world_size, images) // world_size * world_size or world_size)
    if config.batch_size > images:
        return
    sizes = []
    for rank in range(world_size):
        loader = train_loader(index, config, seed=0, rank=rank, world_size=world_size, batches=limit)
        assert loader.batch_sampler is not None
        sizes += [len(batch) for batch in loader.batch_sampler]
    assert smallest_batch(config, index, world_size=world_size, batches=limit) == min(sizes)


def test_the_api_refuses_it_too(odd_folder: Path) -> None:
    data = ImagewoofDataModule(folder=odd_folder, image_size=32, batch_size=8, num_workers=0)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        enable_progress_bar=False,
    )  # fmt: skip
    with pytest.raises(UserError, match=ALONE):
        trainer.fit(WoofClassifier(arch="shufflenet_v2_x0_5"), datamodule=data)
    two = Trainer(accelerator="cpu", devices=2, strategy="ddp_spawn", logger=False)
    with pytest.raises(UserError, match="the trainer has 2 processes: a sweep takes one"):
        lr_find(WoofClassifier(arch="shufflenet_v2_x0_5"), datamodule=data, trainer=two)


def test_a_sweep_over_several_devices_is_refused_and_leaves_nothing(woof: Woof, small_folder: Path) -> None:
    options = (*SMALL, "--data.folder", small_folder, "--data.batch_size", 8)
    refused = woof("lr-find", *options, "--trainer.devices", 2, "--trainer.accelerator", "cpu")
    assert refused.code == 2
    assert "a sweep takes one" in refused.err
    assert not Path("runs").exists()


def test_an_empty_folder_of_a_sweep_does_not_block_the_next(woof: Woof, small_fit: list[str]) -> None:
    Path("runs/adamw_onecycle/lr_find").mkdir(parents=True)
    done = woof("lr-find", *small_fit, "--min_lr", "1e-6", "--max_lr", "0.1", "--num_training", 40)
    assert done.code == 0, done.err


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_a_number_from_the_environment_is_not_silently_obeyed(
    name: str, woof: Woof, small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "3")
    for verb in (("fit",), ("loop", "bare")):
        refused = woof(*verb, *SMALL, "--data.folder", small_folder, "--data.batch_size", 8)
        assert refused.code == 2
        assert f"the environment variable {name} is 3" in refused.err
    check_alone(1, {name: "0"})
    check_alone(2, {name: "1"})
    check_alone(1, {})


def test_a_run_that_died_in_its_first_step_does_not_block(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    for verb in (("fit",), ("loop", "bare")):
        with monkeypatch.context() as patch:
            patch.setattr("torch.nn.functional.cross_entropy", dies)
            with pytest.raises(ZeroDivisionError):
                woof(*verb, *small_fit, "--name", verb[-1])
        assert Path(f"runs/{verb[-1]}/config.yaml").is_file()
        corrected = (*small_fit, "--name", verb[-1], "--model.lr", "0.001")
        resumed = woof(*verb, *corrected, "--resume")
        assert resumed.code == 0, resumed.err
        suffixes = [path.suffix for path in Path(f"runs/{verb[-1]}").glob("events*")]
        assert sorted(suffix == SUFFIX for suffix in suffixes) == [False, True], "No events of the run that died."
        assert woof(*verb, *corrected).code == 2, "This one has trained."


def test_a_dead_start_does_not_block_the_corrected_command(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("torch.nn.functional.cross_entropy", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            woof("fit", *small_fit)
    assert woof("fit", *small_fit, "--model.lr", "0.001").code == 0


def test_images_of_a_wrong_size_are_told_in_every_verb(woof: Woof, small_folder: Path) -> None:
    assert index_folder(small_folder).counts()["train"] == 16
    options = ("--data.folder", small_folder, "--data.batch_size", 8, "--data.image_size", 64, "--data.num_workers", 0)
    for verb in ("fit", "lr-find"):
        refused = woof(verb, *options, "--model.arch", "vit_b_16")
        assert (refused.code, "Wrong image height" in refused.err) == (2, True)
        assert not Path("runs").exists()
