"""`woof profile`: what it takes, what it refuses, and the comparison with a bare loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from tests.conftest import Woof
from tests.profiler.test_overhead import Manual, Net, loader
from woof_lightning.profile.bare import BareLoop, optimizers_of, unlike_a_bare_loop
from woof_lightning.profile.overhead import OverheadProfiler
from woof_lightning.profile.record import Profile
from woof_lightning.profile.turns import Turns

SCRIPT = """
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from tests.profiler.test_overhead import Net, loader

QUIET = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}

def make():
    return Trainer(max_epochs=1, **QUIET), Net(), loader()

def with_bar():
    return Trainer(max_epochs=1, accelerator="cpu", callbacks=[TQDMProgressBar()], logger=False), Net(), loader()

def stopping():
    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = True

    return Trainer(max_epochs=1, callbacks=[Stop()], **QUIET), Net(), loader()

def without_module():
    return Trainer(max_epochs=1, **QUIET), loader()

def bare_bones():
    return Trainer(barebones=True), Net(), loader()

def trained():
    trainer, module, data = make()
    trainer.fit(module, data)
    return trainer, module, data

def empty():
    return Trainer(max_epochs=1, limit_train_batches=0, **QUIET), Net(), loader()

if __name__ == "__main__":
    trainer, module, data = make()
    trainer.fit(module, data)
    print("after the training")
"""


@pytest.fixture
def profiled(woof: Woof) -> Woof:
    """Calls `woof profile` in a folder with a training."""
    Path("training.py").write_text(SCRIPT, encoding="utf-8")
    return lambda *args: woof("profile", *args)


@pytest.mark.parametrize("training", ["training:make", "training.py:make", "training.py", "training:stopping"])
def test_a_training_is_profiled_for_so_many_steps(training: str, profiled: Woof) -> None:
    done = profiled(training, "--steps", 70, "--out", "there", "--trace")
    assert done.code == 0, done.err
    profile = Profile.read(Path("there/profile.json"))
    assert profile.steps + profile.first_steps == 70
    assert "Net: " in done.out
    assert profile.bare is not None
    assert 12 <= profile.bare["saving_us"]["repeats"] <= 40
    assert f"{profile.bare['saving_us']['repeats']} turns" in done.out
    assert "after the training" not in done.out
    assert Path("there/profile.trace.json").exists()
    assert Trainer.fit.__module__.startswith("lightning.")


def test_the_comparison_can_be_left_out(profiled: Woof) -> None:
    assert "bare loop" not in profiled("training:make", "--steps", 30, "--no_bare").out
    assert Profile.read(Path("profile/profile.json")).bare is None


def test_a_profile_is_replaced_only_if_asked(profiled: Woof) -> None:
    assert profiled("training:make", "--steps", 3, "--no_bare").code == 0
    refused = profiled("training:make", "--steps", 4, "--no_bare")
    assert refused.code == 2
    assert "profile/profile.json is there already; replace it with --overwrite" in refused.err
    assert profiled("training:make", "--steps", 4, "--no_bare", "--overwrite").code == 0


def test_each_piece_of_advice_is_proven(profiled: Woof) -> None:
    done = profiled("training:with_bar", "--steps", 40, "--prove")
    assert done.code == 0, done.err
    profile = Profile.read(Path("profile/profile.json"))
    saved = {one.name: one.saved_us for one in profile.advice}
    assert {"self.log", "metrics", "progress bar", "all together"} <= saved.keys()
    assert all(saved[name] is not None for name in ("self.log", "metrics", "progress bar", "all together"))
    assert "get back" in done.out
    assert "predicted" in done.out
    assert "training.py" not in saved


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ("nobody:make", "there is no module nobody in "),
        ("training:nothing", "training has no function nothing"),
        ("training", "no function (none was named)"),
        ("nobody.py", "nobody.py is not there"),
        ("training:without_module", "has returned Trainer, DataLoader: expected a tuple of a Trainer, a Lightning"),
        ("training:loader", "expected a tuple of a Trainer"),
        ("training:bare_bones", "the Trainer is barebones"),
        ("training:trained", "has trained 12 steps already"),
        ("training:empty", "has trained no step"),
    ],
)
def test_what_cannot_be_profiled_is_refused(training: str, message: str, profiled: Woof) -> None:
    refused = profiled(training)
    assert refused.code == 2
    assert message in refused.err
    assert not Path("profile").exists()


def test_steps_must_be_some(profiled: Woof) -> None:
    assert "--steps is 0: expected at least 1" in profiled("training:make", "--steps", 0).err


def trained_by_hand(module: Net, batches: list[Any], accumulated: int) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for number, (images, labels) in enumerate(batches, start=1):
        loss: Any = nn.functional.cross_entropy(module.layers[1](module.layers[0](images)), labels)
        (loss / accumulated).backward()
        if number % accumulated == 0:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize(("cls", "accumulated"), [(Net, 1), (Net, 3), (Manual, 1)])
def test_a_bare_loop_trains_as_the_trainer_does(cls: type[Net], accumulated: int) -> None:
    loops: list[BareLoop] = []

    class Bare(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if not loops:
                loops.append(BareLoop(trainer))
                assert len(loops[0].steps_us(3)) == 3

    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        accelerator="cpu", max_steps=2, accumulate_grad_batches=accumulated, callbacks=[Bare()], **options
    )
    trainer.fit(cls(), loader())

    reference, batches = cls(), list(loader())
    if accumulated == 1:  # The copy was made after the first batch, which has changed the weights then.
        trained_by_hand(reference, batches[:1], 1)
    trained_by_hand(reference, batches[:3], accumulated)
    for ours, theirs in zip(loops[0]._module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def trained(module: LightningModule, profiler: OverheadProfiler, *, max_steps: int) -> int:
    """Trains and returns the number of steps."""
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", max_steps=max_steps, max_epochs=-1, profiler=profiler, **quiet)
    trainer.fit(module, loader())
    return trainer.global_step


def test_a_copy_is_trained_and_the_module_left_alone(tmp_path: Path) -> None:
    module, plain, turns = Net(), Net(), Turns(bare=True, prove=False, rounds=2)
    profiler = OverheadProfiler(tmp_path)
    profiler.continue_with(turns, 10)
    # How many steps the turns take depends on how fast they are.
    steps = trained(module, profiler, max_steps=61)
    assert turns.comparison() is not None
    assert trained(plain, OverheadProfiler(tmp_path), max_steps=steps) == steps > 11
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_configure_optimizers_returns_is_understood() -> None:
    schedule = {"scheduler": "s", "interval": "step"}
    assert optimizers_of("o") == (["o"], [])
    assert optimizers_of({"optimizer": "o", "lr_scheduler": schedule}) == (["o"], [("s", "step")])
    assert optimizers_of({"optimizer": "o", "lr_scheduler": "s"}) == (["o"], [("s", "epoch")])
    assert optimizers_of((["o", "p"], ["s", schedule])) == (["o", "p"], [("s", "epoch"), ("s", "step")])
    assert optimizers_of(["o", "p"]) == (["o", "p"], [])
    assert optimizers_of([{"optimizer": "o"}, {"optimizer": "p", "lr_scheduler": "s"}]) == (
        ["o", "p"],
        [("s", "epoch")],
    )


def test_what_a_bare_loop_cannot_do_is_said() -> None:
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    assert unlike_a_bare_loop(trainer) is None
    trainer.strategy.precision_plugin.scaler = object()  # type: ignore[attr-defined]
    assert "gradient scaler" in str(unlike_a_bare_loop(trainer))
