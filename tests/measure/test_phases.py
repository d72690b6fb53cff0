"""The parts of a training, from a training that the test writes out with a clock of its own."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from woof_lightning.measure import phases
from woof_lightning.measure.phases import PhaseClock

# Seconds of each thing that the training does.
STEP, BATCH, TO_VALIDATION, TO_EPOCH, SAVE, FLUSH = 2.0, 3.0, 7.0, 11.0, 0.5, 0.25


class Training:
    """A training whose time passes as the constants say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.now_s = 100.0
        self.file = tmp_path / "file"
        monkeypatch.setattr(phases, "time", SimpleNamespace(perf_counter=lambda: self.now_s))
        monkeypatch.setattr(torch, "save", self.save)
        monkeypatch.setattr(os, "fsync", lambda _: self.passes(FLUSH))
        self.net = nn.Linear(1, 1)

    def passes(self, elapsed_s: float) -> None:
        self.now_s += elapsed_s

    def save(self, *_: Any) -> None:
        self.passes(SAVE)
        os.fsync(0)  # Within the save: counted once.

    def run(self, clock: PhaseClock, epochs: int, batches: int, *, files: int = 2, sanity: bool = False) -> None:
        if sanity:
            self.net.eval()
            clock.forward(self.net)
        for _ in range(epochs):
            self.net.train()
            for _ in range(clock.steps):
                self.passes(STEP)
                clock.forward(self.net)
                clock.stepped()
            self.passes(TO_VALIDATION)
            self.net.eval()
            for _ in range(batches):
                clock.forward(self.net)
                self.passes(BATCH)
            for _ in range(files):
                torch.save()  # type: ignore[call-arg]
            os.fsync(0)
            self.passes(TO_EPOCH)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Training:
    return Training(monkeypatch, tmp_path)


def test_each_part_is_found_again(training: Training) -> None:
    clock = PhaseClock(steps=8)
    with clock.noting_saves():
        training.run(clock, epochs=4, batches=5, sanity=True)
    assert clock.parts() == {
        "train_step_us": pytest.approx(1e6 * STEP),
        "val_batch_us": pytest.approx(1e6 * BATCH),
        "epoch_us": pytest.approx(1e6 * (TO_VALIDATION + TO_EPOCH)),
        # Two files of a save and a flush each, and one more flush.
        "checkpoint_us": pytest.approx(1e6 * (2 * (SAVE + FLUSH) + FLUSH) / 2),
        "files_per_epoch": 2,
    }


def test_the_parts_add_up_to_the_whole(training: Training) -> None:
    clock = PhaseClock(steps=8)
    start_s = training.now_s
    with clock.noting_saves():
        training.run(clock, epochs=3, batches=5)
    found = clock.parts()
    an_epoch_us = (
        8 * found["train_step_us"]
        + 5 * found["val_batch_us"]
        + found["epoch_us"]
        + found["files_per_epoch"] * found["checkpoint_us"]
    )
    assert 3 * an_epoch_us == pytest.approx(1e6 * (training.now_s - start_s))


def test_what_was_replaced_is_put_back() -> None:
    before = (torch.save, os.fsync, os.replace, os.rename)

    def fails() -> None:
        with PhaseClock(steps=2).noting_saves():
            assert torch.save is not before[0]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert (torch.save, os.fsync, os.replace, os.rename) == before


def test_a_training_without_validation_is_told(training: Training) -> None:
    clock = PhaseClock(steps=4)
    training.run(clock, epochs=1, batches=0)
    with pytest.raises(RuntimeError, match="too short"):
        clock.parts()
