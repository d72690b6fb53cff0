"""Every measured way trains the same net on the same batches to the same weights, and does what its name says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.ways import each
from woof_lightning.cost.features import FEATURES, SIDES, features_up_to, way_named
from woof_lightning.cost.ready import BATCHES_IN_MEMORY, CLASSES, NEVER, ReadyExperiment, Work
from woof_lightning.cost.ways import MEASURED
from woof_lightning.data.randomness import own_randomness
from woof_lightning.recipe.optim import build_optimizer, build_schedule
from woof_lightning.runs.folder import RunFolder

STEPS = 12
Train = Callable[..., tuple[torch.Tensor, RunFolder]]
# What logs, as each side names it.
LOSS, METRICS = {"train/loss"}, {"train/acc1", "train/acc5"}


def work(log_every_n_steps: int = 10, **more: Any) -> Work:
    return Work(arch="tiny", image_size=8, batch_size=4, steps=STEPS, log_every_n_steps=log_every_n_steps, **more)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Trains in a way; returns the weights that its net ends with, and its folder."""
    nets: list[Any] = []
    real = ReadyExperiment.net

    def noted(self: ReadyExperiment) -> Any:
        nets.append(real(self))
        return nets[-1]

    monkeypatch.setattr(ReadyExperiment, "net", noted)

    def train(name: str, **more: Any) -> tuple[torch.Tensor, RunFolder]:
        run = RunFolder(tmp_path / name.replace(":", "-"))
        run.create()
        way_named(name).train(work(**more).experiment(), run)
        return nets[-1].head.weight.detach(), run

    return train


def by_hand(schedule: bool = True) -> torch.Tensor:
    """The same training written out: AdamW with one-cycle over the batches in memory."""
    experiment = work().experiment()
    with own_randomness("weights", 0):
        head = torch.nn.Linear(3, CLASSES)
    optimizer = build_optimizer(head.parameters(), experiment.model)
    scheduler = build_schedule(optimizer, experiment.model, STEPS).scheduler
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    if not schedule:
        # The schedule's first step has set them.
        optimizer = build_optimizer(head.parameters(), experiment.model)
    for images, labels in experiment.loaders()[0]:
        loss = torch.nn.functional.cross_entropy(head(((images / 255 - mean) / std).mean((2, 3))), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if schedule:
            scheduler.step()
    return head.weight.detach()


@pytest.mark.parametrize("name", each(MEASURED))
def test_every_way_ends_with_the_same_weights(name: str, trained: Train) -> None:
    bare, _ = trained("bare")
    found, _ = trained(name)
    assert torch.equal(found, bare)
    torch.testing.assert_close(bare, by_hand(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("feature", FEATURES)
def test_both_sides_of_a_feature_train_alike(feature: str, trained: Train) -> None:
    lightning, hand = (trained(f"{side}:{feature}")[0] for side in SIDES)
    assert torch.equal(lightning, hand)
    bare, _ = trained("bare")
    # Without its schedule, the first feature trains otherwise.
    assert torch.equal(hand, bare) == (feature != "alone")


@pytest.mark.parametrize(("feature", "tags"), [
    ("bar", None),
    ("logger", set()),
    ("logged_value", LOSS),
    ("torchmetrics", LOSS | METRICS),
    ("callbacks", LOSS | METRICS | {"lr"}),
])  # fmt: skip
def test_a_feature_logs_what_it_says_every_tenth_step(feature: str, tags: set[str] | None, trained: Train) -> None:
    for side in SIDES:
        _, run = trained(f"{side}:{feature}")
        files = list(run.path.rglob("events.out.tfevents*"))
        assert len(files) == (0 if tags is None else 1), side
        if tags is None:
            continue
        events = EventAccumulator(str(files[0].parent))
        events.Reload()
        found = {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        named = {"lr" if tag.startswith("lr") else tag: steps for tag, steps in found.items() if tag != "epoch"}
        assert named.keys() == tags, side
        # Lightning counts its steps from 0.
        assert all(steps == [10 if side == "hand" else 9] for steps in named.values()), side


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("feature", "saved"), [("torchmetrics", 0), ("checkpoint", 1)])
def test_a_checkpoint_is_saved_from_its_feature_on(side: str, feature: str, saved: int, trained: Train) -> None:
    weights, run = trained(f"{side}:{feature}")
    files = list(run.path.rglob("*.ckpt"))
    assert len(files) == saved
    if files:
        state = torch.load(files[0], weights_only=False)
        found = state["net"]["head.weight"] if side == "hand" else state["state_dict"]["net.head.weight"]
        assert torch.equal(found, weights)


@pytest.mark.parametrize("feature", ["scheduler", "bar"])
@pytest.mark.parametrize("side", SIDES)
def test_a_bar_is_drawn_from_its_feature_on(
    side: str, feature: str, trained: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    trained(f"{side}:{feature}")
    out, err = capfd.readouterr()
    assert ("it/s" in out + err) == (feature == "bar")


def test_features_add_up() -> None:
    names = list(FEATURES)
    assert [features_up_to(name) for name in names] == [frozenset(names[: n + 1]) for n in range(len(names))]


@pytest.mark.parametrize("name", ["lightning_lean", "lightning_barebones", "lightning_barebones_no_search"])
def test_off_leaves_nothing(name: str, trained: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    _, run = trained(name, log_every_n_steps=NEVER)
    assert [path for path in run.path.rglob("*") if path.is_file()] == []
    out, err = capfd.readouterr()
    assert "it/s" not in out + err


def test_on_is_woof_fit_as_its_users_have_it(trained: Callable[..., Any]) -> None:
    _, run = trained("woof_fit")
    assert run.best.is_file()
    assert run.last.is_file()
    assert run.metrics.is_file()
    assert run.result.is_file()
    assert list(run.path.glob("events*"))


def test_the_work_is_what_was_asked_for() -> None:
    experiment = work(log_every_n_steps=7, precision="bf16-mixed").experiment()
    assert experiment.train_batches == experiment.total_steps == STEPS
    assert (experiment.trainer.log_every_n_steps, experiment.trainer.precision) == (7, "bf16-mixed")
    assert experiment.val_batches == 1
    assert not experiment.model.channels_last
    train, val = experiment.loaders()
    batches = list(train)
    assert [tuple(images.shape) for images, _ in batches] == [(4, 3, 8, 8)] * STEPS
    assert len(list(val)) == 1
    assert {int(label) for _, labels in batches for label in labels} <= set(range(CLASSES))
    for place, (images, _) in enumerate(batches):
        assert torch.equal(images, batches[place % BATCHES_IN_MEMORY][0])
    assert not torch.equal(batches[0][0], batches[1][0])
    assert batches[0][0].dtype == torch.uint8
    assert batches[0][0].float().std() > 50, "Noise, so that nothing is easier than with images."
    again = next(iter(work().experiment().loaders()[0]))
    assert torch.equal(again[0], batches[0][0])
    assert len(experiment.index.train) == 4 * STEPS
    assert len(experiment.index.classes) == CLASSES


def test_a_real_net_is_the_one_asked_for_in_channels_last() -> None:
    real = Work(arch="resnet18", image_size=32, batch_size=2, steps=2, log_every_n_steps=1).experiment()
    assert real.model.channels_last
    net: Any = real.net()
    assert net.fc.out_features == CLASSES
    assert net.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert real.data.image_size == 32


@pytest.mark.parametrize("name", each(["bare", "fabric", "bare_again"]))
def test_a_loop_leaves_its_result(name: str, trained: Train) -> None:
    _, run = trained(name)
    assert run.result.is_file()
    assert run.last.is_file()


def test_work_may_have_several_epochs_and_validation_batches() -> None:
    experiment = work(epochs=3, val_batches=5).experiment()
    assert (experiment.trainer.max_epochs, experiment.train_batches, experiment.total_steps) == (3, STEPS, 3 * STEPS)
    train, val = experiment.loaders()
    assert (experiment.val_batches, len(list(val)), len(list(train))) == (5, 5, STEPS)
    assert len(experiment.index.val) == 5 * 4


def test_a_convnet_has_the_channels_that_its_name_says() -> None:
    experiment = Work(arch="conv6", image_size=16, batch_size=2, steps=2, log_every_n_steps=1).experiment()
    net: Any = experiment.net()
    convolutions = [layer for layer in net if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [6, 12, 24]
    assert convolutions[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert net(torch.rand(2, 3, 16, 16)).shape == (2, CLASSES)
    assert torch.equal(convolutions[0].weight, cast(Any, experiment.net())[0].weight)


def test_a_net_tells_its_forward_passes() -> None:
    seen: list[Any] = []
    experiment = replace(work().experiment(), before_forward=lambda net, *_: seen.append(net))
    net = experiment.net()
    net(torch.rand(2, 3, 8, 8))
    net(torch.rand(2, 3, 8, 8))
    assert seen == [net, net], "Once a pass, not once a layer."


def test_the_lean_way_reports_as_bare_does_and_saves_both_checkpoints(trained: Train) -> None:
    logged = {}
    for name in ("bare", "lightning_lean"):
        _, run = trained(name)
        found = EventAccumulator(str(run.path))
        found.Reload()
        logged[name] = {
            tag: [(event.step, event.value) for event in found.Scalars(tag)]
            for tag in found.Tags()["scalars"]
            if tag.startswith("train/") and "epoch" not in tag
        }
        assert run.best.is_file()
        assert run.last.is_file()
    assert logged["bare"] == logged["lightning_lean"] != {}


def test_one_log_logs_one_value_of_training(trained: Train) -> None:
    _, run = trained("lightning_one_log")
    found = EventAccumulator(str(run.path))
    found.Reload()
    assert {tag for tag in found.Tags()["scalars"] if "val" not in tag} == {"train_loss", "epoch"}
    assert [event.step for event in found.Scalars("train_loss")] == [9]
