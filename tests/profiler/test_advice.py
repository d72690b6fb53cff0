"""Advice: it names the line, it is followed for some steps, and everything is put back."""

from __future__ import annotations

import builtins
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from woof_lightning.profile import finders
from woof_lightning.profile.advice import Piece
from woof_lightning.profile.finders import pieces
from woof_lightning.profile.overhead import OverheadProfiler
from woof_lightning.profile.record import Profile
from woof_lightning.profile.seams import NVML_CHECK
from woof_lightning.profile.switches import WithWorkers

STEPS = 30


class Wasteful(LightningModule):
    """A module that does at each step what is read at each tenth."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(8, 4)
        self.accuracy, self.loss = MulticlassAccuracy(4), Cost()
        self.read = list[float]()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        images, labels = batch
        logits = self.net(images)
        loss = self.loss(logits, labels)
        self.accuracy(logits, labels)
        self.log("accuracy", self.accuracy)
        self.log("loss", loss)
        self.log("shown", loss, prog_bar=True)
        self.log("mean", loss, on_step=False, on_epoch=True)
        self.read.append(loss.item())
        print("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.1)


class Cost(MeanMetric):
    """A metric that is the loss, too."""

    full_state_update = True

    def forward(self, *arguments: Any) -> Any:
        return nn.functional.cross_entropy(*arguments)


class Idle(Callback):
    """A callback without a hook of a step."""


def line(text: str) -> str:
    """The place of a line of this file."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    (number,) = [number for number, found in enumerate(lines, start=1) if found.strip() == text]
    return f"tests/profiler/test_advice.py:{number}"


class Found:
    """What the profiler has found, and the pieces themselves, still within the training."""

    def __init__(self, folder: Path, within: Callable[[Any, dict[str, Piece]], None], **options: Any) -> None:
        self.pieces: dict[str, Piece] = {}
        profiler = OverheadProfiler(folder)
        profiler.continue_with(self, STEPS)
        self._within = within
        images = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
        usual = {"logger": False, "log_every_n_steps": 10, "enable_model_summary": False, "max_epochs": 1}
        self.trainer = Trainer(accelerator="cpu", profiler=profiler, default_root_dir=folder, **{**usual, **options})
        self.module = Wasteful()
        self.trainer.fit(self.module, DataLoader(TensorDataset(images, torch.arange(400) % 4), 4))
        assert profiler.profile_of_fit is not None
        self.profile: Profile = profiler.profile_of_fit

    def begin(self, trainer: Any, worth_it: Any, step_us: float) -> None:
        """Takes the pieces and does what a test wants within the training."""
        self._within(trainer, self.pieces)

    def before_batch(self) -> None:
        """Nothing to do."""

    def after_batch(self) -> None:
        """Nothing to do."""

    def end(self) -> None:
        """Nothing to do."""

    def comparison(self) -> None:
        """Nothing was compared."""

    def proven(self, advice: Any) -> Any:
        """Nothing was proven."""
        return advice


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Found]:
    """Trains, and calls a function with the pieces within the training."""

    def trained(within: Callable[[Any, dict[str, Piece]], None] = lambda *_: None, **options: Any) -> Found:
        kept: dict[str, Piece] = {}

        def keeping(seen: Any) -> list[Piece]:
            found = pieces(seen)
            kept.update({piece.advice.name: piece for piece in found})
            return found

        monkeypatch.setattr("woof_lightning.profile.overhead.pieces", keeping)
        return Found(tmp_path, lambda trainer, _: within(trainer, kept), **options)

    return trained


def test_each_piece_names_its_lines(found: Callable[..., Found], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WithWorkers, "more_us", lambda *_: 0.0)
    bar = TQDMProgressBar()
    trained = found(callbacks=[bar, Idle()])
    places = {one.name: one.places for one in trained.profile.advice}
    assert set(places["self.log"]) == {line('self.log("accuracy", self.accuracy)'), line('self.log("loss", loss)')}
    assert places["metrics"] == (line("self.accuracy(logits, labels)"),), "not the loss, which is differentiated"
    assert places["self.log for the epoch"] == (line('self.log("mean", loss, on_step=False, on_epoch=True)'),)
    assert places["prog_bar=True"] == (line('self.log("shown", loss, prog_bar=True)'),)
    assert places["print"] == (line('print("loss", loss)'),)
    assert places["item()"] == (line("self.read.append(loss.item())"),)
    assert places["hooks that do nothing"] == ("TQDMProgressBar", "Idle", "ModelCheckpoint", "Wasteful")
    assert "ModelCheckpoint's key" in places
    assert "Idle's key" not in places
    assert all(one.predicted_us > 0 for one in trained.profile.advice)
    assert {"progress bar", "waiting for data"} <= places.keys()


def test_without_a_reader_there_is_less_to_say(found: Callable[..., Found]) -> None:
    trained = found(enable_progress_bar=False, enable_checkpointing=False)
    told = {one.name: one for one in trained.profile.advice}
    assert line('self.log("shown", loss, prog_bar=True)') in told["self.log"].places, "no bar shows it"
    assert not {"progress bar", "prog_bar=True", "ModelCheckpoint's key"} & told.keys()
    assert "nobody reads" in told["self.log"].says


def test_what_is_read_at_each_step_is_left_alone(found: Callable[..., Found]) -> None:
    told = {one.name for one in found(log_every_n_steps=1).profile.advice}
    assert not {"self.log", "metrics"} & told


def steps_within(trainer: Any, piece: Piece, count: int, watched: Callable[[], None] = lambda: None) -> None:
    """Takes steps of the Trainer's module while a piece of advice is followed."""
    assert piece.followed is not None
    module, batch = trainer.lightning_module, next(iter(trainer.train_dataloader))
    with piece.followed():
        for _ in range(count):
            module._current_fx_name = "training_step"
            module.training_step(batch, 0)
            watched()


def counted(place: Any, name: str, counts: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts calls of a method by its name, or by the first argument of `log`."""
    real = getattr(place, name)

    def counting(*arguments: Any, **options: Any) -> Any:
        counts[arguments[1] if name == "log" else name] += 1
        return real(*arguments, **options)

    monkeypatch.setattr(place, name, counting)


def test_logging_less_leaves_out_what_is_for_steps_only(
    found: Callable[..., Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()

    def within(trainer: Any, pieces: dict[str, Piece]) -> None:
        counted(LightningModule, "log", counts, monkeypatch)
        real = LightningModule.log
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "global_step", property(lambda _: counts["shown"]))
            steps_within(trainer, pieces["self.log"], 20)
        assert LightningModule.log is real

    found(within, callbacks=[TQDMProgressBar()])
    taken = {name: counts[name] for name in ("accuracy", "loss", "shown", "mean")}
    after = 100 - STEPS  # The rest of the epoch.
    assert taken["accuracy"] == taken["loss"] == after + 20 // 10
    assert taken["shown"] == taken["mean"] == after + 20


def test_the_mean_of_an_epoch_is_sampled(found: Callable[..., Found], monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()

    def within(trainer: Any, pieces: dict[str, Piece]) -> None:
        with monkeypatch.context() as patch:
            counted(LightningModule, "log", counts, patch)
            monkeypatch.setattr(type(trainer.fit_loop), "batch_idx", property(lambda _: counts["loss"]))
            steps_within(trainer, pieces["self.log for the epoch"], 20)

    found(within)
    assert counts == {"accuracy": 20, "loss": 20, "shown": 20, "mean": 2}


def test_measuring_less_updates_at_each_step(found: Callable[..., Found], monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()

    def within(trainer: Any, pieces: dict[str, Piece]) -> None:
        accuracy = trainer.lightning_module.accuracy
        accuracy.reset()
        with monkeypatch.context() as patch:
            counted(accuracy, "compute", counts, patch)
            steps_within(trainer, pieces["metrics"], 21)
        assert accuracy.update_count == 21
        assert "forward" not in vars(accuracy)

    found(within)
    assert counts["compute"] == 1 + 20 // 10, "the first one, and each tenth after it"


def test_the_bar_is_drawn_less_often(found: Callable[..., Found]) -> None:
    bar = TQDMProgressBar(refresh_rate=2)

    def within(_: Any, pieces: dict[str, Piece]) -> None:
        for name, attribute, value in (("progress bar", "refresh_rate", 20), ("prog_bar=True", "get_metrics", None)):
            before = getattr(bar, attribute)
            followed = pieces[name].followed
            assert followed is not None
            with followed():
                if value is None:
                    assert bar.get_metrics(None, None) == {}  # type: ignore[arg-type]
                else:
                    assert getattr(bar, attribute) == value
            assert getattr(bar, attribute) == before

    found(within, callbacks=[bar])


def test_a_bar_of_short_epochs_is_drawn_at_each_end_all_the_same(found: Callable[..., Found]) -> None:
    trained = found(callbacks=[TQDMProgressBar()], limit_train_batches=1, max_epochs=100)
    assert "progress bar" not in {one.name for one in trained.profile.advice}


def test_hooks_are_skipped_and_the_key_is_kept(found: Callable[..., Found]) -> None:
    idle = Idle()

    def within(trainer: Any, pieces: dict[str, Piece]) -> None:
        checkpoint = next(one for one in trainer.callbacks if isinstance(one, ModelCheckpoint))
        key, hook = checkpoint.state_key, checkpoint.on_train_batch_end
        with ExitStack() as stack:
            for name in ("hooks that do nothing", "ModelCheckpoint's key"):
                followed = pieces[name].followed
                assert followed is not None
                stack.enter_context(followed())
            assert idle.on_before_backward is None
            assert trainer.lightning_module.on_before_backward is None
            assert checkpoint.on_before_backward is None
            assert checkpoint.on_train_batch_end == hook, "it does something"
            assert isinstance(checkpoint, ModelCheckpoint)
            assert type(checkpoint).state_key == key
        assert callable(idle.on_before_backward)
        assert type(checkpoint) is ModelCheckpoint
        assert "on_before_backward" not in vars(trainer.lightning_module)

    found(within, callbacks=[idle])


def test_printing_is_left_out(found: Callable[..., Found], capsys: pytest.CaptureFixture[str]) -> None:
    real = builtins.print

    def within(trainer: Any, pieces: dict[str, Piece]) -> None:
        capsys.readouterr()
        steps_within(trainer, pieces["print"], 3)
        assert "loss" not in capsys.readouterr().out
        assert builtins.print is real

    found(within)


def test_workers_feed_the_trainer(found: Callable[..., Found], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(WithWorkers, "more_us", lambda *_: 0.0)
    fed = []

    def within(trainer: Any, pieces: dict[str, Piece]) -> None:
        fetcher = trainer.fit_loop._data_fetcher
        own, followed = fetcher.iterator, pieces["waiting for data"].followed
        assert followed is not None
        assert pieces["waiting for data"].with_data
        with followed():
            for _ in range(3):
                fed.append(next(fetcher.iterator))
        assert fetcher.iterator is own

    trained = found(within)
    assert [type(batch) for batch, _, _ in fed] == [list] * 3
    assert all(batch[0].shape == (4, 8) for batch, _, _ in fed)
    assert "num_workers=1" in next(one.says for one in trained.profile.advice if one.name == "waiting for data")


def test_a_driver_is_searched_for_only_if_the_variable_is_set(
    found: Callable[..., Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setenv(NVML_CHECK, "1")

    def within(_: Any, pieces: dict[str, Piece]) -> None:
        followed = pieces["search for a driver"].followed
        assert followed is not None
        with followed():
            assert NVML_CHECK not in os.environ
        assert os.environ[NVML_CHECK] == "1"

    assert "search for a driver" in {one.name for one in found(within).profile.advice}
    monkeypatch.setenv(NVML_CHECK, "0")
    assert "search for a driver" not in {one.name for one in found().profile.advice}


def test_a_checkpoint_of_each_step_is_saved_less_often(found: Callable[..., Found]) -> None:
    checkpoint = ModelCheckpoint(every_n_epochs=1, save_last=True)

    def within(_: Any, pieces: dict[str, Piece]) -> None:
        followed = pieces["checkpoint"].followed
        assert followed is not None
        with followed():
            assert checkpoint._every_n_epochs == 10
        assert checkpoint._every_n_epochs == 1

    trained = found(within, callbacks=[checkpoint], limit_train_batches=1, max_epochs=100)
    assert "checkpoint" in {one.name for one in trained.profile.advice}


class Waiting(Callback):
    """Takes long at the end of each epoch, as a validation does."""

    def on_validation_start(self, *_: Any) -> None:
        time.sleep(0.2)


def test_a_long_validation_is_named(found: Callable[..., Found], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wasteful, "validation_step", lambda *_: None, raising=False)
    images = DataLoader(TensorDataset(torch.zeros(4, 8)))
    monkeypatch.setattr(Wasteful, "val_dataloader", lambda _: images, raising=False)
    trained = found(callbacks=[Waiting()], val_check_interval=10, num_sanity_val_steps=0)
    (told,) = [one for one in trained.profile.advice if one.name == "validation"]
    assert told.predicted_us > 0.9 * 2 * 200_000 / STEPS
    assert told.places == ("check_val_every_n_epoch=10",)


def test_a_tool_that_listens_already_is_left_alone(found: Callable[..., Found]) -> None:
    def heard(*_: Any) -> None:
        pass

    sys.setprofile(heard)
    try:
        trained = found()
        assert sys.getprofile() is heard
    finally:
        sys.setprofile(None)
    assert "item()" not in {one.name for one in trained.profile.advice}


def test_nothing_listens_after_the_training(found: Callable[..., Found]) -> None:
    found()
    assert sys.getprofile() is None


def test_the_largest_saving_comes_first(found: Callable[..., Found]) -> None:
    predicted = [one.predicted_us for one in found().profile.advice]
    assert predicted == sorted(predicted, reverse=True)
    assert len(finders.FINDERS) >= 10
