"""What a run reports is what its files hold, in every rhythm of validations and reports."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.conftest import Woof
from tests.cuts import cut
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.loading import Batch
from woof_lightning.data.sampling import spread_first
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.validate import validate
from woof_lightning.parity import first_difference
from woof_lightning.recipe.checkpoint import read_checkpoint
from woof_lightning.runs.folder import RunFolder, checkpoint_file
from woof_lightning.runs.metrics import read_metrics

RUN = RunFolder(Path("runs/adamw_onecycle"))
ALL_VALIDATION = ("--trainer.limit_val_batches", "1.0")


@pytest.mark.parametrize(
    "rhythm",
    [
        ("--trainer.val_check_interval", "0.25"),
        *(
            pytest.param(rhythm, marks=pytest.mark.long)
            for rhythm in (
                ("--trainer.val_check_interval", "3"),
                ("--trainer.val_check_interval", "3", "--trainer.check_val_every_n_epoch", "null"),
                ("--trainer.check_val_every_n_epoch", "2"),
                ("--trainer.max_steps", "7"),
            )
        ),
    ],
    ids=" ".join,
)
def test_the_best_that_is_reported_is_in_best_ckpt(rhythm: tuple[str, ...], woof: Woof, small_fit: list[str]) -> None:
    done = woof("fit", *small_fit, *ALL_VALIDATION, "--trainer.max_epochs", "4", *rhythm)
    assert (done.code, done.err) == (0, "")
    result = json.loads(RUN.result.read_text(encoding="utf-8"))
    rows = [row for row in read_metrics(RUN.metrics) if "val/acc1" in row]
    assert result["best"]["val/acc1"] == max(row["val/acc1"] for row in rows)
    assert result["final"]["val/acc1"] == rows[-1]["val/acc1"]
    best = validate(RUN.best, num_workers=0).metrics
    assert best["val/acc1"] == result["best"]["val/acc1"]
    assert best["val/loss"] == pytest.approx(result["best"]["val/loss"], rel=1e-6)


def test_a_run_goes_on_exactly_from_a_best_within_an_epoch(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """best.ckpt is what is left if last.ckpt is damaged."""
    options = [*small_fit, *ALL_VALIDATION, "--trainer.val_check_interval", "2"]
    assert woof("fit", *options).code == 0
    accuracies = iter([0.2, 0.3, 0.4, 0.1])
    real_end = WoofClassifier.on_validation_epoch_end

    def third_is_best(self: WoofClassifier) -> None:
        real_end(self)
        self.trainer.callback_metrics["val/acc1"].fill_(next(accuracies))

    with monkeypatch.context() as patch, cut(lambda module, _: module.global_step == 6):
        patch.setattr(WoofClassifier, "on_validation_epoch_end", third_is_best)
        assert woof("fit", *options, "--name", "cut").code == 143
    cut_run = RunFolder(Path("runs/cut"))
    assert read_checkpoint(cut_run.best)["global_step"] == 6
    cut_run.last.unlink()
    resumed = woof("fit", *options, "--name", "cut", "--resume")
    assert resumed.code == 0, resumed.err
    mine, theirs = (read_checkpoint(run.last) for run in (cut_run, RUN))
    assert all(torch.equal(mine["state_dict"][name], value) for name, value in theirs["state_dict"].items())
    assert cut_run.metrics.read_text(encoding="utf-8") == RUN.metrics.read_text(encoding="utf-8")


def test_a_short_epoch_reports_at_its_end(woof: Woof, small_fit: list[str]) -> None:
    options = ["--trainer.log_every_n_steps", "50", "--trainer.max_epochs", "3"]
    done = woof("fit", *small_fit, *options)
    rows = read_metrics(RUN.metrics)
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 4), (1, 8), (2, 12)]
    lines = [line for line in done.out.splitlines() if line.startswith("epoch ")]
    for line, row in zip(lines, rows, strict=True):
        assert f"train/loss {row['train/loss']:.4g}" in line
        assert f"val/loss {row['val/loss']:.4g}" in line


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_every_epoch_has_a_report(accumulate: int, woof: Woof, small_fit: list[str]) -> None:
    options = ["--trainer.log_every_n_steps", "3", "--trainer.accumulate_grad_batches", accumulate]
    assert woof("fit", *small_fit, *options, "--trainer.max_epochs", "3").code == 0
    rows = [row for row in read_metrics(RUN.metrics) if "train/loss" in row]
    assert {row["epoch"] for row in rows} == {0, 1, 2}


@pytest.mark.parametrize("name", ["bare", "fabric"])
def test_loops_report_at_the_same_steps(name: str, woof: Woof, small_fit: list[str]) -> None:
    options = [*small_fit, "--trainer.log_every_n_steps", "50"]
    assert woof("fit", *options, "--name", "a").code == 0
    assert woof("loop", name, *options, "--name", "b").code == 0
    assert first_difference(RunFolder(Path("runs/a")), RunFolder(Path("runs/b"))) is None
    assert read_metrics(Path("runs/a/metrics.csv")) == read_metrics(Path("runs/b/metrics.csv"))


def test_an_epoch_without_a_validation_shows_none(woof: Woof, small_fit: list[str]) -> None:
    done = woof("fit", *small_fit, "--trainer.check_val_every_n_epoch", "2", "--trainer.max_epochs", "4")
    lines = [line for line in done.out.splitlines() if line.startswith("epoch ")]
    assert ["val/acc1" in line for line in lines] == [False, True, False, True]
    assert done.err == ""


def test_a_limited_validation_is_spread_over_the_classes(
    woof: Woof, small_fit: list[str], drawn_index: ImageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = WoofClassifier.validation_step

    def step(self: WoofClassifier, batch: Batch, batch_idx: int) -> torch.Tensor:
        seen.extend(batch[1].tolist())
        return real(self, batch, batch_idx)

    monkeypatch.setattr(WoofClassifier, "validation_step", step)
    few = ["--trainer.limit_val_batches", "2", "--data.eval_batch_size", "10", "--trainer.max_epochs", "1"]
    assert woof("fit", *small_fit, *few).code == 0
    assert sorted(seen) == [label for label in range(10) for _ in range(2)]
    seen.clear()
    half = ["--trainer.limit_val_batches", "0.5", "--data.eval_batch_size", "16", "--trainer.max_epochs", "1"]
    assert woof("fit", *small_fit, *half, "--name", "half").code == 0
    assert [seen.count(label) for label in range(10)] == [8] * 10
    seen.clear()
    assert woof("fit", *small_fit, *ALL_VALIDATION, "--trainer.max_epochs", "1", "--name", "all").code == 0
    assert seen == [sample.label for sample in drawn_index.val]


@pytest.mark.parametrize(("size", "count"), [(10, 10), (10, 3), (7, 1), (160, 48), (5, 9)])
def test_a_spread_holds_every_image_once(size: int, count: int) -> None:
    order = spread_first(size, count)
    assert sorted(order) == list(range(size))
    steps = [after - before for before, after in pairwise(order[:count])]
    assert not steps or max(steps) - min(steps) <= 1


def test_a_run_with_only_a_last_checkpoint_has_one(woof: Woof, small_fit: list[str], drawn_root: Path) -> None:
    assert woof("fit", *small_fit, "--trainer.max_epochs", "1").code == 0
    assert checkpoint_file(RUN.path) == RUN.best
    RUN.best.unlink()
    assert checkpoint_file(RUN.path) == RUN.last
    assert woof("validate", "--ckpt", RUN.path, "--num_workers", "0").code == 0
    image = next((drawn_root / "synthetic" / "val").rglob("*.JPEG"))
    assert woof("predict", "--ckpt", RUN.path, image).code == 0
    RUN.last.unlink()
    assert "there is no checkpoint in it" in woof("predict", "--ckpt", RUN.path, image).err
