"""The profiler in a Trainer: what it reports, and that it leaves all as it was."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from tests.conftest import Woof
from tests.processes import run
from woof_lightning.errors import UserError
from woof_lightning.profile.overhead import OverheadProfiler
from woof_lightning.profile.record import Profile

STEPS = 12


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 4)])
        self.accuracy = MulticlassAccuracy(4)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        images, labels = batch
        logits = self.layers[1](self.layers[0](images))
        self.accuracy(logits, labels)
        self.log("accuracy", self.accuracy)
        loss = nn.functional.cross_entropy(logits, labels)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", self.layers[0](batch[0]).mean())

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), lr=0.1, momentum=0.9)


class Manual(Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        loss = super().training_step(batch, batch_idx)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class Mine(Callback):
    def on_train_batch_end(self, *_: Any) -> None:
        pass


class Failing(Callback):
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 5:
            raise ValueError("in the midst")


def loader() -> DataLoader[Any]:
    drawn = torch.Generator().manual_seed(1)
    images = torch.randn(STEPS * 4, 8, generator=drawn)
    return DataLoader(TensorDataset(images, torch.arange(len(images)) % 4), 4)


def fitted(folder: Path, module: LightningModule | None = None, **options: Any) -> tuple[Trainer, Any]:
    profiler = OverheadProfiler(folder, first_steps=2)
    usual: dict[str, Any] = {"accelerator": "cpu", "max_epochs": 2, "logger": False, "enable_checkpointing": False}
    usual |= {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    trainer = Trainer(**{**usual, "profiler": profiler, **options})
    trainer.fit(module or Net(), loader(), loader())
    return trainer, profiler


def test_the_parts_sum_to_the_steps_and_have_their_owners(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, profiler = fitted(tmp_path, callbacks=[Mine()])
    profile = profiler.profile_of_fit
    assert (profile.steps, profile.first_steps) == (2 * STEPS - 2, 2)
    assert sum(share.sum_us for share in profile.shares) == pytest.approx(profile.step_us["sum"], rel=1e-9)
    shares = {share.name: share for share in profile.shares}
    owners = {
        "training_step": "yours",
        "metric accuracy": "yours",
        "hook on_train_batch_start": "yours",
        "callback Mine.on_train_batch_end": "yours",
        "forward": "PyTorch",
        "backward": "PyTorch",
        "optimizer step": "PyTorch",
        "zero_grad": "PyTorch",
        "moving the batch": "PyTorch",
        "waiting for data": "data",
        "validation": "validation",
        "self.log": "Lightning",
        "self.log, collected": "Lightning",
        "Trainer": "Lightning",
    }
    assert {name: shares[name].owner for name in owners} == owners
    assert "hook on_train_batch_end" not in shares, "nobody has filled it"
    for name in ("training_step", "forward", "optimizer step", "waiting for data", "metric accuracy, update"):
        assert shares[name].calls >= 1
        assert shares[name].median_us > 0
    assert shares["validation"].median_us == 0
    assert shares["validation"].sum_us > 0
    shown = capsys.readouterr().out
    assert "Net: " in shown
    assert "metric accuracy" in shown
    assert Profile.read(tmp_path / "profile.json") == profile


def test_nothing_is_changed_but_for_the_time_of_the_training(tmp_path: Path) -> None:
    watched = {
        "log": vars(LightningModule)["log"],
        "backward": torch.autograd.backward,
        "zero_grad": vars(Optimizer)["zero_grad"],
    }
    module, plain = Net(), Net()
    trainer, _ = fitted(tmp_path, module)
    fitted(tmp_path, plain, profiler=None)
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert watched["log"] is vars(LightningModule)["log"]
    assert watched["backward"] is torch.autograd.backward
    assert watched["zero_grad"] is vars(Optimizer)["zero_grad"]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert "spanned" not in str(vars(module.accuracy)["update"])
    assert "_teardown" not in vars(trainer)
    assert "run" not in vars(trainer.fit_loop.epoch_loop.val_loop)


def test_a_copy_of_the_module_computes_with_its_own_weights(tmp_path: Path) -> None:
    module, plain = Net(), Net()
    fitted(tmp_path, module, callbacks=[EMAWeightAveraging(decay=0.5)])
    fitted(tmp_path, plain, profiler=None, callbacks=[EMAWeightAveraging(decay=0.5)])
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


class Pickling(Callback):
    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        module: Any = trainer.lightning_module
        copied = pickle.loads(pickle.dumps([module.layers, module.accuracy]))
        assert copied[0][0](torch.zeros(1, 8)).shape == (1, 8), "its hooks do nothing"
        copied[1](torch.zeros(4, 4), torch.arange(4))
        torch.save(module.layers, Path(trainer.default_root_dir, "layers.pt"))


WITHOUT_THIS_PACKAGE = """
import sys, torch
sys.modules["woof_lightning"] = None
layers = torch.load("layers.pt", weights_only=False)
assert layers[0](torch.zeros(1, 8)).shape == (1, 8)
"""


def test_what_is_saved_meanwhile_is_read_without_this_package(tmp_path: Path) -> None:
    fitted(tmp_path, callbacks=[Pickling()], default_root_dir=tmp_path)
    ended = run(["-c", WITHOUT_THIS_PACKAGE], tmp_path, fresh=True)
    assert ended.code == 0, ended.err


def test_an_error_in_the_midst_still_gives_a_profile(tmp_path: Path) -> None:
    before = vars(LightningModule)["log"]
    with pytest.raises(ValueError, match="in the midst"):
        fitted(tmp_path, callbacks=[Failing()])
    profile = Profile.read(tmp_path / "profile.json")
    assert (profile.steps, profile.first_steps) == (3, 2)
    assert before is vars(LightningModule)["log"]


def test_manual_optimization_has_its_parts(tmp_path: Path) -> None:
    _, profiler = fitted(tmp_path, Manual())
    shares = {share.name: share for share in profiler.profile_of_fit.shares}
    for name in ("backward", "optimizer step", "zero_grad", "forward", "training_step"):
        assert shares[name].median_us > 0
    assert shares["optimizer step"].calls == 1


def test_accumulation_and_validation_within_an_epoch(tmp_path: Path) -> None:
    _, profiler = fitted(tmp_path, accumulate_grad_batches=4, val_check_interval=3)
    profile = profiler.profile_of_fit
    assert profile.steps == 2 * STEPS - 2, "batches"
    shares = {share.name: share for share in profile.shares}
    assert shares["optimizer step"].calls == pytest.approx(6 / 22)
    assert shares["validation"].calls == pytest.approx(8 / 22, abs=1 / 22)
    assert shares["waiting for data"].calls == pytest.approx(1, abs=0.1), "a validation's own is not counted"


def test_a_second_fit_has_a_profile_of_its_own(tmp_path: Path) -> None:
    trainer, profiler = fitted(tmp_path)
    first = profiler.profile_of_fit
    trainer.fit_loop.max_epochs = 3
    trainer.fit(Net(), loader())
    assert profiler.profile_of_fit is not first
    assert profiler.profile_of_fit.steps == STEPS - 2


def test_validate_alone_has_no_profile(tmp_path: Path) -> None:
    profiler = OverheadProfiler(tmp_path)
    trainer = Trainer(accelerator="cpu", logger=False, profiler=profiler, enable_progress_bar=False)
    trainer.validate(Net(), loader(), verbose=False)
    assert profiler.profile_of_fit is None
    assert not list(tmp_path.iterdir())


def test_a_trace_has_every_span(tmp_path: Path) -> None:
    profiler = OverheadProfiler(tmp_path, "mine", trace=True)
    fitted(tmp_path, profiler=profiler)
    events = json.loads((tmp_path / "mine.trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert sum(event["name"] == "optimizer step" for event in events) == 2 * STEPS
    assert all(event["dur"] >= 0 for event in events)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "is no profile"), ('{"version": 99}', "has version 99: expected 1"), ("[", "no prof")],
)
def test_what_is_no_profile_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        Profile.read(tmp_path / "p.json")


OTHER_PACKAGE = """
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.profilers import Profiler
from torch.utils.data import DataLoader
from woof_lightning import OverheadProfiler

class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 1)
    def training_step(self, batch, batch_idx):
        loss = self.net(batch).mean()
        self.log("loss", loss)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

profiler = OverheadProfiler(".", first_steps=0)
assert isinstance(profiler, Profiler)
Trainer(accelerator="cpu", max_epochs=1, profiler=profiler, logger=False, enable_checkpointing=False).fit(
    Net(), DataLoader(torch.randn(6, 4), 2)
)
assert {"self.log", "forward"} <= {share.name for share in profiler.profile_of_fit.shares}
"""


@pytest.mark.peer("pytorch_lightning")
@pytest.mark.process
def test_the_other_package_of_lightning_works_too(tmp_path: Path) -> None:
    ended = run(["-c", OTHER_PACKAGE], tmp_path)
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["steps"] == 3


TWO_PROCESSES = """
from lightning.pytorch import Trainer
from tests.profiler.test_overhead import Net, loader
from woof_lightning import OverheadProfiler

trainer = Trainer(
    accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=2, logger=False, enable_checkpointing=False,
    enable_progress_bar=False, profiler=OverheadProfiler("there", first_steps=0),
)
trainer.fit(Net(), loader())
"""


@pytest.mark.process
def test_of_two_processes_the_first_one_reports(tmp_path: Path) -> None:
    ended = run(["-c", TWO_PROCESSES], tmp_path, PYTHONPATH=str(Path(__file__).parents[2]))
    assert ended.code == 0, ended.err
    assert ended.out.count("Net: ") == 1
    profile = Profile.read(tmp_path / "there" / "profile.json")
    assert profile.about["processes"] == "2"
    assert profile.steps == 2 * STEPS // 2, "each process has half of the batches"


def test_woof_fit_takes_it_by_name(woof: Woof, small_fit: list[str]) -> None:
    for number, name in enumerate(("overhead", "woof_lightning.OverheadProfiler")):
        done = woof("fit", *small_fit, "--trainer.profiler", name, "--name", number)
        assert done.code == 0, done.err
        assert "WoofClassifier: " in done.out
        assert "the profiler itself took" in done.out
    assert Profile.read(Path("runs/0/profile.json")).about["module"] == "WoofClassifier"
