"""The classes of docs/examples train with `woof fit`, and resume to the bit."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from docs.generate.change_tables import WOOF_FIT_OPTIONS
from tests.conftest import Outcome, Woof
from tests.programs import EXAMPLES, program
from woof_lightning.changes.find import changes
from woof_lightning.data.transforms import normalise
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.parity import first_difference
from woof_lightning.recipe.checkpoint import load_net, read_checkpoint
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

RESNET = ["--model.arch", "resnet18"]
SMALL_FIRST = ["--data_class", "progressive_resizing.SmallFirst", "--data.small_px", 24, "--data.small_epochs", 1]
SMALL_FIRST += ["--trainer.reload_dataloaders_every_n_epochs", 1]


@pytest.fixture
def fit(woof: Woof, small_fit: list[str]) -> Any:
    """Runs woof fit in a folder with the examples."""
    for file in EXAMPLES.glob("*.py"):
        shutil.copy(file, file.name)

    def call(*options: object) -> Outcome:
        return woof("fit", *small_fit, *options)

    return call


@pytest.fixture
def trained(fit: Any) -> Path:
    """The checkpoint of a run of a ResNet, with other weights than those of the seed."""
    done = fit(*RESNET, "--name", "trained", "--trainer.max_epochs", 1)
    assert done.code == 0, done.err
    return Path("runs/trained/checkpoints/last.ckpt")


@contextmanager
def cut_before_step(step: int) -> Iterator[None]:
    """Sends SIGTERM as soon as the net gets the batch of a step, whichever class is trained."""
    real = WoofClassifier.forward

    def forward(self: WoofClassifier, images: torch.Tensor) -> torch.Tensor:
        if self.training and self.global_step == step:
            signal.raise_signal(signal.SIGTERM)
        return real(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WoofClassifier, "forward", forward)
        yield


def resumes_to_the_bit(fit: Any, *options: object) -> RunFolder:
    """Trains once through, and once cut in the second epoch and resumed by the run's own config."""
    done = fit(*options, "--name", "whole")
    assert done.code == 0, done.err
    with cut_before_step(5):
        assert fit(*options, "--name", "cut").code == 143
    resumed = fit("--config", "runs/cut/config.yaml", "--name", "cut", "--resume")
    assert resumed.code == 0, resumed.err
    whole, again = RunFolder(Path("runs/whole")), RunFolder(Path("runs/cut"))
    assert first_difference(whole, again) is None
    return whole


def example(name: str) -> Any:
    """Returns the class of an example by its file and name."""
    module, _, name = name.partition(".")
    return getattr(program(module), name)


def test_mixup_resumes_to_the_bit(fit: Any) -> None:
    whole = resumes_to_the_bit(fit, "--model_class", "mixup.Mixup", "--model.alpha", 0.4)
    assert yaml.safe_load(whole.config.read_text(encoding="utf-8"))["model"]["alpha"] == 0.4
    unmixed = fit("--name", "unmixed")
    assert unmixed.code == 0
    assert first_difference(whole, RunFolder(Path("runs/unmixed"))) is not None


@pytest.mark.parametrize(("epoch", "batch_idx"), [(0, 0), (0, 1), (1, 1)])
def test_mixup_mixes_losses_and_metrics(epoch: int, batch_idx: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("mixup.Mixup")(arch="shufflenet_v2_x0_5", num_classes=4, alpha=5.0)
    module.build(None)
    reports: list[dict[str, float]] = []
    monkeypatch.setattr(module, "is_reported", lambda batch_idx: True)
    monkeypatch.setattr(module, "log_report", reports.append)
    monkeypatch.setattr(type(module), "current_epoch", epoch)
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=drawn)
    labels = torch.arange(8) % 4
    loss = module.training_step((images, labels), batch_idx)

    random = np.random.default_rng((0, epoch, batch_idx))
    share, order = random.beta(5.0, 5.0), torch.as_tensor(random.permutation(8))
    logits = module(share * images + (1 - share) * images[order])
    soft = share * F.one_hot(labels, 4) + (1 - share) * F.one_hot(labels[order], 4)
    torch.testing.assert_close(loss, F.cross_entropy(logits, soft))
    (report,) = reports
    assert report["train/loss"] == pytest.approx(float(loss))
    assert report["train/acc1"] == pytest.approx(float(soft[range(8), logits.argmax(1)].mean()))


def test_small_images_come_first_and_again_after_a_resume(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    real = WoofClassifier.forward

    def forward(self: WoofClassifier, images: torch.Tensor) -> torch.Tensor:
        seen.append(("train" if self.training else "val", images.shape[-1]))
        return real(self, images)

    monkeypatch.setattr(WoofClassifier, "forward", forward)
    whole = resumes_to_the_bit(fit, *SMALL_FIRST)
    first_epoch, second_epoch = [("train", 24)] * 4 + [("val", 32)] * 3, [("train", 32)] * 4 + [("val", 32)] * 3
    assert seen[:14] == first_epoch + second_epoch
    assert json.loads(whole.result.read_text(encoding="utf-8"))["config"]["data"]["image_size"] == 32


@pytest.mark.parametrize("change", sorted(WOOF_FIT_OPTIONS.keys() - {"two_processes"}))  # See lit/test_devices.py.
def test_the_options_that_make_a_change_are_taken(change: str, fit: Any) -> None:
    done = fit(*WOOF_FIT_OPTIONS[change].split(), "--trainer.max_epochs", 1)
    assert done.code == 0, done.err


def test_a_change_is_made_in_woof_fit_by_options_or_by_a_class() -> None:
    examples = {file.stem for file in EXAMPLES.glob("*.py")}
    assert not examples & WOOF_FIT_OPTIONS.keys()
    assert examples | WOOF_FIT_OPTIONS.keys() == {change.name for change in changes()} - {"sam", "gan"}


def test_a_student_learns_from_a_teacher_that_is_not_saved(fit: Any, trained: Path) -> None:
    options = ["--model_class", "distillation.Student", "--model.teacher", trained, *RESNET]
    whole = resumes_to_the_bit(fit, *options)
    saved, alone = read_checkpoint(whole.last), read_checkpoint(trained)
    assert saved["state_dict"].keys() == alone["state_dict"].keys()
    parameters = [state["param_groups"][0]["params"] for state in (saved, alone) for state in state["optimizer_states"]]
    assert len(parameters[0]) == len(parameters[1])


def test_a_student_s_loss_is_that_of_the_teacher_s_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("distillation.Student")(arch="shufflenet_v2_x0_5", num_classes=4, teacher="none")
    module.build(None)
    monkeypatch.setattr(module, "is_reported", lambda batch_idx: False)
    module.loaded = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4)),)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    loss = module.training_step((images, torch.zeros(8, dtype=torch.int64)), 0)
    expected = F.cross_entropy(module(images), module.loaded[0](normalise(images)).softmax(1))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(weight.grad is None for weight in module.loaded[0].parameters())


def test_a_backbone_is_frozen_at_first(fit: Any, trained: Path) -> None:
    options = ["--model_class", "freezing.FineTuned", "--model.trained", trained, "--model.frozen_epochs", 1, *RESNET]
    whole = resumes_to_the_bit(fit, *options)
    given, now = load_net(trained).state_dict(), load_net(whole.last).state_dict()
    assert not torch.equal(given["conv1.weight"], now["conv1.weight"])
    rows = read_metrics(whole.metrics)
    assert all(row["lr/backbone"] == pytest.approx(row["lr/head"] / 10) for row in rows if "lr/head" in row)

    longer = fit(*options, "--name", "longer", "--model.frozen_epochs", 5)
    assert longer.code == 0, longer.err
    now = load_net(RunFolder(Path("runs/longer")).last).state_dict()
    assert torch.equal(given["conv1.weight"], now["conv1.weight"])
    assert not torch.equal(given["bn1.running_mean"], now["bn1.running_mean"])
    assert not torch.equal(given["fc.weight"], now["fc.weight"])
