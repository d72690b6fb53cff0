"""Every YAML that is shipped runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import CONFIGS, Woof
from woof_lightning.recipe.model import build_net
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

OVERLAYS = ("demo", "cpu", "gpu", "finetune")


def test_the_four_experiments_and_the_overlays_are_there() -> None:
    experiments = {"sgd_step", "sgd_step_found_lr", "sgd_onecycle", "adamw_onecycle"}
    assert {file.stem for file in CONFIGS.glob("*.yaml")} == experiments | set(OVERLAYS)


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_shipped_config_trains(woof: Woof, drawn_root: Path, config: Path) -> None:
    base = ["--config", CONFIGS / "adamw_onecycle.yaml"] if config.stem in OVERLAYS else []
    # The published weights of finetune.yaml cannot be downloaded in a test.
    torch.save(build_net("resnet18", 1000).state_dict(), "resnet18.pth")
    weights = ["--model.weights", "resnet18.pth"] if config.stem == "finetune" else []
    outcome = woof(
        *("fit", *base, "--config", config, "--name", config.stem),
        *("--data.root", drawn_root, "--data.variant", "synthetic", "--data.image_size", 64),
        *("--data.batch_size", 16, "--data.num_workers", 0, "--trainer.accelerator", "cpu"),
        *("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 2),
        *("--trainer.log_every_n_steps", 1, *weights),
    )
    assert outcome.code == 0, outcome.err
    run = RunFolder(Path("runs") / config.stem)
    assert [row["step"] for row in read_metrics(run.metrics)] == [1, 2]
    assert run.best.is_file()
    assert run.result.is_file()
