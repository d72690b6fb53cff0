"""Figures of speed and time, by a clock that the test sets: a step takes 10 s, a validation batch 100 s."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.optim.optimizer import register_optimizer_step_post_hook

from tests.conftest import Woof
from woof_lightning.lit.recorder import Recorder
from woof_lightning.recipe.metrics import SplitMeans
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.record import RunRecord


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    now_s = [0.0]

    def passes(elapsed_s: float) -> None:
        now_s[0] += elapsed_s

    for place in ("lit.recorder", "loops.run"):
        monkeypatch.setattr(f"woof_lightning.{place}.time.perf_counter", lambda: now_s[0])
    real = SplitMeans.update

    def slow(self: SplitMeans, *batch: Any) -> None:
        passes(100)
        real(self, *batch)

    monkeypatch.setattr(SplitMeans, "update", slow)
    handle = register_optimizer_step_post_hook(lambda *_: passes(10))
    yield
    handle.remove()


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("verb", ["fit", "loop bare", "loop fabric"])
def test_validation_is_not_in_images_per_second_but_in_the_time(verb: str, woof: Woof, small_fit: list[str]) -> None:
    """Epochs of four steps of 8 images, and of three validation batches."""
    done = woof(*verb.split(), *small_fit, "--name", "run")
    assert done.code == 0, done.err
    result = json.loads(Path("runs/run/result.json").read_text(encoding="utf-8"))
    assert result["images_per_s"] == 4 * 8 / 40
    assert result["elapsed_s"] == [340, 680]
    assert result["train_s"] == 680


def test_a_checkpoint_without_the_time_of_its_epoch_is_read(tmp_path: Path) -> None:
    """As checkpoints of epochs were written before those within an epoch."""
    recorder = Recorder(RunFolder(tmp_path), {})
    earlier = RunRecord(elapsed_s=[7.0]).state_dict()
    recorder.load_state_dict(earlier)
    assert recorder.record.elapsed_s == [7.0]
