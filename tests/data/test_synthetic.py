from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from woof_lightning.data import synthetic
from woof_lightning.data.decoding import read_image
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.samples import Samples
from woof_lightning.errors import UserError


def test_drawing_is_the_same_every_time(drawn_root: Path, tmp_path: Path) -> None:
    synthetic.draw(tmp_path / "again")
    first = {
        p.relative_to(drawn_root / "synthetic"): p.read_bytes() for p in (drawn_root / "synthetic").rglob("*.JPEG")
    }
    second = {p.relative_to(tmp_path / "again"): p.read_bytes() for p in (tmp_path / "again").rglob("*.JPEG")}
    assert first == second
    assert len(first) == 640


def test_an_existing_drawing_is_kept(drawn_root: Path) -> None:
    file = next((drawn_root / "synthetic").rglob("*.JPEG"))
    before = file.stat().st_mtime_ns
    synthetic.draw(drawn_root / "synthetic")
    assert file.stat().st_mtime_ns == before


def test_a_folder_of_an_older_drawing_is_drawn_again(tmp_path: Path) -> None:
    old = tmp_path / "synthetic"
    (old / "train").mkdir(parents=True)
    (old / synthetic.VERSION_FILE).write_text("0", encoding="utf-8")
    synthetic.draw(old)
    assert len(list(old.rglob("*.JPEG"))) == 640


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "synthetic" / "mine.txt"
    own.parent.mkdir()
    own.write_text("work of years", encoding="utf-8")
    with pytest.raises(UserError, match="exists and was not drawn by woof"):
        synthetic.draw(own.parent)
    assert own.read_text(encoding="utf-8") == "work of years"
    assert [place.name for place in tmp_path.iterdir()] == ["synthetic"]


@pytest.mark.process
def test_two_processes_that_start_at_once_share_one_drawing(tmp_path: Path) -> None:
    code = "import pathlib, sys, woof_lightning.data.synthetic as s; s.draw(pathlib.Path(sys.argv[1]))"
    both = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "drawn"]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert [place.name for place in tmp_path.iterdir()] == ["drawn"]
    assert len(list(tmp_path.rglob("*.JPEG"))) == 640


def test_the_mean_colour_does_not_reveal_the_breed(drawn_index: ImageIndex) -> None:
    def features(samples: Samples) -> tuple[torch.Tensor, torch.Tensor]:
        colours = [read_image(drawn_index.root / s.path).float().mean((1, 2)) / 255 for s in samples]
        return torch.stack(colours), torch.tensor([s.label for s in samples])

    (x, y), (val_x, val_y) = features(drawn_index.train), features(drawn_index.val)
    with_bias = torch.nn.functional.pad
    weights = torch.linalg.lstsq(with_bias(x, (0, 1), value=1), torch.nn.functional.one_hot(y, 10).float()).solution
    accuracy = ((with_bias(val_x, (0, 1), value=1) @ weights).argmax(1) == val_y).float().mean()
    assert accuracy < 0.35


def test_breeds_differ_by_coat_and_ears() -> None:
    dogs = [
        synthetic.draw_dog(coat, ears, np.random.default_rng(1)) for coat in synthetic.COATS for ears in synthetic.EARS
    ]
    assert len({dog.tobytes() for dog in dogs}) == len(synthetic.BREEDS) == 10
