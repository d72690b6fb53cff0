"""Several processes train as one does: the same weights, reports and validation, and one run folder."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from tests.lit.several import CONFIGS, Together, assert_equal, options_for, rows, trained, weights
from woof_lightning.data.sampling import EpochSampler, SharedBatches, share_of
from woof_lightning.recipe.metrics import SplitMeans
from woof_lightning.runs.alone import number
from woof_lightning.runs.folder import RunFolder

EXPERIMENTS = ("sgd_step", "sgd_onecycle", "sgd_step_found_lr", "adamw_onecycle")


@pytest.fixture(scope="module")
def options(drawn_root: Path) -> list[object]:
    return options_for(drawn_root)


@pytest.fixture(scope="module")
def alone(options: list[object], tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A run of one process for each experiment."""
    place = tmp_path_factory.mktemp("alone")
    return {name: trained(place / name, ["--config", CONFIGS / f"{name}.yaml", *options], 1) for name in EXPERIMENTS}


CASES = [(name, world_size) for name in EXPERIMENTS for world_size in (2, 3, 4)]
USUAL = (("adamw_onecycle", 3), ("sgd_step", 2))


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "world_size"),
    [pytest.param(*case, marks=() if case in USUAL else pytest.mark.slow) for case in CASES],
)
def test_together_they_train_as_one(
    name: str, world_size: int, options: list[object], alone: dict[str, RunFolder], tmp_path: Path
) -> None:
    """21 steps; in the last one of an epoch a third and a fourth process have no image."""
    found = trained(tmp_path, ["--config", CONFIGS / f"{name}.yaml", *options], world_size)
    for key, expected in weights(alone[name]).items():
        torch.testing.assert_close(weights(found)[key], expected, rtol=0, atol=1e-5)
    ours, theirs = rows(found), rows(alone[name])
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    assert len(ours) == 21
    for row, expected_row in zip(ours, theirs, strict=True):
        assert row == pytest.approx(expected_row, abs=2e-5)
    final, expected_final = (
        json.loads(run.result.read_text(encoding="utf-8"))["final"] for run in (found, alone[name])
    )
    assert final.pop("batch_means") == pytest.approx(expected_final.pop("batch_means"), abs=2e-5)
    assert final == pytest.approx(expected_final, abs=2e-5)


@pytest.mark.process
def test_the_folder_is_the_first_one_s_and_a_resume_is_exact(options: list[object], tmp_path: Path) -> None:
    words = ["--config", CONFIGS / "adamw_onecycle.yaml", *options]
    whole = trained(tmp_path / "whole", words, 2, apart=True)
    assert not list((tmp_path / "whole" / "node-1").glob("runs*"))

    stopped = Together(tmp_path / "cut", [*words, "--save_every", 1], 2, apart=True)
    run = RunFolder(tmp_path / "cut" / "node-0" / "runs" / "run")
    assert stopped.processes[0].wait_until(lambda: run.metrics.exists() and len(rows(run)) >= 4)
    stopped.processes[1].send(signal.SIGTERM)  # To one of them.
    ended = stopped.wait()
    assert [one.code for one in ended] == [143, 143], ended
    assert ended[0].err.count("stopped by SIGTERM after a whole step") == 1
    assert ended[1].err == ""

    resumed = trained(tmp_path / "cut", [*words, "--resume"], 2, apart=True)
    assert not list((tmp_path / "cut" / "node-1").glob("runs*"))
    assert_equal(resumed, whole)


@pytest.mark.process
def test_a_resume_without_a_run_begins_one(options: list[object], tmp_path: Path) -> None:
    words = ["--config", CONFIGS / "sgd_step.yaml", *options, "--trainer.max_epochs", 1, "--resume"]
    assert len(rows(trained(tmp_path, words, 2, apart=True))) == 3


@pytest.mark.process
@pytest.mark.parametrize("killed", [0, 1])
def test_if_one_is_killed_the_others_end_and_say_so(killed: int, options: list[object], tmp_path: Path) -> None:
    words = ["--config", CONFIGS / "sgd_step.yaml", *options, "--trainer.max_epochs", 200]
    together = Together(tmp_path, words, 2)
    run = RunFolder(tmp_path / "runs" / "run")
    assert together.processes[0].wait_until(run.last.exists)
    together.processes[killed].send(signal.SIGKILL)
    left = together.processes[1 - killed].wait(30)
    assert left.code == 2
    assert "Traceback" not in left.err
    if killed == 1:
        assert left.err.count("one of the 2 processes has ended") == 1
    assert torch.load(run.last, weights_only=True)["global_step"] % 3 == 0, "the last checkpoint is whole"


RAISING = """
import os
from lightning.pytorch import Callback

class Raising(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == 4 and trainer.global_rank == 1:
            raise ValueError("only here")

class NotFinite(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == 4 and trainer.global_rank == 1:
            outputs["loss"].fill_(float("nan"))
"""


@pytest.mark.process
def test_if_one_raises_the_others_end(options: list[object], tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text(RAISING, encoding="utf-8")
    words = ["--config", CONFIGS / "sgd_step.yaml", *options, "--trainer.callbacks+=raising.Raising"]
    first, second = Together(tmp_path, words, 2).wait()
    assert second.code == 1
    assert "ValueError: only here" in second.err
    assert first.code == 2
    assert first.err.count("one of the 2 processes has ended") == 1
    assert "Traceback" not in first.err


@pytest.mark.process
def test_a_loss_that_is_nan_in_one_ends_all_with_one_message(options: list[object], tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text(RAISING, encoding="utf-8")
    words = ["--config", CONFIGS / "sgd_step.yaml", *options, "--trainer.callbacks+=raising.NotFinite"]
    ended = Together(tmp_path, words, 2).wait()
    assert [one.code for one in ended] == [3, 3], ended
    assert ended[0].err.count("the training loss is nan") == 1
    assert ended[1].err == ""


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("batch_size", [7, 8, 65])
def test_shares_are_those_of_the_batches(world_size: int, batch_size: int) -> None:
    order = EpochSampler(130, seed=3)
    shares = [list(SharedBatches(order, batch_size, rank, world_size)) for rank in range(world_size)]
    images = [index for _, index in order]
    for place, batch in enumerate(zip(*shares, strict=True)):
        whole = images[place * batch_size :][:batch_size]
        owned = [share_of(len(whole), rank, world_size) for rank in range(world_size)]
        assert sum(owned) == len(whole)
        assert max(owned) - min(owned) <= 1
        together = sorted(index for share, own in zip(batch, owned, strict=True) for _, index in share[:own])
        assert together == sorted(whole)
        assert all(len(share) == max(1, own) for share, own in zip(batch, owned, strict=True))
    assert len(shares[0]) == len(SharedBatches(order, batch_size, 0, world_size))


@pytest.mark.parametrize("world_size", [2, 3])
def test_shared_means_are_those_of_one_to_the_bit(world_size: int) -> None:
    drawn = torch.Generator().manual_seed(0)
    batches = [(torch.randn(5, 10, generator=drawn), torch.arange(5) % 10) for _ in range(7)]
    batches.append((torch.randn(2, 10, generator=drawn), torch.arange(2)))
    whole, parts = SplitMeans(), [SplitMeans() for _ in range(world_size)]
    for place, batch in enumerate(batches):
        whole.update(*batch)
        parts[place % world_size].update(*batch)
    together = SplitMeans.interleaved(parts)
    assert together.over_images() == whole.over_images()
    assert together.over_batches(16) == whole.over_batches(16)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, 0), ({"RANK": "3"}, 3), ({"LOCAL_RANK": "1"}, 1), ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, 1),
     ({"RANK": "0", "NODE_RANK": "1"}, 0), ({"SLURM_PROCID": "2"}, 2), ({"RANK": "x"}, 0)],
)  # fmt: skip
def test_a_process_knows_its_number(environment: dict[str, str], expected: int) -> None:
    assert number(environment) == expected


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.limit_val_batches", 0.5], "trainer.limit_val_batches is 0.5 with 2 devices: expected a number of"),
        (["--trainer.sync_batchnorm", "true"], "PyTorch has no synchronised BatchNorm for the CPU"),
    ],
)
def test_what_does_not_hold_for_several_is_refused(
    words: list[object], message: str, options: list[object], tmp_path: Path
) -> None:
    first, second = Together(tmp_path, ["--config", CONFIGS / "sgd_step.yaml", *options, *words], 2).wait()
    assert [first.code, second.code] == [2, 2]
    assert message in first.err
    assert second.err == ""
