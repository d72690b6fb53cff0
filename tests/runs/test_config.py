"""Which settings a resumed run may change, and how they are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from woof_lightning.errors import UserError
from woof_lightning.runs.alone import RANKS, check_alone
from woof_lightning.runs.config import PRECISIONS, canonical, check_resumable, flatten

SAVED: dict[str, Any] = {
    "seed_everything": 0,
    "model": {"schedule": "onecycle", "lr": 0.1},
    "trainer": {"max_epochs": 4, "precision": None},
}


def nested(key: str, value: Any) -> dict[str, Any]:
    group, _, name = key.partition(".")
    return {**SAVED, group: {**SAVED.get(group, {}), name: value}} if name else {**SAVED, group: value}


def resume(now: dict[str, Any], folder: Path, saved: dict[str, Any] = SAVED) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(saved), encoding="utf-8")
    check_resumable(folder / "config.yaml", now)


OF_NO_CONSEQUENCE = [
    "data.archive",
    "data.cache",
    "data.download",
    "data.folder",
    "data.num_workers",
    "data.pin_memory",
    "data.root",
    "trainer.callbacks",
    "trainer.default_root_dir",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.logger",
    "trainer.max_time",
    "trainer.profiler",
]


@pytest.mark.parametrize("key", OF_NO_CONSEQUENCE)
def test_what_changes_no_result_may_differ(key: str, tmp_path: Path) -> None:
    resume(nested(key, "other"), tmp_path)
    resume(nested(key, {"class_path": "x", "init_args": {"deep": 1}}), tmp_path)
    resume(SAVED, tmp_path, nested(key, "there before"))
    with pytest.raises(UserError, match=rf"{key}x was \(not set\), now 1"):
        resume(nested(f"{key}x", 1), tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("model.lr", 0.2, "model.lr was 0.1, now 0.2"),
        ("model.lr", None, "model.lr was 0.1, now None"),
        ("seed_everything", 1, "seed_everything was 0, now 1"),
        ("trainer.max_epochs", 5, "trainer.max_epochs was 4, now 5"),
        ("trainer.precision", "bf16-mixed", "trainer.precision was 32-true, now bf16-mixed"),
        ("data.batch_size", 3, r"data.batch_size was \(not set\), now 3"),
        ("data.batch_size", None, r"data.batch_size was \(not set\), now None"),
    ],
)
def test_what_changes_a_result_is_named_both_ways(key: str, value: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        resume(nested(key, value), tmp_path)


def test_a_run_from_before_a_setting_has_its_default(tmp_path: Path) -> None:
    resume(nested("data.on_device", False), tmp_path)
    resume(SAVED, tmp_path, nested("data.on_device", False))
    with pytest.raises(UserError, match=r"data\.on_device was False, now True"):
        resume(nested("data.on_device", True), tmp_path)
    with pytest.raises(UserError, match=r"data\.on_device was True, now False"):
        resume(SAVED, tmp_path, nested("data.on_device", True))


def test_all_that_differs_is_told_with_the_command_to_go_on(tmp_path: Path) -> None:
    run = tmp_path / "my runs" / "one"
    with pytest.raises(UserError) as refused:
        resume({**nested("model.lr", 0.2), "seed_everything": 3}, run)
    assert "settings: model.lr was 0.1, now 0.2; seed_everything was 0, now 3. " in str(refused.value)
    own = f"--config '{run}/config.yaml' --name one --runs_dir '{tmp_path}/my runs' --resume"
    assert f"Use the run's settings ({own})" in str(refused.value)


def test_the_default_folder_needs_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"--name one --resume\)"):
        resume(nested("model.lr", 0.2), Path("runs/one"))


def test_more_epochs_go_on_with_the_step_schedule_alone(tmp_path: Path) -> None:
    saved = nested("model.schedule", "step")
    resume({**saved, "trainer": {"max_epochs": 9, "precision": None}}, tmp_path, saved)
    with pytest.raises(UserError, match="model.lr"):
        resume({**nested("model.lr", 1), "model": {"schedule": "step", "lr": 1}}, tmp_path, saved)
    with pytest.raises(UserError, match="trainer.max_epochs was 4, now 9"):
        resume(nested("trainer.max_epochs", 9), tmp_path)


@pytest.mark.parametrize("content", ["model: [", None])
def test_settings_that_cannot_be_read_are_named(content: str | None, tmp_path: Path) -> None:
    if content:
        (tmp_path / "config.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"(?s)config.yaml cannot be read .*--overwrite"):
        check_resumable(tmp_path / "config.yaml", SAVED)


@pytest.mark.parametrize(
    ("given", "found"),
    [(None, "32-true"), (32, "32-true"), ("32", "32-true"), ("bf16", "bf16-mixed"), (16, "16-mixed"), (64, "64-true"),
     ("bf16-true", "bf16-true"), ("transformer-engine", "transformer-engine")],
)  # fmt: skip
def test_every_way_to_write_a_precision_is_the_same(given: Any, found: str) -> None:
    settings = {"trainer.precision": given, "model.lr": 1}
    assert canonical(settings) == {"trainer.precision": found, "model.lr": 1}
    assert settings["trainer.precision"] == given
    assert set(PRECISIONS.values()) == {"32-true", "64-true", "16-mixed", "bf16-mixed"}


def test_a_precision_that_is_not_known_is_left_alone() -> None:
    assert canonical({"model.lr": 1}) == {"model.lr": 1}
    plugins = {"trainer.precision": None, "trainer.plugins": ["something"]}
    assert canonical(plugins) == plugins
    assert canonical({**plugins, "trainer.plugins": []})["trainer.precision"] == "32-true"
    assert canonical({**plugins, "trainer.precision": 32})["trainer.precision"] == "32-true"


def test_nested_settings_become_one_level() -> None:
    assert flatten(None) == {}
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}


@pytest.mark.parametrize("name", RANKS)
def test_a_number_left_in_the_environment_is_told(name: str) -> None:
    for world_size, value in ((1, "0"), (2, "3")):
        check_alone(world_size, {name: value})
    with pytest.raises(UserError, match=f"the environment variable {name} is 1.*unset {name}"):
        check_alone(1, {name: "1"})


def test_the_first_number_counts_as_for_lightning() -> None:
    check_alone(1, {})
    check_alone(1, {"RANK": "0", "LOCAL_RANK": "1"})
    with pytest.raises(UserError, match="variable LOCAL_RANK is 2"):
        check_alone(1, {"SLURM_PROCID": "0", "LOCAL_RANK": "2"})
