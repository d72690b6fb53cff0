"""The demo learns, whatever the seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import CONFIGS, Woof


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_learns(woof: Woof, drawn_root: Path, seed: int) -> None:
    configs = ["--config", CONFIGS / "adamw_onecycle.yaml", "--config", CONFIGS / "demo.yaml"]
    outcome = woof("fit", *configs, "--data.root", drawn_root, "--seed_everything", seed)
    assert outcome.code == 0, outcome.err
    result = json.loads(Path("runs/adamw_onecycle/result.json").read_text(encoding="utf-8"))
    assert result["best"]["val/acc1"] >= 0.6
    assert result["train_s"] < 180
