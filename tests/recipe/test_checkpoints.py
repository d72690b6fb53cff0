"""What a checkpoint holds and gives back, and what predictions and metrics are made of."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.export.checkpoints import save_checkpoint
from woof_lightning.data.config import DataConfig
from woof_lightning.data.decoding import read_image
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.transforms import eval_transform, normalise
from woof_lightning.errors import UserError
from woof_lightning.recipe.checkpoint import (
    RECIPE_KEY,
    TrainedRecipe,
    check_same_classes,
    check_same_images,
    load_net,
    net_of,
    read_checkpoint,
    recipe_of,
)
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.metrics import SplitMeans, epoch_means, per_image, training_report
from woof_lightning.recipe.model import build_net, check_fits, outputs_for
from woof_lightning.recipe.prediction import image_files, predict

ARCH = "shufflenet_v2_x0_5"


def recipe(index: ImageIndex, **model: Any) -> TrainedRecipe:
    settings: dict[str, Any] = {"arch": ARCH, "num_classes": 10} | model
    config = ModelConfig(**settings)
    return TrainedRecipe.of(config, DataConfig(root=Path("d"), image_size=40), index, seed=4, precision="32-true")


@pytest.fixture
def checkpoint(drawn_index: ImageIndex) -> dict[str, Any]:
    net = build_net(ARCH, 10, seed=9)
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    return {"state_dict": state, RECIPE_KEY: recipe(drawn_index).as_dict()}


def saved(checkpoint: Any, folder: Path) -> Path:
    torch.save(checkpoint, folder / "x.ckpt")
    return folder / "x.ckpt"


def test_a_recipe_holds_all_that_weights_need(drawn_index: ImageIndex) -> None:
    found = recipe(drawn_index)
    assert (found.seed, found.precision, found.fingerprint) == (4, "32-true", drawn_index.fingerprint)
    assert (found.classes, found.breeds) == (list(drawn_index.classes), list(drawn_index.breeds))
    assert found.model == asdict(ModelConfig(arch=ARCH, num_classes=10))
    assert (found.data["root"], found.data["image_size"]) == ("d", 40)
    assert recipe_of({RECIPE_KEY: found.as_dict()}) == found


def test_a_net_comes_back_in_evaluation_mode_with_its_weights(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    file = saved(checkpoint, tmp_path)
    net = load_net(file)
    assert not net.training
    expected = build_net(ARCH, 10, seed=9).eval()
    images = torch.randn(2, 3, 40, 40)
    assert torch.equal(net(images), expected(images))
    assert read_checkpoint(file)[RECIPE_KEY] == checkpoint[RECIPE_KEY]


def test_a_net_that_asks_for_a_version_comes_back(drawn_index: ImageIndex, tmp_path: Path) -> None:
    state = {f"net.{name}": value for name, value in build_net("mnasnet0_5", 10, seed=9).state_dict().items()}
    trained = {"state_dict": state, RECIPE_KEY: recipe(drawn_index, arch="mnasnet0_5").as_dict()}
    net = load_net(saved(trained, tmp_path))
    assert all(torch.equal(value, state[f"net.{name}"]) for name, value in net.state_dict().items())


def test_a_net_comes_back_in_its_memory_format(drawn_index: ImageIndex, checkpoint: dict[str, Any]) -> None:
    last = {**checkpoint, RECIPE_KEY: recipe(drawn_index, channels_last=True).as_dict()}
    net: Any = net_of(last)
    assert net.conv1[0].weight.is_contiguous(memory_format=torch.channels_last)
    plain: Any = net_of(checkpoint)
    assert not plain.conv1[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_other_weights_and_unknown_heads_are_refused(drawn_index: ImageIndex, checkpoint: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"weights are not those of {ARCH} with 7 outputs"):
        net_of({**checkpoint, RECIPE_KEY: recipe(drawn_index, num_classes=7).as_dict()})
    with pytest.raises(UserError, match="recipe has no num_classes"):
        net_of({**checkpoint, RECIPE_KEY: recipe(drawn_index, num_classes=None).as_dict()})


@pytest.mark.parametrize("content", [[1], {"state_dict": {}}, {RECIPE_KEY: {}}])
def test_a_file_of_another_program_is_named(content: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x.ckpt: expected a checkpoint of this project, with state_dict and recipe"):
        read_checkpoint(saved(content, tmp_path))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        read_checkpoint(saved({"state_dict": Evil(), RECIPE_KEY: {}}, tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.ckpt: it cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")


def test_classes_and_images_must_be_the_same(drawn_index: ImageIndex) -> None:
    trained = recipe(drawn_index)
    check_same_classes(trained, drawn_index.classes)
    check_same_images(drawn_index.fingerprint, drawn_index, Path("runs/x"))
    for other in (("a",), drawn_index.classes[::-1]):
        with pytest.raises(UserError, match=rf"trained on 10 classes .* the data has {len(other)} \({other[0]}"):
            check_same_classes(trained, other)
    with pytest.raises(UserError, match=f"runs/x cannot be resumed .* was abc, .* is {drawn_index.fingerprint}"):
        check_same_images("abc", drawn_index, Path("runs/x"))


def test_a_prediction_is_the_net_s_answer_to_what_validation_would_see(
    checkpoint: dict[str, Any], drawn_index: ImageIndex, tmp_path: Path
) -> None:
    file = saved(checkpoint, tmp_path)
    images = [drawn_index.root / sample.path for sample in drawn_index.val[:40:20]]
    for answer, image in zip(predict(file, images, top=4), images, strict=True):
        batch = normalise(eval_transform(40)(read_image(image))[None])
        shares = load_net(file)(batch)[0].softmax(0)
        order = shares.argsort(descending=True)[:4]
        assert answer.image == image
        assert answer.problem is None
        assert [guess.class_name for guess in answer.top] == [drawn_index.classes[place] for place in order]
        assert [guess.breed for guess in answer.top] == [drawn_index.breeds[place] for place in order]
        assert [guess.probability for guess in answer.top] == pytest.approx(shares[order].tolist())
    (every,) = predict(file, images[:1], top=99)
    assert len(every.top) == 10
    assert sum(guess.probability for guess in every.top) == pytest.approx(1)
    assert len(next(predict(file, images)).top) == 3


def test_outputs_without_a_class_are_no_answer(drawn_index: ImageIndex, tmp_path: Path) -> None:
    net = build_net(ARCH, 30, seed=9)
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    state["net.fc.bias"][20] = 50.0
    wide = {"state_dict": state, RECIPE_KEY: recipe(drawn_index, num_classes=30).as_dict()}
    image = drawn_index.root / drawn_index.val[0].path
    (answer,) = predict(saved(wide, tmp_path), [image], top=30)
    assert len(answer.top) == 10
    assert sum(guess.probability for guess in answer.top) == pytest.approx(1)


def test_a_problem_takes_the_place_of_an_answer(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("x", encoding="utf-8")
    Image.new("L", (1, 90_000)).save(tmp_path / "thin.png")
    Image.new("L", (90_000, 1)).save(tmp_path / "flat.png")
    Image.new("L", (300, 900)).save(tmp_path / "long.png")
    files = [tmp_path / name for name in ("bad.jpg", "none.jpg", "thin.png", "flat.png", "long.png")]
    answers = list(predict(saved(checkpoint, tmp_path), files))
    assert [answer.image for answer in answers] == files
    told = ("is not an image", "there is no such file", "90,000 times", "90,000 times")
    for answer, text in zip(answers, told, strict=False):
        assert answer.top == []
        assert text in str(answer.problem)
    assert answers[-1].top


def test_probabilities_do_not_depend_on_the_batch_size(drawn_index: ImageIndex, tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path / "trained.ckpt", drawn_index, arch=ARCH)
    (tmp_path / "bad.jpg").write_text("x", encoding="utf-8")
    images = [drawn_index.root / sample.path for sample in drawn_index.val[::20]]
    images = [*images[:3], tmp_path / "bad.jpg", *images[3:]]
    alone = list(predict(file, images, 10, batch_size=1))
    assert len({answer.top[0] for answer in alone if answer.top}) > 5, "answers that are alike would hide an error"
    for batch_size in (2, 3, 32):
        together = list(predict(file, images, 10, batch_size=batch_size))
        assert [answer.image for answer in together] == images
        assert [answer.problem is None for answer in together] == [answer.problem is None for answer in alone]
        for one, other in zip(together, alone, strict=True):
            found, expected = ({guess.class_name: guess.probability for guess in a.top} for a in (one, other))
            assert found == pytest.approx(expected, abs=1e-5)


def test_folders_stand_for_their_images_in_order(tmp_path: Path) -> None:
    (tmp_path / "b/deep").mkdir(parents=True)
    for name in ("b/2.png", "b/1.jpg", "b/deep/0.PNG", "b/notes.txt"):
        (tmp_path / name).write_text("", encoding="utf-8")
    found = image_files([tmp_path / "x.jpg", tmp_path / "b", tmp_path / "a.txt"])
    assert [str(file.relative_to(tmp_path)) for file in found] == [
        "x.jpg", "b/1.jpg", "b/2.png", "b/deep/0.PNG", "a.txt",
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    assert image_files([tmp_path / "empty"]) == [tmp_path / "empty"], "for an answer with a problem"


LOGITS = torch.tensor([[0.0, 1, 2, 3, 4, 5, 6], [9, 0, 0, 0, 0, 0, 1]], dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("labels", "acc1", "acc5"), [([6, 0], [1, 1], [1, 1]), ([2, 6], [0, 0], [1, 1]), ([1, 0], [0, 1], [0, 1])]
)
def test_hits_are_among_the_first_and_the_first_five(labels: list[int], acc1: list[int], acc5: list[int]) -> None:
    found = per_image(LOGITS, torch.tensor(labels))
    assert found["acc1"].tolist() == acc1
    assert found["acc5"].tolist() == acc5
    assert {values.dtype for values in found.values()} == {torch.float32}
    expected = [-float(row.float().log_softmax(0)[label]) for row, label in zip(LOGITS, labels, strict=True)]
    assert found["loss"].tolist() == pytest.approx(expected)
    report = training_report(torch.tensor(0.25), LOGITS, torch.tensor(labels))
    assert report == {"train/loss": 0.25, "train/acc1": sum(acc1) / 2, "train/acc5": sum(acc5) / 2}


def test_an_epoch_s_means_are_those_of_its_reports() -> None:
    reports = [{"train/loss": 1.0, "train/acc1": 0.0, "train/acc5": 0.5, "lr": 9.0},
               {"train/loss": 4.0, "train/acc1": 1.0, "train/acc5": 1.0, "lr": 9.0}]  # fmt: skip
    assert epoch_means(reports) == {"train/loss_epoch": 2.5, "train/acc1_epoch": 0.5, "train/acc5_epoch": 0.75}


def test_means_over_images_and_over_batches_differ_in_an_uneven_split() -> None:
    means = SplitMeans()
    means.update(LOGITS, torch.tensor([6, 1]))  # One of two.
    means.update(LOGITS[:1], torch.tensor([6]))  # One of one.
    assert means.over_images()["val/acc1"] == pytest.approx(2 / 3)
    assert means.over_batches(2)["val/acc1"] == pytest.approx(3 / 4)
    assert means.over_batches()["val/acc1"] == pytest.approx(2 / 3), "All three are in a batch of 16."
    losses = per_image(LOGITS[[0, 1, 0]], torch.tensor([6, 1, 6]))["loss"].double()
    assert means.over_images()["val/loss"] == pytest.approx(float(losses.mean()), rel=1e-6)
    assert means.over_batches(2)["val/loss"] == pytest.approx(float((losses[:2].mean() + losses[2]) / 2), rel=1e-6)
    assert means.over_images().keys() == means.over_batches().keys() == {"val/loss", "val/acc1", "val/acc5"}


def test_the_head_has_as_many_outputs_as_classes_or_more(drawn_index: ImageIndex) -> None:
    assert outputs_for(None, drawn_index) == 10
    assert outputs_for(10, drawn_index) == 10
    assert outputs_for(1000, drawn_index) == 1000
    with pytest.raises(UserError, match="model.num_classes is 9, but .* has 10 classes"):
        outputs_for(9, drawn_index)


def test_a_net_is_tried_on_the_sizes_that_it_will_see() -> None:
    check_fits("resnet18", image_size=224, smallest_batch=1)
    check_fits("resnet18", image_size=32, smallest_batch=2)
    with pytest.raises(UserError, match="a batch of a single image.*BatchNorm.*choose another data.batch_size"):
        check_fits("resnet18", image_size=32, smallest_batch=1)
    with pytest.raises(UserError, match="model.arch is vit_b_16 and data.image_size 128: the net cannot take"):
        check_fits("vit_b_16", image_size=128, smallest_batch=8)


def test_trying_a_net_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    """build_net warns of slow initial weights, once."""
    for arch in ("googlenet", "inception_v3"):
        check_fits(arch, image_size=299, smallest_batch=2)
    assert [str(warning.message) for warning in recwarn] == []
