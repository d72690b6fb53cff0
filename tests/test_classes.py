"""--model_class and --data_class: subclasses in a file of the user."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Woof
from woof_lightning.cli.classes import current_folder_importable

MINE = """
from lightning.pytorch import Callback

from woof_lightning import WoofClassifier


class Mine(WoofClassifier):
    def __init__(self, *, times: int = 1, **options):
        super().__init__(**options)
        self.times = times

    def on_train_end(self):
        print(f"my own class, {self.times} times")


class Hello(Callback):
    def on_train_end(self, trainer, pl_module):
        print(f"hello from {type(pl_module).__name__}")
"""
FEW = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"]


@pytest.fixture
def mine(woof: Woof, monkeypatch: pytest.MonkeyPatch) -> Woof:
    """Calls `woof` in a folder with a file of the user."""
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    Path("mine.py").write_text(MINE, encoding="utf-8")
    return woof


def test_a_class_of_one_s_own_is_trained_with_its_own_settings(mine: Woof, small_fit: list[str]) -> None:
    options = ["fit", *small_fit, *FEW, "--name", "mine"]
    done = mine(*options, "--model_class", "mine.Mine", "--model.times", 3)
    assert done.code == 0, done.err
    assert "my own class, 3 times" in done.out
    saved = Path("runs/mine/config.yaml").read_text(encoding="utf-8")
    assert "model_class: mine.Mine" in saved
    assert "data_class" not in saved

    changed = mine(*options, "--resume")
    assert changed.code == 2
    assert "model_class was mine.Mine, now (not set)" in changed.err
    again = mine("fit", "--config", "runs/mine/config.yaml", "--resume")
    assert again.code == 0, again.err
    given_later = mine("fit", "--config", "runs/mine/config.yaml", "--name", "other", "--model_class=mine.Nobody")
    assert "model_class is mine.Nobody" in given_later.err, "the later one counts"
    found = mine("lr-find", "--config", "runs/mine/config.yaml", "--num_training", 3)
    assert "model_class" not in found.err


def test_a_callback_in_the_current_folder_is_found(mine: Woof, small_fit: list[str]) -> None:
    before = list(sys.path)
    done = mine("fit", *small_fit, *FEW, "--trainer.callbacks+=mine.Hello")
    assert done.code == 0, done.err
    assert "hello from WoofClassifier" in done.out
    assert sys.path == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model_class", "nobody.Mine"], "expected a subclass of WoofClassifier as FILE.CLASS, with FILE.py in this"),
        (["--model_class", "nobody.Mine"], "there is no module nobody in "),
        (["--model_class", "mine.Other"], "model_class is mine.Other: expected a subclass of WoofClassifier"),
        (["--model_class", "mine"], "model_class is mine: expected a subclass of WoofClassifier as FILE.CLASS"),
        (["--model_class", "mine.Hello"], "that is none"),
        (["--data_class", "mine.Mine"], "data_class is mine.Mine: expected a subclass of ImagewoofDataModule"),
        (["--model_class", "mine.Mine", "--model.tims", "3"], "model.tims is no known setting"),
        (["--model.times", "3"], "model.times is no known setting"),
    ],
)
def test_what_cannot_be_trained_is_told(options: list[str], message: str, mine: Woof, small_fit: list[str]) -> None:
    refused = mine("fit", *small_fit, *options)
    assert refused.code == 2
    assert message in refused.err
    assert not Path("runs").exists()


def test_installed_packages_come_before_files_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(sys.path)
    for _ in range(2):
        with current_folder_importable():
            assert sys.path == [*before, str(Path.cwd())]
        assert sys.path == before
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *before])  # It may be there already.
    with current_folder_importable():
        assert sys.path == [str(Path.cwd()), *before, str(Path.cwd())]
    assert sys.path == [str(Path.cwd()), *before]


def test_a_fault_in_the_user_s_file_is_raised_as_it_is(woof: Woof, small_fit: list[str]) -> None:
    Path("faulty_classes.py").write_text("import a_module_that_nobody_has\n", encoding="utf-8")
    refused = woof("fit", *small_fit, "--model_class", "faulty_classes.Mine")
    assert refused.code == 2
    assert "a package is missing: No module named 'a_module_that_nobody_has'" in refused.err
    Path("worse_classes.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        woof("fit", *small_fit, "--model_class", "worse_classes.Mine")


def test_a_setting_without_default_is_asked_for(mine: Woof, small_fit: list[str]) -> None:
    Path("mine.py").write_text(MINE.replace("times: int = 1", "times: int"), encoding="utf-8")
    refused = mine("fit", *small_fit, "--model_class", "mine.Mine")
    assert refused.code == 2
    assert "are required: model.times" in refused.err
