"""Settings of the Trainer mean in `woof fit` what they say, and what ran is what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.conftest import Woof
from woof_lightning.compare.read import read_runs
from woof_lightning.recipe.checkpoint import load_net, read_checkpoint, recipe_of
from woof_lightning.runs.config import canonical
from woof_lightning.runs.folder import RunFolder

RUN = RunFolder(Path("runs/adamw_onecycle"))
WEIGHTS = {"bf16-true": torch.bfloat16, "64-true": torch.float64, "32-true": torch.float32, "bf16-mixed": torch.float32}


@pytest.mark.parametrize("precision", WEIGHTS)
def test_inputs_follow_the_weights_type(precision: str, woof: Woof, small_fit: list[str], drawn_root: Path) -> None:
    done = woof("fit", *small_fit, "--trainer.precision", precision, "--trainer.max_epochs", 1)
    assert done.code == 0, done.err
    kept = read_checkpoint(RUN.last)
    assert kept["state_dict"]["net.fc.weight"].dtype == WEIGHTS[precision]
    assert (
        recipe_of(kept).precision
        == yaml.safe_load(RUN.config.read_text(encoding="utf-8"))["trainer"]["precision"]
        == precision
    )
    assert woof("validate", "--ckpt", RUN.path, "--num_workers", 0).code == 0
    assert woof("predict", "--ckpt", RUN.path, next((drawn_root / "synthetic" / "val").rglob("*.JPEG"))).code == 0
    assert load_net(RUN.best)(torch.zeros(1, 3, 32, 32)).dtype == torch.float32


def test_the_first_weights_are_those_of_the_seed_in_any_type(woof: Woof, small_fit: list[str]) -> None:
    """Lightning builds a net in the type of its weights, whose random numbers differ."""
    still = ["--trainer.max_epochs", 1, "--model.lr", "1e-30", "--model.weight_decay", 0]
    for precision in ("64-true", "32-true"):
        assert woof("fit", *small_fit, *still, "--trainer.precision", precision, "--name", precision).code == 0
    first, second = (
        read_checkpoint(Path("runs") / name / "checkpoints/last.ckpt")["state_dict"]["net.conv1.0.weight"]
        for name in ("64-true", "32-true")
    )
    assert torch.equal(first.float(), second)


def test_a_precision_that_lightning_would_replace_is_refused(woof: Woof, small_fit: list[str]) -> None:
    for verb in ("fit", "lr-find"):
        refused = woof(verb, *small_fit, "--trainer.precision", "16-mixed")
        assert refused.code == 2
        assert "trainer.precision is 16-mixed, but Lightning uses bf16-mixed on this device" in refused.err
        assert not Path("runs").exists()


@pytest.mark.parametrize("short", [None, "32"])
def test_the_ways_to_write_a_precision_are_one_setting(short: str | None, woof: Woof, small_fit: list[str]) -> None:
    given = [] if short is None else ["--trainer.precision", short]
    assert woof("fit", *small_fit, "--trainer.precision", "32-true", "--name", "a").code == 0
    config = Path("overlay.yaml")
    config.write_text("trainer:\n  precision: null\n", encoding="utf-8")
    more = ["--config", config] if short is None else given
    assert woof("fit", *small_fit, *more, "--name", "b").code == 0
    runs, _ = read_runs([Path("runs/a"), Path("runs/b")])
    assert [run.config["trainer.precision"] for run in runs] == ["32-true", "32-true"]
    assert "precision" not in woof("compare", "runs").out
    resumed = woof("fit", *small_fit, *more, "--name", "a", "--resume")
    assert resumed.code == 0, resumed.err


def test_a_precision_that_a_plugin_sets_is_left_alone() -> None:
    assert canonical({"trainer.precision": None, "trainer.plugins": "Half"})["trainer.precision"] is None
    assert canonical({"trainer.precision": None, "trainer.plugins": None})["trainer.precision"] == "32-true"
    assert canonical({"trainer.precision": "bf16"})["trainer.precision"] == "bf16-mixed"
    assert canonical({"model.lr": 1}) == {"model.lr": 1}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    return place


def test_a_tilde_is_the_home_wherever_a_path_is_taken(
    home: Path, woof: Woof, small_fit: list[str], drawn_root: Path
) -> None:
    (home / "drawn").symlink_to(drawn_root)
    (home / "overlay.yaml").write_text("data:\n  root: ~/drawn\nruns_dir: ~/runs\n", encoding="utf-8")
    small = ["--config=~/overlay.yaml", "--trainer.max_epochs", "1", "--name", "run"]
    assert woof("fit", *small_fit, *small).code == 0
    assert (home / "runs/run/result.json").is_file()
    assert woof("loop", "bare", *small_fit, *small[:-1], "looped").code == 0
    assert (home / "runs/looped/result.json").is_file()
    found = woof("lr-find", *small_fit, *small[:1], "--runs_dir=~/runs", "--name", "run", "--num_training", "14")
    assert (home / "runs/run/lr_find/curve.csv").is_file(), found.err
    image = next((drawn_root / "synthetic" / "val").rglob("*.JPEG"))
    (home / "dog.jpg").write_bytes(image.read_bytes())
    for args in (
        ("validate", "--ckpt=~/runs/run", "--root=~/drawn", "--num_workers", "0", "--out=~/validated"),
        ("predict", "--ckpt=~/runs/run", "~/dog.jpg"),
        ("compare", "~/runs", "--out=~/compared"),
        ("data", "--root=~/drawn", "--variant", "synthetic"),
    ):
        done = woof(*args)
        assert done.code == 0, done.err
    assert (home / "validated/result.json").is_file()
    assert (home / "compared/index.html").is_file()
    assert not list(Path().glob("~*")), "A folder named ~."


def test_an_unknown_home_is_named(woof: Woof) -> None:
    refused = woof("data", "--root=~nobody_of_this_name/data", "--variant", "synthetic")
    assert refused.code == 2
    assert "home is not known" in refused.err


def test_what_a_user_asks_lightning_for_is_shown(
    woof: Woof, small_fit: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    done = woof("fit", *small_fit, "--trainer.profiler", "simple", "--trainer.enable_model_summary", "true")
    assert done.code == 0
    assert "Profiler Report" in caplog.text
    assert "352 K" in caplog.text + done.out
    caplog.clear()
    assert woof("fit", *small_fit, "--overwrite").code == 0
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--trainer.devices=[0]", "an int > 0"),
        ("--trainer.devices=1,", "an int > 0"),
        ("--trainer.val_check_interval=200", "`val_check_interval` (200) must be less than or equal"),
        ("--trainer.overfit_batches=2", "use trainer.limit_train_batches"),
        ("--trainer.strategy=nope", "invalid strategy name"),
        ("--trainer.logger=WandbLogger", "Requirement 'wandb"),
        ("--trainer.callbacks=lightning.pytorch.callbacks.Nope", "has no attribute 'Nope'"),
        (
            '--trainer.callbacks=[{"class_path": "EarlyStopping", "init_args": {"monitr": 1}}]',
            "'monitr' is not accepted",
        ),
    ],
)
def test_settings_that_lightning_cannot_use_are_one_message(
    option: str, told: str, woof: Woof, small_fit: list[str], request: pytest.FixtureRequest
) -> None:
    if "Wandb" in option and _is_there("wandb"):
        request.applymarker(pytest.mark.skip("wandb is installed"))
    refused = woof("fit", *small_fit, option)
    assert refused.code == 2
    assert told in refused.err
    assert "Traceback" not in refused.err
    assert woof("fit", *small_fit, "--trainer.max_epochs", 1).code == 0, "The corrected command is not blocked."


def _is_there(package: str) -> Any:
    import importlib.util

    return importlib.util.find_spec(package)
