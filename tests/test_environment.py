"""Settings from environment variables, and ${NAME} in the files of --config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

from tests.conftest import Woof
from woof_lightning.cli.environment import interpolated, origin_of, variables_of, with_environment
from woof_lightning.errors import UserError

FOLDER = {"WOOF_FIT__DATA__FOLDER": "/photos"}


@pytest.mark.parametrize(
    ("verb", "args", "environment", "words"),
    [
        ("fit", ["--name", "x"], FOLDER, ["--data.folder=/photos", "--name", "x"]),
        ("loop", ["bare", "--name", "x"], FOLDER, ["bare", "--name", "x"]),
        ("loop", ["bare", "-c", "x"], {"WOOF_LOOP__DATA__FOLDER": "f"}, ["bare", "--data.folder=f", "-c", "x"]),
        ("loop", ["--check"], {"WOOF_LOOP__DATA__FOLDER": "f"}, ["--check"]),
        ("loop", [], {"WOOF_LOOP__DATA__FOLDER": "f"}, []),
        ("lr-find", [], {"WOOF_LR_FIND__MIN_LR": "1", "WOOF_LR_FIND__JSON": "true"}, ["--json", "--min_lr=1"]),
        ("fit", [], {"WOOF_FIT__CONFIG": "a", "WOOF_FIT__ALLOW_NAN": "false"}, ["--config=a"]),
        ("fit", [], {"WOOF_FIT__A": "1", "WOOF_FIT__CONFIG": "a=b"}, ["--config=a=b", "--a=1"]),
        ("fit", [], {"WOOF_FIT__DATA__FOLDER": "", "WOOF_KEEP_MEMORY": "0", "WOOF_FIT": "1"}, []),
        ("validate", ["--ckpt", "x"], {"WOOF_VALIDATE__FOLDER": "f"}, ["--folder=f", "--ckpt", "x"]),
    ],
)
def test_variables_become_options_before_the_given_ones(
    verb: str, args: list[str], environment: dict[str, str], words: list[str]
) -> None:
    assert with_environment(verb, args, environment) == words


def test_names_are_those_of_jsonargparse(monkeypatch: pytest.MonkeyPatch) -> None:
    parent, fit = (ArgumentParser(prog="woof", default_env=True) for _ in range(2))
    fit.add_argument("--data.folder")
    parent.add_subcommands().add_subcommand("fit", fit)
    for name, value in FOLDER.items():
        monkeypatch.setenv(name, value)
    parsed: Any = parent.parse_args(["fit"])
    assert parsed.fit.data.folder == "/photos"
    assert variables_of("fit", FOLDER) == {"data.folder": "WOOF_FIT__DATA__FOLDER"}


def test_a_flag_is_true_or_false() -> None:
    with pytest.raises(UserError, match="WOOF_FIT__RESUME is perhaps: expected true or false"):
        with_environment("fit", [], {"WOOF_FIT__RESUME": "perhaps"})


@pytest.mark.parametrize(
    ("message", "args", "named"),
    [
        ("data.folder is /photos: there is none", [], True),
        ("2 settings:\n  - x\n  - data.folder is", [], True),
        ("data.folders is no known setting", [], False),
        ("my.data.folder is", [], False),
        ("data.folders is no known setting; did you mean data.folder?", [], False),
        ("data.folder is /photos: there is none", ["--data.folder=/photos"], False),
        ("data.folder is /photos: there is none", ["--data.folder", "/photos"], False),
    ],
)
def test_an_error_names_the_variable_that_set_it(message: str, args: list[str], named: bool) -> None:
    assert origin_of(message, "fit", args, FOLDER) == (
        " (set by the environment variable WOOF_FIT__DATA__FOLDER)" if named else ""
    )


def test_a_word_of_the_sentence_is_no_key() -> None:
    environment = {"WOOF_FIT__NAME": "x", "WOOF_FIT__SEED_EVERYTHING": "-1"}
    assert origin_of("another process has this name", "fit", [], environment) == ""
    assert "WOOF_FIT__NAME" in origin_of("choose another --name", "fit", [], environment)
    for message in ("seed_everything is -1", "2 settings:\n  - seed_everything is -1\n  - x"):
        assert "WOOF_FIT__SEED_EVERYTHING" in origin_of(message, "fit", [], environment)


def test_names_in_braces_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/here")
    monkeypatch.setenv("EMPTY", "")
    settings = {"a": "${WHERE}/x/${WHERE}", "b": [{"c": "$WHERE"}, "${EMPTY}", 3, None], "$${": "{}"}
    assert interpolated(settings) == {"a": "/here/x//here", "b": [{"c": "$WHERE"}, "", 3, None], "$${": "{}"}
    monkeypatch.delenv("WHERE")
    with pytest.raises(UserError, match=r"it has \$\{WHERE\}, but there is no environment variable WHERE"):
        interpolated(settings)
    for odd in ("${data.folder}", "${}", "${WHERE:-x}", "${1}"):
        with pytest.raises(UserError, match="expected the name of an environment variable in the braces"):
            interpolated({"a": odd})


VERBS: pytest.MarkDecorator = pytest.mark.parametrize("verb", [["fit"], ["loop", "bare"]], ids=["fit", "loop"])


@pytest.fixture
def config(small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of --config whose values are in the environment: a path, and a number."""
    monkeypatch.setenv("WOOF_TEST_HOME", str(small_folder.parent))
    monkeypatch.setenv("WOOF_TEST_BATCH", "4")
    file = small_folder.parent / "mine.yaml"
    data = {
        "folder": f"${{WOOF_TEST_HOME}}/{small_folder.name}", "batch_size": "${WOOF_TEST_BATCH}", "image_size": 32,
        "num_workers": 0,
    }  # fmt: skip
    trainer = {"max_epochs": 1, "log_every_n_steps": 1}
    file.write_text(
        yaml.safe_dump({"data": data, "trainer": trainer, "model": {"arch": "shufflenet_v2_x0_5"}}), encoding="utf-8"
    )
    return file


@VERBS
def test_a_config_takes_values_of_the_environment_and_a_resume_compares_them(
    verb: list[str], woof: Woof, config: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = woof(*verb, "--config", config, "--name", "run")
    assert done.code == 0, done.err
    saved = yaml.safe_load(Path("runs/run/config.yaml").read_text(encoding="utf-8"))
    assert (saved["data"]["folder"], saved["data"]["batch_size"]) == (str(small_folder), 4)
    assert woof(*verb, "--config", config, "--name", "run", "--resume").code == 0
    monkeypatch.setenv("WOOF_TEST_BATCH", "8")
    resumed = woof(*verb, "--config", config, "--name", "run", "--resume")
    assert resumed.code == 2
    assert "data.batch_size was 4, now 8" in resumed.err
    monkeypatch.delenv("WOOF_TEST_BATCH")
    unset = woof(*verb, "--config", config, "--name", "run", "--resume")
    assert (unset.code, unset.out) == (2, "")
    assert unset.err.splitlines() == [
        f"woof: error: --config is {config}: it has ${{WOOF_TEST_BATCH}}, but there is no environment variable "
        "WOOF_TEST_BATCH: set it, or write the value"
    ]
    # The run's own config has the values.
    assert woof(*verb, "--config", "runs/run/config.yaml", "--name", "run", "--resume").code == 0


@VERBS
def test_a_run_takes_options_of_the_environment(
    verb: list[str], woof: Woof, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"WOOF_{verb[0].upper()}__"
    monkeypatch.setenv(f"{prefix}CONFIG", str(config))
    monkeypatch.setenv(f"{prefix}NAME", "from there")
    monkeypatch.setenv(f"{prefix}MODEL__LR", "0.5")
    monkeypatch.setenv(f"{prefix}DATA__BATCH_SIZE", "3")
    done = woof(*verb, "--data.batch_size", 8)
    assert done.code == 0, done.err
    assert f"note: options are set by the environment: {prefix}CONFIG, {prefix}DATA__BATCH_SIZE" in done.err
    saved = yaml.safe_load(Path("runs/from there/config.yaml").read_text(encoding="utf-8"))
    assert (saved["model"]["lr"], saved["data"]["batch_size"], saved["data"]["image_size"]) == (0.5, 8, 32)
    monkeypatch.setenv(f"{prefix}MODEL__LR", "-1")
    refused = woof(*verb)
    assert refused.code == 2
    assert f"(set by the environment variable {prefix}MODEL__LR)" in refused.err
    monkeypatch.delenv(f"{prefix}MODEL__LR")
    monkeypatch.setenv(f"{prefix}DATA__BATCHSIZE", "8")
    unknown = woof(*verb)
    assert unknown.code == 2
    assert "data.batchsize is no known setting; did you mean data.batch_size?" in unknown.err
    assert f"(set by the environment variable {prefix}DATA__BATCHSIZE)" in unknown.err


def test_a_file_of_config_wins_over_a_variable(woof: Woof, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WOOF_LOOP__DATA__IMAGE_SIZE", "48")
    done = woof("loop", "bare", "--config", config, "--name", "run")
    assert done.code == 0, done.err
    assert yaml.safe_load(Path("runs/run/config.yaml").read_text(encoding="utf-8"))["data"]["image_size"] == 32


def test_a_class_is_named_by_the_environment(woof: Woof, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WOOF_FIT__MODEL_CLASS", "nowhere.Mine")
    refused = woof("fit", "--config", config)
    assert refused.code == 2
    assert "model_class is nowhere.Mine" in refused.err
    monkeypatch.delenv("WOOF_FIT__MODEL_CLASS")
    monkeypatch.setenv("WOOF_TEST_CLASS", "elsewhere")
    Path("own.yaml").write_text("model_class: ${WOOF_TEST_CLASS}.Mine\n", encoding="utf-8")
    assert "model_class is elsewhere.Mine" in woof("fit", "--config", "own.yaml", "--config", config).err


def test_lr_find_and_validate_take_both(
    woof: Woof, config: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WOOF_LR_FIND__NUM_TRAINING", "21")
    found = woof("lr-find", "--config", config, "--name", "run", "--overwrite")
    record = json.loads(Path("runs/run/lr_find/result.json").read_text(encoding="utf-8"))
    assert record["sweep"]["num_training"] == 21, found.err
    assert record["config"]["data"]["folder"] == str(small_folder)
    assert woof("fit", "--config", config, "--name", "run").code == 0
    monkeypatch.setenv("WOOF_VALIDATE__FOLDER", "nowhere")
    refused = woof("validate", "--ckpt", "runs/run")
    assert refused.code == 2
    assert "--folder is nowhere: there is no such folder" in refused.err
    assert "WOOF_VALIDATE__FOLDER" in refused.err
    monkeypatch.setenv("WOOF_VALIDATE__FOLDER", str(small_folder))
    assert woof("validate", "--ckpt", "runs/run").code == 0
