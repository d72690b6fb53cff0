"""The public names: lazily imported, documented, their defaults and texts those of the settings classes."""

from __future__ import annotations

import doctest
import inspect
import shutil
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from docstring_parser import parse

import woof_lightning
from woof_lightning.data.config import DataConfig
from woof_lightning.recipe.config import ModelConfig

NAMES = {
    *("DurableCheckpointIO", "ImagewoofDataModule", "NonFiniteLossGuard", "SaveEvery", "StopOnSignal"),
    *("OverheadProfiler", "WoofClassifier", "load_net", "lr_find"),
}
SETTINGS = [(woof_lightning.WoofClassifier, ModelConfig), (woof_lightning.ImagewoofDataModule, DataConfig)]


def arguments(documented: Any) -> dict[str, str]:
    """The Args of a docstring, each with its text on one line."""
    return {p.arg_name: " ".join((p.description or "").split()) for p in parse(inspect.getdoc(documented) or "").params}


def test_the_public_names_are_these() -> None:
    assert set(woof_lightning.__all__) == NAMES
    assert set(woof_lightning.__all__) <= set(dir(woof_lightning))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = woof_lightning.nothing


@pytest.mark.process
def test_the_package_alone_loads_no_torch() -> None:
    code = "import sys, woof_lightning; woof_lightning.__version__; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("public", "settings"), SETTINGS, ids=lambda cls: cls.__name__)
def test_every_argument_is_in_the_signature_and_explained(public: type, settings: type) -> None:
    signature = inspect.signature(public).parameters
    shown = {name: (p.annotation, p.default) for name, p in signature.items() if name != "seed"}
    assert shown == {field.name: (field.type, field.default) for field in fields(settings)}
    assert signature["seed"].default == 0
    texts = arguments(public)
    assert texts.keys() == signature.keys()
    assert {name: text for name, text in texts.items() if name != "seed"} == arguments(settings)


@pytest.mark.parametrize(("public", "settings"), SETTINGS, ids=lambda cls: cls.__name__)
def test_every_argument_reaches_the_settings(public: type, settings: type) -> None:
    """No argument is dropped or given to its neighbour."""
    other: dict[str, Any] = {
        "arch": "shufflenet_v2_x0_5", "num_classes": 7, "optimizer": "sgd", "schedule": "step", "lr": 0.3,
        "momentum": 0.4, "weight_decay": 0.6, "channels_last": True, "compile": True,
        "weights": "file.pth", "freeze_epochs": 2, "backbone_lr_factor": 0.5, "label_smoothing": 0.2,
        "class_weights": [1.0, 2.0], "ema_decay": 0.9,
        "root": Path("r"), "variant": "full", "folder": Path("f"), "archive": Path("a"), "download": False,
        "val_share": 0.3, "split_seed": 8, "skip_unreadable": True,
        "image_size": 31, "batch_size": 32, "eval_batch_size": 33, "num_workers": 3, "noisy_labels": 5,
        "pin_memory": True, "cache": "off", "on_device": True,
    }  # fmt: skip
    given = {field.name: other[field.name] for field in fields(settings)}
    made = public(**given, seed=9)
    assert made.config == settings(**given)
    assert made.seed == 9


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_example_of_a_public_name_runs(
    name: str, drawn_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(drawn_root, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    example = textwrap.dedent(inspect.getdoc(getattr(woof_lightning, name)) or "")
    test = doctest.DocTestParser().get_doctest(example, {}, name, None, None)
    assert test.examples, f"{name} has no example"
    assert doctest.DocTestRunner().run(test).failed == 0


def test_a_wrong_argument_is_found_by_mypy(tmp_path: Path) -> None:
    from mypy import api

    file = tmp_path / "caller.py"
    file.write_text(
        "from woof_lightning import WoofClassifier\nWoofClassifier(lrr=1)\nWoofClassifier(lr='fast')\n",
        encoding="utf-8",
    )
    found, _, _ = api.run([str(file), "--config-file", str(Path(__file__).parents[1] / "pyproject.toml")])
    assert 'caller.py:2: error: Unexpected keyword argument "lrr"' in found
    assert 'caller.py:3: error: Argument "lr" to "WoofClassifier" has incompatible type "str"' in found
