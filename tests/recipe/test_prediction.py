"""`woof predict`: every answer that can be given is given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Woof

RUN = "runs/adamw_onecycle"


@pytest.fixture
def trained(woof: Woof, small_fit: list[str]) -> Woof:
    assert woof("fit", *small_fit, "--trainer.max_epochs", 1).code == 0
    return woof


@pytest.fixture
def photos(drawn_root: Path, tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    found = sorted((drawn_root / "synthetic" / "val").rglob("*.JPEG"))[:3]
    return [Path(shutil.copy(file, folder / place)) for file, place in zip(found, (".", ".", "more"), strict=True)]


def test_bad_files_cost_no_answer(trained: Woof, photos: list[Path], tmp_path: Path) -> None:
    bad, thin = tmp_path / "bad.jpg", tmp_path / "thin.png"
    bad.write_text("no image")
    Image.new("L", (1, 90_000)).save(thin)
    asked = [bad, photos[0], tmp_path / "nowhere.jpg", photos[1], thin]
    outcome = trained("predict", "--ckpt", RUN, *asked, "--top", 1)
    assert outcome.code == 2
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["image", str(photos[0]), str(photos[1])]
    for told in ("bad.jpg is not an image", "nowhere.jpg: there is no such file", "thin.png is 90,000 times as long"):
        assert told in outcome.err
    answers = json.loads(trained("predict", "--ckpt", RUN, *asked, "--json").out)
    assert [answer["image"] for answer in answers] == [str(file) for file in asked]
    assert [len(answer["top"]) for answer in answers] == [0, 3, 0, 3, 0]
    assert ["problem" in answer for answer in answers] == [True, False, True, False, True]


def test_a_folder_stands_for_its_images(trained: Woof, photos: list[Path], tmp_path: Path) -> None:
    (photos[0].parent / "notes.txt").write_text("x")
    answers = json.loads(trained("predict", "--ckpt", RUN, photos[0].parent, "--json").out)
    alone = json.loads(trained("predict", "--ckpt", RUN, *sorted(photos), "--json").out)
    assert answers == alone
    assert len(answers) == 3
    (tmp_path / "empty").mkdir()
    outcome = trained("predict", "--ckpt", RUN, tmp_path / "empty")
    assert (outcome.code, outcome.out) == (2, "")
    assert "the folder holds no image" in outcome.err


def test_only_bad_files_give_no_table(trained: Woof) -> None:
    outcome = trained("predict", "--ckpt", RUN, "a.jpg")
    assert (outcome.code, outcome.out) == (2, "")
    assert "a.jpg: there is no such file" in outcome.err
