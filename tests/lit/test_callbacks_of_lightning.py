"""Every callback that Lightning ships: it does in `woof fit` what it says, or is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer, callbacks
from lightning.pytorch.callbacks import LambdaCallback, ThroughputMonitor

from tests.conftest import Outcome, Woof
from tests.cuts import cut
from woof_lightning.lit.callbacks.foreign import callback_problems
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.parity import first_difference
from woof_lightning.recipe.checkpoint import load_net, read_checkpoint
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

RUN = RunFolder(Path("runs/adamw_onecycle"))
# The arguments with which each is tried, and what is seen of it: a part of a refusal, or the name of a check below.
TRIED: dict[str, tuple[dict[str, Any], str]] = {
    "BackboneFinetuning": ({}, "which the one-cycle schedule does not know"),
    "BatchSizeFinder": ({}, "set data.batch_size"),
    "DeviceStatsMonitor": ({}, "columns"),
    "EarlyStopping": ({"monitor": "val/acc1", "mode": "max", "stopping_threshold": 0.0}, "stopped"),
    "EMAWeightAveraging": ({"decay": 0.5}, "averaged"),
    "GradientAccumulationScheduler": ({"scheduling": {0: 2}}, "the cycle would not end"),
    "LearningRateFinder": ({}, "run woof lr-find first"),
    "LearningRateMonitor": ({}, "columns"),
    "ModelCheckpoint": ({"filename": "mine", "monitor": "val/loss"}, "checkpoint"),
    "ModelPruning": ({"pruning_fn": "l1_unstructured", "amount": 0.5}, "pruned"),
    "ModelSummary": ({}, "printed"),
    "OnExceptionCheckpoint": ({"dirpath": "saved"}, "plain"),
    "RichModelSummary": ({}, "printed"),
    "RichProgressBar": ({}, "bar"),
    "SpikeDetection": ({"warmup": 100}, "plain"),
    "StochasticWeightAveraging": ({"swa_lrs": 0.1}, "it averages after the last checkpoint"),
    "TQDMProgressBar": ({}, "bar"),
    "ThroughputMonitor": ({}, "the following arguments are required: batch_size_fn"),
    "Timer": ({"duration": "00:00:00:00", "interval": "epoch"}, "ended"),
    "WeightAveraging": ({}, "averaged"),
}
# Tried below in Python, since no command line can give them functions.
IN_PYTHON = {"LambdaCallback", "ThroughputMonitor"}
# They do nothing by themselves.
ABSTRACT = {"BaseFinetuning", "BasePredictionWriter", "Callback", "Checkpoint", "ProgressBar"}


def given(name: str, arguments: dict[str, Any]) -> str:
    return "--trainer.callbacks=" + json.dumps(
        [{"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": arguments}]
    )


def printed(done: Outcome) -> None:
    assert "352 K" in done.out + done.err  # The number of parameters.


def bar(done: Outcome) -> None:
    assert "4/4" in done.out + done.err
    assert "epoch 1/2" not in done.out, "The run's own progress."


def columns(_: Outcome) -> None:
    header = RUN.metrics.read_text(encoding="utf-8").splitlines()[0]
    assert "lr-AdamW" in header or "DeviceStatsMonitor" in header


def checkpoint(_: Outcome) -> None:
    assert "state_dict" in torch.load(RUN.checkpoints / "mine.ckpt", weights_only=True)


def stopped(_: Outcome) -> None:
    assert json.loads(RUN.result.read_text(encoding="utf-8"))["status"] == "stopped early"
    assert json.loads(RUN.result.read_text(encoding="utf-8"))["epochs"] == 1


def pruned(_: Outcome) -> None:
    weights = [value for name, value in read_checkpoint(RUN.last)["state_dict"].items() if name.endswith("weight")]
    zeros, numbers = sum(int((value == 0).sum()) for value in weights), sum(value.numel() for value in weights)
    assert 0.3 < zeros / numbers < 0.9
    saved = yaml.safe_load(RUN.config.read_text(encoding="utf-8"))["trainer"]["callbacks"][0]["init_args"]
    assert saved["pruning_fn"] == "l1_unstructured"


def averaged(_: Outcome) -> None:
    kept = read_checkpoint(RUN.last)
    name = next(name for name in kept["state_dict"] if name.endswith("fc.weight"))
    assert not torch.equal(kept["state_dict"][name], kept["current_model_state"][name])
    torch.testing.assert_close(load_net(RUN.last).state_dict()[name.removeprefix("net.")], kept["state_dict"][name])


def plain(_: Outcome) -> None:
    assert json.loads(RUN.result.read_text(encoding="utf-8"))["status"] == "finished"


def ended(_: Outcome) -> None:
    assert json.loads(RUN.result.read_text(encoding="utf-8"))["status"] == "stopped early"
    assert json.loads(RUN.result.read_text(encoding="utf-8"))["epochs"] == 0


CHECKS: dict[str, Callable[[Outcome], None]] = {
    check.__name__: check for check in (printed, bar, columns, checkpoint, stopped, ended, pruned, averaged, plain)
}


def test_each_of_them_is_tried() -> None:
    assert {*TRIED, *IN_PYTHON, *ABSTRACT} == set(callbacks.__all__)


@pytest.mark.long
@pytest.mark.parametrize("name", TRIED)
def test_it_works_or_is_refused(name: str, woof: Woof, small_fit: list[str], caplog: pytest.LogCaptureFixture) -> None:
    arguments, seen = TRIED[name]
    if name.startswith("Rich"):
        pytest.importorskip("rich")
    if name == "DeviceStatsMonitor":
        pytest.importorskip("psutil")
    done = woof("fit", *small_fit, given(name, arguments))
    if seen in CHECKS:
        assert done.code == 0, done.err
        CHECKS[seen](Outcome(done.code, done.out, done.err + caplog.text))
        if seen != "ended":
            assert woof("validate", "--ckpt", RUN.last, "--num_workers", 0).code == 0
    else:
        assert done.code == 2
        assert seen in done.err
        assert len(done.err.splitlines()) <= 2
        assert not RUN.path.exists()


@pytest.mark.parametrize(
    "arguments", [{"decay": 0.5}, pytest.param({"decay": 0.9, "use_buffers": False}, marks=pytest.mark.long)]
)
def test_averaged_weights_are_validated_saved_and_resumed(
    arguments: dict[str, Any], woof: Woof, small_fit: list[str]
) -> None:
    options = [*small_fit, "--trainer.limit_val_batches", "1.0", given("EMAWeightAveraging", arguments)]
    assert woof("fit", *options).code == 0
    final = json.loads(RUN.result.read_text(encoding="utf-8"))["final"]
    validated = json.loads(woof("validate", "--ckpt", RUN.last, "--num_workers", 0, "--json").out)
    assert validated["val/loss"] == pytest.approx(final["val/loss"], rel=1e-6)
    assert validated["val/acc1"] == final["val/acc1"]

    with cut(lambda module, _: module.global_step == 5):
        assert woof("fit", *options, "--name", "cut").code == 143
    resumed = woof("fit", *options, "--name", "cut", "--resume")
    assert resumed.code == 0, resumed.err
    assert first_difference(RUN, RunFolder(Path("runs/cut"))) is None
    mine, theirs = (read_checkpoint(Path("runs") / name / "checkpoints/last.ckpt") for name in ("cut", RUN.path.name))
    for name, value in theirs["current_model_state"].items():
        assert torch.equal(mine["current_model_state"][name], value), name


def test_an_average_is_that_of_the_steps(woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps with decay 0.5, added up by hand."""
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        WoofClassifier,
        "on_train_batch_start",
        lambda self, *_: seen.append(self.net.fc.weight.detach().clone()),
    )
    options = ["--trainer.max_epochs", "1", given("EMAWeightAveraging", {"decay": 0.5})]
    assert woof("fit", *small_fit, *options).code == 0
    kept = read_checkpoint(RUN.last)
    after = [*seen[1:], kept["current_model_state"]["net.fc.weight"]]
    expected = after[0]  # The average starts with the first step's weights.
    for weights in after[1:]:
        expected = 0.5 * expected + 0.5 * weights
    torch.testing.assert_close(kept["state_dict"]["net.fc.weight"], expected)


def test_a_pruned_run_cannot_be_resumed(woof: Woof, small_fit: list[str]) -> None:
    options = [*small_fit, given("ModelPruning", {"pruning_fn": "l1_unstructured"})]
    assert woof("fit", *options).code == 0
    refused = woof("fit", *options, "--resume")
    assert refused.code == 2
    assert "its masks are not in a checkpoint" in refused.err


def test_accumulation_by_schedule_works_where_steps_are_not_counted(woof: Woof, small_fit: list[str]) -> None:
    options = ["--model.schedule", "step", "--trainer.log_every_n_steps", "1"]
    done = woof("fit", *small_fit, *options, given("GradientAccumulationScheduler", {"scheduling": {0: 1, 1: 2}}))
    assert done.code == 0, done.err
    assert [row["step"] for row in read_metrics(RUN.metrics)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["EarlyStopping", "ModelCheckpoint"])
def test_a_metric_that_nobody_computes_is_named_before_the_training(
    name: str, woof: Woof, small_fit: list[str]
) -> None:
    refused = woof("fit", *small_fit, given(name, {"monitor": "val/accuracy"}))
    assert refused.code == 2
    assert f"{name}: it monitors 'val/accuracy', which nothing computes: expected one of val/loss" in refused.err
    assert not RUN.path.exists()


def test_a_callback_of_one_s_own_may_compute_it() -> None:
    class Mine(callbacks.Callback):
        pass

    stopping = callbacks.EarlyStopping("mine")
    assert callback_problems([stopping], "step", resuming=False)
    assert not callback_problems([stopping, Mine()], "step", resuming=False)


def test_early_stopping_goes_on_after_a_resume(woof: Woof, small_fit: list[str]) -> None:
    """It counts the epochs without improvement over the cut: patience 2, and no epoch improves on an accuracy of 2."""
    arguments = {"monitor": "val/acc1", "mode": "max", "patience": 2, "min_delta": 2.0}
    options = [*small_fit, "--trainer.max_epochs", "5", given("EarlyStopping", arguments)]
    assert woof("fit", *options).code == 0
    assert json.loads(RUN.result.read_text(encoding="utf-8"))["epochs"] == 3
    with cut(lambda module, _: module.current_epoch == 1):
        assert woof("fit", *options, "--name", "cut").code == 143
    assert woof("fit", *options, "--name", "cut", "--resume").code == 0
    assert first_difference(RUN, RunFolder(Path("runs/cut"))) is None
    assert json.loads(Path("runs/cut/result.json").read_text(encoding="utf-8"))["epochs"] == 3


def test_a_spike_ends_the_run_with_a_message(woof: Woof, small_fit: list[str]) -> None:
    done = woof("fit", *small_fit, given("SpikeDetection", {"warmup": 0, "atol": 0.0, "rtol": 0.0, "mode": "max"}))
    assert done.code == 2
    assert "the callback SpikeDetection ended the run" in done.err
    assert "Traceback" not in done.err


def test_a_timer_that_ends_within_an_epoch_is_refused(woof: Woof, small_fit: list[str]) -> None:
    refused = woof("fit", *small_fit, given("Timer", {"duration": "00:00:10:00", "interval": "step"}))
    assert refused.code == 2
    assert "use trainer.max_time" in refused.err


def test_a_setting_that_cannot_be_written_is_named(woof: Woof, small_fit: list[str]) -> None:
    refused = woof("fit", *small_fit, given("Timer", {"duration": "00:00:10:00"}))
    assert refused.code == 2
    assert "the settings cannot be written to config.yaml (<Interval.step: 'step'>)" in refused.err


def test_callbacks_with_functions_work_in_python(drawn_root: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    monitor = ThroughputMonitor(batch_size_fn=lambda batch: len(batch[0]), window_size=2)
    data = ImagewoofDataModule(root=drawn_root, variant="synthetic", image_size=32, batch_size=32, num_workers=0)
    trainer = Trainer(
        max_epochs=1, limit_train_batches=4, limit_val_batches=1, log_every_n_steps=2, accelerator="cpu",
        default_root_dir=tmp_path, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        callbacks=[monitor, LambdaCallback(on_train_batch_end=lambda *args: seen.append(args[-1]))],
    )  # fmt: skip
    trainer.fit(WoofClassifier(arch="shufflenet_v2_x0_5"), datamodule=data)
    assert seen == [0, 1, 2, 3]


def test_a_checkpoint_without_weights_is_not_saved(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def thief(*args: Any) -> None:
        checkpoint = args[-1]
        checkpoint["elsewhere"] = checkpoint.pop("state_dict")
        checkpoint["state_dict"] = {}

    monkeypatch.setattr(callbacks.LearningRateMonitor, "on_save_checkpoint", thief)
    done = woof("fit", *small_fit, given("LearningRateMonitor", {}))
    assert done.code == 2
    assert "has removed" in done.err
    assert not RUN.last.exists()


def test_pruning_and_averaging_exclude_each_other() -> None:
    both = [callbacks.ModelPruning("l1_unstructured"), callbacks.EMAWeightAveraging()]
    (problem,) = callback_problems(both, "step", resuming=False)
    assert "take one of them" in problem
