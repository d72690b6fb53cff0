"""What a person sees of a training: bars on a terminal, and elsewhere a line an epoch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from tqdm import tqdm

from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.progress import EpochProgress


class Bar:
    """Notes what tqdm is asked for."""

    made: list[Bar]
    format_interval = staticmethod(tqdm.format_interval)

    def __init__(self, **options: Any) -> None:
        self.options, self.count, self.text, self.open = options, options.get("initial", 0), "", True
        self.made.append(self)

    def update(self, count: int = 1) -> None:
        assert self.open
        self.count += count

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        assert not refresh
        self.text = text

    def close(self) -> None:
        self.open = False

    @property
    def title(self) -> tuple[str, Any, int]:
        return self.options["desc"], self.options["total"], self.options["position"]


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    Bar.made = []
    monkeypatch.setattr("woof_lightning.lit.progress.tqdm", Bar)
    return Bar.made


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("woof_lightning.lit.progress.time.perf_counter", lambda: now[0])
    return now


def trainer(**more: Any) -> Any:
    values = {"val/loss": torch.tensor(1.25), "val/acc1": torch.tensor(0.5)}
    defaults = {"current_epoch": 0, "max_epochs": 3, "num_training_batches": 8, "num_val_batches": [3, 4]}
    return SimpleNamespace(**{**defaults, "callback_metrics": values, **more})


def module() -> Any:
    found = WoofClassifier(num_classes=2)
    found.report = {"train/loss": 2.0, "lr": 0.001, "momentum": 0.9}
    return found


def epoch(progress: EpochProgress, of: Any, batches: int = 8, *, validates: bool = True, by: Any = None) -> None:
    by = by or module()
    progress.on_train_epoch_start(of, by)
    for batch_idx in range(batches):
        progress.on_train_batch_end(of, by, None, None, batch_idx)
    if validates:
        progress.on_validation_start(of, by)
        for batch_idx in range(7):
            progress.on_validation_batch_end(of, by, None, None, batch_idx)
        progress.on_validation_end(of, by)
    progress.on_train_epoch_end(of, by)


def test_bars_count_epochs_batches_and_the_validation(bars: list[Bar], capfd: pytest.CaptureFixture[str]) -> None:
    progress, of = EpochProgress(refresh_every_n_batches=3, terminal=True), trainer()
    progress.on_train_start(of, module())
    epoch(progress, of)
    epochs, batches, validation = bars
    assert epochs.title == ("epochs", 3, 0)
    assert batches.title == ("epoch 1", 8, 1)
    assert validation.title == ("validation", 7, 1)
    # Every third is shown.
    assert (epochs.count, batches.count, validation.count) == (1, 6, 6)
    assert batches.text == "train/loss 2  lr 0.001"
    assert epochs.text == "val/loss 1.25  val/acc1 0.5"
    assert [bar.open for bar in bars] == [True, False, False]
    of.current_epoch = 1
    epoch(progress, of)
    assert bars[3].title[0] == "epoch 2"
    assert epochs.count == 2
    progress.teardown(of, module(), "fit")
    assert not any(bar.open for bar in bars)
    assert capfd.readouterr().out == ""


def test_a_resumed_epoch_goes_on_where_it_was_cut(bars: list[Bar]) -> None:
    progress, of = EpochProgress(refresh_every_n_batches=2, terminal=True), trainer(current_epoch=1)
    progress.on_train_start(of, module())
    # The module has reported nothing yet.
    for batch_idx in range(4, 8):
        progress.on_train_batch_end(of, WoofClassifier(num_classes=2), None, None, batch_idx)
    epochs, batches = bars
    assert (epochs.count, epochs.options["initial"]) == (1, 1)
    assert (batches.title, batches.count) == (("epoch 2", 8, 1), 8)


@pytest.mark.parametrize(("max_epochs", "total"), [(-1, None), (None, None), (4, 4)])
def test_a_training_without_an_end_has_no_total(max_epochs: int | None, total: int | None, bars: list[Bar]) -> None:
    progress = EpochProgress(terminal=True)
    progress.on_train_start(trainer(max_epochs=max_epochs), module())
    assert bars[0].options["total"] == total


def test_somebody_else_s_module_has_bars_without_its_report(bars: list[Bar]) -> None:
    progress, of = EpochProgress(refresh_every_n_batches=1, terminal=True), trainer()
    progress.on_train_start(of, LightningModule())
    epoch(progress, of, by=LightningModule())
    assert bars[1].text == ""
    assert bars[0].text == "val/loss 1.25  val/acc1 0.5"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_process_that_is_told_to_shows_nothing(
    terminal: bool, bars: list[Bar], capfd: pytest.CaptureFixture[str]
) -> None:
    progress, of = EpochProgress(terminal=terminal), trainer()
    progress.disable()
    progress.on_train_start(of, module())
    epoch(progress, of)
    assert bars == []
    assert capfd.readouterr().out == ""
    progress.enable()
    progress.on_train_start(of, module())
    epoch(progress, of)
    assert bool(bars) == terminal
    assert bool(capfd.readouterr().out) != terminal


def test_without_a_terminal_an_epoch_is_a_line(
    bars: list[Bar], now_s: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    progress, of = EpochProgress(terminal=False), trainer()
    progress.on_train_start(of, module())
    lines = []
    for done in range(3):
        of.current_epoch = done
        now_s[0] += 90
        epoch(progress, of)
        lines.append(capfd.readouterr().out)
    numbers = "train/loss 2  lr 0.001  val/loss 1.25  val/acc1 0.5"
    assert lines == [
        f"epoch 1/3  {numbers}  01:30 elapsed, 03:00 left\n",
        f"epoch 2/3  {numbers}  03:00 elapsed, 01:30 left\n",
        f"epoch 3/3  {numbers}  04:30 elapsed\n",
    ]
    assert bars == []


def test_the_time_left_of_a_resumed_run_is_that_of_its_own_epochs(
    now_s: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    progress, of = EpochProgress(terminal=False), trainer(current_epoch=6, max_epochs=10)
    progress.on_train_start(of, module())
    now_s[0] += 60
    epoch(progress, of)
    assert capfd.readouterr().out.endswith("01:00 elapsed, 03:00 left\n")


def test_an_epoch_without_a_validation_shows_none_of_an_older_one(capfd: pytest.CaptureFixture[str]) -> None:
    progress, of = EpochProgress(terminal=False), trainer()
    progress.on_train_start(of, module())
    epoch(progress, of)
    assert "val/acc1" in capfd.readouterr().out
    epoch(progress, of, validates=False)
    out = capfd.readouterr().out
    assert "val/acc1" not in out
    assert "train/loss 2" in out


@pytest.mark.parametrize("there", [True, False])
def test_bars_are_for_a_terminal(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: there)
    assert EpochProgress().terminal == there
    assert EpochProgress(terminal=not there).terminal != there
    assert EpochProgress().refresh_every_n_batches == 10
