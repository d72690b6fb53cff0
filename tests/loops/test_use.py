"""What a loop has saved is read by `woof predict` and `woof export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.conftest import Woof
from tests.ways import each
from woof_lightning.loops.ways import LOOPS, WOOF_FIT
from woof_lightning.runs.folder import RunFolder


@pytest.mark.parametrize("way", each([WOOF_FIT, *LOOPS]))
def test_predict_and_export_read_what_a_way_has_saved(
    woof: Woof, small_fit: list[str], drawn_root: Path, way: str
) -> None:
    verb = ("fit",) if way == WOOF_FIT else ("loop", way)
    trained = woof(*verb, *small_fit, "--trainer.max_epochs", 1, "--name", "run")
    assert trained.code == 0, trained.err
    image = min((drawn_root / "synthetic" / "val").rglob("*.JPEG"))
    run = RunFolder(Path("runs/run"))
    own = set(run.checkpoints.iterdir()) - {run.best, run.last}
    assert bool(own) == (way == "hand_rolled"), "pytorch-nn-tools saves files of its own"
    found = []
    for place in (run.path, run.best, run.last):
        outcome = woof("predict", "--ckpt", place, image, "--json")
        assert outcome.code == 0, outcome.err
        found.append(json.loads(outcome.out))
    assert found[0] == found[1] == found[2]  # After one epoch the best is the last.
    assert len(found[0][0]["top"]) == 3
    for file in own:
        refused = woof("predict", "--ckpt", file, image)
        assert refused.code == 2
        reasons = ("expected a checkpoint of this project", "it is truncated or no checkpoint")
        assert any(reason in refused.err for reason in reasons)
    assert woof("export", "--ckpt", run.path, "--to", "state_dict").code == 0
    content = torch.load(run.path / "export" / "best.state_dict.pt", weights_only=True)
    assert content["metadata"]["arch"] == "shufflenet_v2_x0_5"
