"""Tests of the model, optimizer, schedule, transforms, metrics and settings."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, AdamW, RMSprop

from woof_lightning.data.config import DataConfig
from woof_lightning.data.transforms import IMAGENET_MEAN, IMAGENET_STD, eval_transform, normalise, train_transform
from woof_lightning.errors import UserError
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.metrics import per_image, training_report
from woof_lightning.recipe.model import build_net
from woof_lightning.recipe.optim import (
    build_optimizer,
    build_schedule,
    check_optimizer,
    check_steps_without_closure,
    learning_rates,
    optimizer_report,
)
from woof_lightning.resources import usable_cores

NET = nn.Linear(2, 2)


def lrs(config: ModelConfig, epochs: int, steps_per_epoch: int) -> list[float]:
    optimizer = build_optimizer(NET.parameters(), config)
    schedule = build_schedule(optimizer, config, epochs * steps_per_epoch)
    seen = []
    for step in range(epochs * steps_per_epoch):
        seen.append(learning_rates(optimizer)["lr"])
        optimizer.step()
        if schedule.interval == "step" or (step + 1) % steps_per_epoch == 0:
            schedule.scheduler.step()
    return seen


def test_initial_weights_are_a_function_of_the_seed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second, other = (
        build_net("resnet18", 10, seed=0),
        build_net("resnet18", 10, seed=0),
        build_net("resnet18", 10, seed=1),
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.conv1.weight, other.conv1.weight)  # type: ignore[union-attr, arg-type]
    assert list(first.state_dict()) == list(torchvision.models.resnet18().state_dict())


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3", "mobilenet_v3_small"])
def test_every_kind_of_classifier_returns_logits_while_training(arch: str) -> None:
    net = build_net(arch, 7).train()
    assert net(torch.rand(2, 3, 96, 96)).shape == (2, 7)


def test_a_net_is_built_in_fp32_whatever_the_default() -> None:
    """Lightning builds nets in the precision of the training; the initial weights are the recipe's."""
    expected = build_net("shufflenet_v2_x0_5", 2).state_dict()
    torch.set_default_dtype(torch.float64)
    try:
        found = build_net("shufflenet_v2_x0_5", 2).state_dict()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert found["fc.weight"].dtype == torch.float32


def test_unknown_classifier_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean resnet18"):
        build_net("resnet81", 10)


def test_channels_last_applies_to_weights_and_batches() -> None:
    net = build_net("resnet18", 10, channels_last=True)
    assert net.conv1.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr, operator]
    batch = normalise(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), channels_last=True)
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_step_divides_by_ten_after_thirty_epochs() -> None:
    seen = lrs(ModelConfig(optimizer="sgd", schedule="step", lr=0.1), epochs=40, steps_per_epoch=2)
    assert seen == pytest.approx([0.1] * 60 + [0.01] * 20)


def test_onecycle_spans_all_steps() -> None:
    seen = lrs(ModelConfig(lr=0.02), epochs=5, steps_per_epoch=20)
    assert seen[0] == pytest.approx(0.02 / 25)
    assert max(seen) == pytest.approx(0.02)
    assert seen.index(max(seen)) == 29
    assert len(set(seen)) > 90


@pytest.mark.parametrize("total", [math.inf, 0])
def test_onecycle_without_a_number_of_steps_is_refused(total: float) -> None:
    config = ModelConfig()
    with pytest.raises(UserError, match=r"onecycle.*trainer.max_epochs"):
        build_schedule(build_optimizer(NET.parameters(), config), config, total)


def test_optimizers_get_the_values_of_the_settings() -> None:
    sgd = build_optimizer(NET.parameters(), ModelConfig(optimizer="sgd"))
    adamw = build_optimizer(NET.parameters(), ModelConfig(optimizer="adamw"))
    assert isinstance(sgd, SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.9, 1e-4)
    assert isinstance(adamw, AdamW)
    assert (adamw.defaults["weight_decay"], adamw.defaults["betas"]) == (1e-4, (0.9, 0.999))


def test_optimizer_by_class_path() -> None:
    choice = {"class_path": "torch.optim.RMSprop", "init_args": {"alpha": 0.5}}
    optimizer = build_optimizer(NET.parameters(), ModelConfig(optimizer=choice, lr=0.3))
    assert isinstance(optimizer, RMSprop)
    assert (optimizer.defaults["alpha"], optimizer.defaults["lr"], optimizer.defaults["momentum"]) == (0.5, 0.3, 0.9)
    adagrad = ModelConfig(optimizer="torch.optim.Adagrad")
    build_schedule(build_optimizer(NET.parameters(), adagrad), adagrad, 10)  # It has no momentum to cycle.


@pytest.mark.parametrize("choice", ["adam", "torch.optim.Nope", "torch.nn.Linear", "no.such.module", {"init_args": {}}])
def test_anything_but_an_optimizer_is_refused(choice: str) -> None:
    with pytest.raises(UserError, match="model.optimizer is"):
        build_optimizer(NET.parameters(), ModelConfig(optimizer=choice))


def test_optimizer_that_refuses_its_arguments_is_named() -> None:
    choice = {"class_path": "torch.optim.SGD", "init_args": {"speed": 3}}
    with pytest.raises(UserError, match="SGD refused its arguments"):
        build_optimizer(NET.parameters(), ModelConfig(optimizer=choice))


def test_several_groups_are_reported_by_name() -> None:
    groups = [{"params": [p], "lr": lr, "name": n} for p, lr, n in zip(NET.parameters(), (1.0, 2.0), "ab", strict=True)]
    assert learning_rates(SGD(groups)) == {"lr/a": 1.0, "lr/b": 2.0}


@pytest.mark.parametrize(("image_size", "resized"), [(224, 256), (128, 146), (64, 73)])
def test_validation_resizes_by_eight_sevenths_and_crops(image_size: int, resized: int) -> None:
    transform = eval_transform(image_size)
    image = torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8)
    assert transform(image).shape == (3, image_size, image_size)
    assert next(iter(transform.children())).size == [resized]


def test_training_crop_is_uint8_of_the_right_size() -> None:
    out = train_transform(64)(torch.zeros(3, 200, 100, dtype=torch.uint8))
    assert (out.dtype, tuple(out.shape)) == (torch.uint8, (3, 64, 64))


def test_normalise_uses_imagenet_s_mean_and_std() -> None:
    images = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(normalise(images), (images / 255 - mean) / std, rtol=1e-5, atol=1e-5)


def test_metrics_of_known_logits() -> None:
    logits = torch.tensor([[3.0, 2, 1, 0, -1, -2], [0, 0, 0, 0, 0, 9]])
    found = per_image(logits, torch.tensor([0, 0]))
    assert found["acc1"].tolist() == [1, 0]
    assert found["acc5"].tolist() == [1, 1]
    assert found["loss"][0] == pytest.approx(float(torch.nn.functional.cross_entropy(logits[:1], torch.tensor([0]))))


@given(st.integers(2, 12), st.integers(1, 20), st.integers(0, 1000))
def test_reports_are_means_and_top_five_includes_top_one(classes: int, images: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=generator)
    labels = torch.randint(0, classes, (images,), generator=generator)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    report = training_report(loss, logits, labels)
    assert report["train/loss"] == float(loss)
    assert report["train/acc1"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert report["train/acc1"] <= report["train/acc5"] <= 1
    assert classes > 5 or report["train/acc5"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0}, "model.lr is 0"),
        ({"lr": float("nan")}, "model.lr is nan"),
        ({"momentum": 1.0}, "model.momentum is 1.0"),
        ({"weight_decay": -1.0}, "model.weight_decay is -1.0"),
        ({"schedule": "cosine"}, "model.schedule is 'cosine'.*step, onecycle"),
        ({"num_classes": 1}, "model.num_classes is 1"),
    ],
)
def test_model_settings_that_cannot_be_used(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ModelConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 0}, "data.image_size is 0"),
        ({"batch_size": -3}, "data.batch_size is -3"),
        ({"eval_batch_size": 0}, "data.eval_batch_size is 0"),
        ({"num_workers": -1}, "data.num_workers is -1"),
        ({"noisy_labels": 7}, "data.noisy_labels is 7.*0, 1, 5, 25, 50"),
        ({"variant": "64px"}, "data.variant is '64px'.*full, 320px, 160px, synthetic"),
    ],
)
def test_data_settings_that_cannot_be_used(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DataConfig(**settings)  # type: ignore[arg-type]


def test_all_problems_come_in_one_error() -> None:
    with pytest.raises(UserError) as caught:
        DataConfig(image_size=0, batch_size=0)
    assert "data.image_size" in str(caught.value)
    assert "data.batch_size" in str(caught.value)


def test_null_workers_means_one_per_core() -> None:
    assert DataConfig().worker_count == usable_cores()
    assert DataConfig(num_workers=0).worker_count == 0


@given(
    schedule=st.sampled_from(("step", "onecycle")),
    optimizer=st.sampled_from(("sgd", "adamw")),
    steps=st.integers(2, 80),
    cut=st.integers(0, 79),
    lr=st.floats(1e-5, 1.0),
)
@settings(deadline=None)
def test_a_restored_schedule_continues_as_if_never_interrupted(
    schedule: str, optimizer: str, steps: int, cut: int, lr: float
) -> None:
    config = ModelConfig(schedule=schedule, optimizer=optimizer, lr=lr)

    def train(first: int, last: int, state: tuple[Any, Any] | None) -> tuple[list[dict[str, float]], tuple[Any, Any]]:
        used = build_optimizer([torch.nn.Parameter(torch.zeros(1))], config)
        built = build_schedule(used, config, steps)
        if state is not None:
            used.load_state_dict(state[0])
            built.scheduler.load_state_dict(state[1])
        seen = []
        for _ in range(first, last):
            seen.append(optimizer_report(used))
            used.step()
            built.scheduler.step()
        return seen, (used.state_dict(), built.scheduler.state_dict())

    cut = min(cut, steps - 1)
    # One-cycle cannot step after its last step.
    whole, _ = train(0, steps - 1, None)
    before, state = train(0, cut, None)
    after, _ = train(cut, steps - 1, copy.deepcopy(state))
    assert before + after == whole


def test_the_momentum_in_use_is_reported() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1))]
    assert optimizer_report(SGD(weights, lr=0.1, momentum=0.8)) == {"lr": 0.1, "momentum": 0.8}
    assert optimizer_report(AdamW(weights, lr=0.1, betas=(0.7, 0.9))) == {"lr": 0.1, "momentum": 0.7}
    assert optimizer_report(torch.optim.Adagrad(weights, lr=0.1)) == {"lr": 0.1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": {"class_path": "sgd", "lr": 0.5}}, r"class_path and init_args only; put lr into init_args"),
        ({"optimizer": {"class_path": "sgd", "init_args": 3}}, r"class_path and init_args only"),
        ({"optimizer": {"class_path": "torch.optim.Optimizer"}}, r"expected sgd, adamw"),
        ({"optimizer": {"class_path": "sgd", "init_args": {"betas": [0.9, 0.9]}}}, r"SGD refused its arguments"),
        ({"optimizer": {"class_path": "sgd", "init_args": {"lr": 0.5}}}, r"init_args.lr is 0.5, .*set model.lr"),
        ({"optimizer": {"class_path": "sgd", "init_args": {"momentum": 0.5}}}, r"init_args.momentum is 0.5"),
        ({"optimizer": {"class_path": "adamw", "init_args": {"betas": [0.8, 0.99]}}}, r"init_args.betas is \[0.8"),
        ({"optimizer": "sgd", "momentum": 0.5}, r"model.momentum is 0.5, .*between 0.85 and 0.95"),
    ],
)
def test_what_an_optimizer_would_not_use_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_optimizer(ModelConfig(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": {"class_path": "adamw", "init_args": {"betas": [0.9, 0.99]}}},
        {"optimizer": {"class_path": "sgd", "init_args": {"lr": 0.5, "momentum": 0.5}}, "schedule": "step"},
        {"optimizer": "sgd", "momentum": 0.5, "schedule": "step"},
        {"optimizer": {"class_path": "torch.optim.Adagrad"}},
    ],
)
def test_what_an_optimizer_uses_is_taken(settings: dict[str, Any]) -> None:
    check_optimizer(ModelConfig(**settings))


def test_an_optimizer_that_needs_a_closure_is_refused_where_no_loop_gives_one() -> None:
    config = ModelConfig(optimizer="torch.optim.LBFGS", schedule="step")
    check_optimizer(config)
    with pytest.raises(UserError, match="its step needs a closure"):
        check_steps_without_closure(config)
    check_steps_without_closure(ModelConfig())
