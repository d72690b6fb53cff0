"""Figures of any classes: names that matplotlib would read as formulas, and many of them."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Woof
from woof_lightning.compare.draw import MOST_IN_LABEL, draw_confusion, label

ODD = ["$a^2$", "$", "$x_{", "_hidden", "^", "two\nlines", "\udcff", "犬", "x" * 300, "%s {} \\frac"]


def test_names_are_no_formulas_and_stay_short() -> None:
    assert label("$a^2$") == r"\$a^2\$"
    assert label("_a") == " _a"
    assert label("two\nlines") == r"two\nlines"
    assert len(label("x" * 300)) == MOST_IN_LABEL + 1


def test_a_confusion_matrix_of_odd_names_is_drawn_without_a_word(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion([[1] * len(ODD)] * len(ODD), ODD, tmp_path / "odd.png")
    assert Image.open(tmp_path / "odd.png").size > (0, 0)


@pytest.mark.parametrize("classes", [120, 1100])
def test_a_confusion_matrix_of_many_classes_is_bounded(classes: int, tmp_path: Path) -> None:
    file = tmp_path / "many.png"
    start_s = time.process_time()
    draw_confusion([[1] * (classes + 1)] * classes, [f"breed {number}" for number in range(classes)], file)
    assert time.process_time() - start_s < 15
    assert max(Image.open(file).size) <= 3000
    assert file.stat().st_size < 3_000_000


def test_the_table_comes_before_the_figure(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """So that no fault of a figure loses the results of a validation."""
    assert woof("fit", *small_fit, "--trainer.max_epochs", 1).code == 0
    monkeypatch.setattr("woof_lightning.cli.validate.draw_confusion", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        woof("validate", "--ckpt", "runs/adamw_onecycle", "--num_workers", 0)
    out = capfd.readouterr().out
    assert "val/acc1" in out
    assert "hound" in out
    assert Path("runs/adamw_onecycle/validate/result.json").is_file()
