"""Several devices share one training: as processes on the CPU, each of which notes what it reads and trains."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.sampling import EpochSampler
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

# Lightning starts the other processes by this file's own command line.
NOTING = """
import json, os, sys
from pathlib import Path
from woof_lightning.data.loading import ImageDataset
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.cli import main

rank = os.environ.get("LOCAL_RANK", "0")
def note(kind, value):
    with Path(f"rank-{rank}.txt").open("a") as file:
        file.write(json.dumps([kind, value]) + "\\n")

get, step = ImageDataset.__getitem__, WoofClassifier.training_step
def noted_get(self, key):
    note("train" if len(self.samples) == 480 else "val", key)
    return get(self, key)
def noted_step(self, batch, batch_idx):
    note("step", [self.current_epoch, batch_idx, len(batch[1])])
    return step(self, batch, batch_idx)

if __name__ == "__main__":
    ImageDataset.__getitem__, WoofClassifier.training_step = noted_get, noted_step
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_fit: list[str]) -> Path:
    """Where two devices have trained two epochs of four batches of 8, with all validation images."""
    folder = tmp_path_factory.mktemp("devices")
    (folder / "noting.py").write_text(NOTING, encoding="utf-8")
    options = [*small_fit, "--trainer.devices", 2, "--trainer.limit_val_batches", "1.0", "--seed_everything", 3]
    done = run(["noting.py", "fit", *options, "--name", "run"], folder)
    assert done.code == 0, done.err
    assert done.err == ""
    return folder


def noted(place: Path, rank: int, kind: str) -> list[Any]:
    lines = (place / f"rank-{rank}.txt").read_text(encoding="utf-8").splitlines()
    return [value for what, value in map(json.loads, lines) if what == kind]


@pytest.mark.process
def test_together_they_read_the_images_of_one_device_in_its_order(place: Path, drawn_index: ImageIndex) -> None:
    for epoch in (0, 1):
        shares = [[index for at, index in noted(place, rank, "train") if at == epoch] for rank in (0, 1)]
        assert not set(shares[0]) & set(shares[1])
        together = [index for pair in zip(*shares, strict=True) for index in pair]
        alone = EpochSampler(len(drawn_index.train), 3)
        alone.set_epoch(epoch)
        expected = [index for _, index in alone]
        assert len(together) == 4 * 8
        assert together == expected[: 4 * 8]


@pytest.mark.process
def test_a_batch_is_divided_among_them(place: Path) -> None:
    for rank in (0, 1):
        assert noted(place, rank, "step") == [[epoch, batch, 4] for epoch in (0, 1) for batch in range(4)]


@pytest.mark.process
def test_together_they_validate_every_image_once_and_one_run_is_left(place: Path, drawn_index: ImageIndex) -> None:
    read = [[index for _, index in noted(place, rank, "val")] for rank in (0, 1)]
    assert Counter(read[0] + read[1]) == dict.fromkeys(range(len(drawn_index.val)), 2), "in each of two validations"
    assert abs(len(read[0]) - len(read[1])) <= 2 * 16
    found = RunFolder(place / "runs/run")
    assert [path.name for path in (place / "runs").iterdir()] == ["run"]
    assert [row["step"] for row in read_metrics(found.metrics)] == [2, 4, 6, 8]
    result = json.loads(found.result.read_text(encoding="utf-8"))
    assert (result["status"], result["epochs"]) == ("finished", 2)
