"""`woof loop lightning`: what Lightning's own parts leave, and what other verbs make of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import Woof
from tests.processes import run
from woof_lightning.loops import ways
from woof_lightning.loops.ways import LOOPS
from woof_lightning.recipe.checkpoint import read_checkpoint
from woof_lightning.runs.folder import RunFolder

RUN = RunFolder(Path("runs/adamw_onecycle-lightning"))


@pytest.fixture
def trained(woof: Woof, small_fit: list[str]) -> Woof:
    outcome = woof("loop", "lightning", *small_fit, "--trainer.limit_val_batches", "1.0")
    assert outcome.code == 0, outcome.err
    assert f"tensorboard --logdir {RUN.path}" in outcome.out
    return woof


@pytest.mark.usefixtures("trained")
def test_it_leaves_config_events_and_checkpoints() -> None:
    names = {file.name for file in RUN.path.rglob("*") if file.is_file() and "tfevents" not in file.name}
    assert names == {"best.ckpt", "last.ckpt", "config.yaml", "hparams.yaml"}
    assert yaml.safe_load(RUN.config.read_text(encoding="utf-8"))["model"]["arch"] == "shufflenet_v2_x0_5"
    checkpoint = read_checkpoint(RUN.last)
    assert (checkpoint["epoch"], checkpoint["global_step"], checkpoint["loop"]) == (1, 8, "lightning")
    events = EventAccumulator(str(RUN.path))
    events.Reload()
    train = {f"train/{name}_{when}" for name in ("loss", "acc1", "acc5") for when in ("step", "epoch")}
    assert set(events.Tags()["scalars"]) == train | {"epoch", "val/loss", "val/acc1", "val/acc5"}
    assert [event.step for event in events.Scalars("train/loss_step")] == [1, 3, 5, 7]


def test_validate_and_compare_agree_on_its_top1(trained: Woof) -> None:
    validated = trained("validate", "--ckpt", RUN.last, "--json", "--num_workers", "0")
    assert validated.code == 0, validated.err
    top1 = json.loads(validated.out)["val/acc1"]
    assert trained("compare", RUN.path, "--out", "out").code == 0
    (row,) = csv.DictReader(Path("out/results.csv").read_text(encoding="utf-8").splitlines())
    assert (row["state"], row["final top-1"]) == ("finished", f"{top1:.3f}")


def test_compare_says_how_far_an_unfinished_run_got(trained: Woof) -> None:
    RUN.config.write_text(
        RUN.config.read_text(encoding="utf-8").replace("max_epochs: 2", "max_epochs: 5"), encoding="utf-8"
    )
    assert trained("compare", RUN.path, "--out", "out").code == 0
    (row,) = csv.DictReader(Path("out/results.csv").read_text(encoding="utf-8").splitlines())
    assert row["state"] == "unfinished, 2 of 5 epochs"


def test_predict_takes_its_run(trained: Woof, drawn_root: Path) -> None:
    image = next((drawn_root / "synthetic" / "val").glob("*/*"))
    assert trained("predict", "--ckpt", RUN.path, image).code == 0


def test_a_finished_run_that_is_resumed_keeps_its_weights(trained: Woof, small_fit: list[str]) -> None:
    before = RUN.last.read_bytes()
    again = trained("loop", "lightning", *small_fit, "--trainer.limit_val_batches", "1.0", "--resume")
    assert again.code == 0, again.err
    assert RUN.last.read_bytes() == before
    assert not list(RUN.checkpoints.glob("*-v1.ckpt"))


@pytest.mark.process
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_run_as_a_script_names_its_command(loop: str, tmp_path: Path) -> None:
    file = Path(ways.__file__).with_name(f"{loop}.py")
    done = run([file], tmp_path)
    assert done.code == 1
    assert done.err == f"this file is not a script; run it with: woof loop {loop}\n"
