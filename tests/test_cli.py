"""The command itself: quick answers, exit codes, and one clear message for whatever is wrong."""

from __future__ import annotations

import errno
import importlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import CONFIGS, Woof
from tests.processes import run
from woof_lightning.cli.config_files import is_misread
from woof_lightning.cli.lightning_cli import known_keys
from woof_lightning.cli.loop import known_keys as loop_keys
from woof_lightning.cli.messages import nearest_key, readable
from woof_lightning.runs.folder import made_folder
from woof_lightning.runs.metrics import read_metrics

BASE = ("fit", "--config", CONFIGS / "adamw_onecycle.yaml", "--config", CONFIGS / "demo.yaml")


@pytest.mark.process
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_quick_questions_get_quick_answers(option: str) -> None:
    code = f"import sys; from woof_lightning.cli import main; main([{option!r}]); assert 'torch' not in sys.modules"
    took_s = []
    for _ in range(3):
        # Processor time: what else runs on the machine does not count.
        start_s = sum(os.times()[2:4])
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
        took_s.append(sum(os.times()[2:4]) - start_s)
        assert done.stdout
    assert 0 < min(took_s) < 0.3


def test_no_verb_shows_the_verbs(woof: Woof) -> None:
    outcome = woof()
    assert outcome.code == 0
    assert all(verb in outcome.out for verb in ("fit", "validate", "predict", "export", "data"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fitt"], "fitt is no verb; did you mean fit?"),
        ([*BASE, "--model.lrr", "1"], "model.lrr is no known setting; did you mean model.lr?"),
        ([*BASE, "--trainer.max_epoch=3"], "trainer.max_epoch is no known setting; did you mean trainer.max_epochs?"),
        ([*BASE, "--model.lr", "fast"], "model.lr is fast: expected a number"),
        ([*BASE, "--seed_everything", "x"], "seed_everything is x: expected true or false or a whole number"),
        ([*BASE, "--seed_everything", "true"], "seed_everything is True: expected a whole number"),
        ([*BASE, "--trainer.precision", "17"], "trainer.precision is 17: expected 64, 32, 16 or"),
        ([*BASE, "--data.image_size", "0"], "data.image_size is 0: expected at least 1"),
        ([*BASE, "--data.image_size", "9999"], "data.image_size is 9999, but the largest image of"),
        ([*BASE, "--data.batch_size", "-1"], "data.batch_size is -1: expected at least 1"),
        ([*BASE, "--data.batch_size", "481"], "data.batch_size is 481, but"),
        ([*BASE, "--data.noisy_labels", "7"], "data.noisy_labels is 7: expected one of the percentages 0"),
        ([*BASE, "--data.noisy_labels", "5"], "only Imagewoof comes with noisy labels"),
        ([*BASE, "--data.folder", "nowhere"], "data.folder is nowhere: there is no such folder"),
        (
            [*BASE, "--model.arch", "resnet19"],
            "model.arch is 'resnet19': expected a torchvision classifier; did you mean",
        ),
        ([*BASE, "--model.num_classes", "3"], "model.num_classes is 3, but"),
        ([*BASE, "--model.optimizer", "adm"], "model.optimizer is 'adm': expected sgd, adamw, or"),
        ([*BASE, "--trainer.max_epochs", "-1"], "model.schedule is 'onecycle' with trainer.max_epochs -1"),
        ([*BASE, "--trainer.accelerator", "tpu"], "trainer.accelerator is 'tpu', but this machine has none"),
        ([*BASE, "--trainer.accelerator", "gpuu"], "trainer.accelerator is 'gpuu', but this machine has none"),
        ([*BASE, "--trainer.strategy", "dpp"], "Lightning cannot use the trainer's settings (trainer.*): "),
        ([*BASE, "--trainer.barebones", "true"], "Lightning cannot use the trainer's settings (trainer.*): "),
        ([*BASE, "--trainer.max_time", "soon"], "Lightning cannot use the trainer's settings (trainer.*): "),
        ([*BASE, "--trainer.max_time", "00:00:00:00"], "trainer.max_time is 00:00:00:00: expected a time above 0"),
        ([*BASE, "--seed_everything", "4294967296"], "expected a whole number from 0 to 4294967295"),
        (["lr-find", *BASE[1:], "--runs_dir", CONFIGS / "demo.yaml"], "demo.yaml is a file: expected a folder"),
        ([*BASE, "--resume", "--overwrite"], "--resume and --overwrite were both given"),
        (["fit", "--config", "none.yaml"], "none.yaml"),
        ([*BASE, "--data.variant", "160px", "--data.download", "false"], "--config demo"),
        ([*BASE, "--data.variant", "160px", "--data.archive", "x.tgz"], "data.archive is x.tgz: there is no such file"),
        (["validate", "--ckpt", "nowhere"], "--ckpt is nowhere: there is no such file"),
        (["validate"], "the following arguments are required: --ckpt"),
        (["predict", "--ckpt", "nowhere", "x.jpg"], "--ckpt is nowhere"),
        (["export", "--ckpt", "nowhere", "--to", "state_dict"], "--ckpt is nowhere: there is no such file"),
        (["data", "--variant", "64px"], "data.variant is '64px'"),
        (["data", "--archive", "x.tgz"], "expected --variant too"),
        (["data", "--folder", "x", "--variant", "160px"], "--folder is x, and --variant was given too"),
        (["validate", "--ckpt", "x", "--folder", "x", "--root", "y"], "--folder is x, and --root was given too"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    woof: Woof, drawn_root: Path, args: list[object], message: str
) -> None:
    with_data = ["--data.root", drawn_root] if args[:5] == list(BASE) else []
    outcome = woof(*args[:5], *with_data, *args[5:])
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("woof: error:") == 1
    assert "Traceback" not in outcome.err
    assert not list(Path().iterdir())


LIMITS = """
from jsonargparse import ArgumentParser

def other(rate: float | int | None = None): ...

# A union that typing keeps, and hands out for every equal one after it.
ArgumentParser().add_function_arguments(other)
import sys
from woof_lightning.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("verb", "place", "given", "rows"), [(["fit"], "file", "1", 1), (["loop", "bare"], "option", "1.0", 5)]
)
def test_a_limit_of_one_is_one_batch_and_one_point_zero_is_all(
    verb: list[str], place: str, given: str, rows: int, small_fit: list[str], tmp_path: Path
) -> None:
    (tmp_path / "limit.yaml").write_text(f"trainer: {{limit_train_batches: {given}}}\n", encoding="utf-8")
    limit = ["--trainer.limit_train_batches", given] if place == "option" else ["--config", "limit.yaml"]
    options = [word for word in small_fit if word not in ("--trainer.limit_train_batches", "4")]
    more = ["--trainer.max_epochs", "1", "--trainer.log_every_n_steps", "1", "--data.batch_size", "96", "--name", "x"]
    # In an interpreter of its own: what was imported first decides.
    done = run(["-c", LIMITS, *verb, *options, *limit, *more], tmp_path, fresh=True)
    assert done.code == 0, done.err
    assert len(read_metrics(tmp_path / "runs/x/metrics.csv")) == rows
    saved = yaml.safe_load((tmp_path / "runs/x/config.yaml").read_text(encoding="utf-8"))["trainer"][
        "limit_train_batches"
    ]
    assert repr(saved) == given


def test_all_wrong_settings_come_in_one_message(woof: Woof) -> None:
    outcome = woof(*BASE, "--data.image_size", 0, "--model.lr", -1, "--data.batch_size", 0)
    assert outcome.code == 2
    assert all(key in outcome.err for key in ("3 settings", "data.image_size", "model.lr", "data.batch_size"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model:\n  lrr: 1\n", "model.lrr is no known setting; did you mean model.lr?"),
        ("modle:\n  lr: 1\n", "modle.lr is no known setting; did you mean model.lr?"),
        ("model:\n  lr: [1\n", "it is no YAML file (while parsing a flow sequence"),
        ("model:\n  lr: fast\n", "model.lr is fast: expected a number"),
        ("model:\n  lr: 1\n  lr: 2\n", "lr is there twice"),
        ("fit:\n  model:\n    lr: 1\n", "its settings stand below fit:, expected them on top"),
        ("- model\n", "it holds a list, expected lines of key: value"),
        ("hello\n", "it holds the text 'hello'"),
        ("model:\n", "model is empty: expected settings below it"),
        ("model: 3\n", "model is 3: expected settings below it"),
        ("a: !!python/object/apply:os.system ['echo']\n", "it is no YAML file"),
        ("\x00", "it is no YAML file"),
    ],
)
@pytest.mark.parametrize("verb", [("fit",), ("loop", "bare")], ids=" ".join)
def test_a_bad_config_is_one_message_with_its_name(woof: Woof, verb: tuple[str, ...], text: str, message: str) -> None:
    Path("bad.yaml").write_text(text, encoding="utf-8")
    outcome = woof(*verb, "--config", CONFIGS / "adamw_onecycle.yaml", "--config", "bad.yaml")
    assert (outcome.code, message in outcome.err) == (2, True), outcome.err
    assert "bad.yaml" in outcome.err
    assert outcome.err.count("woof: error:") == len(outcome.err.splitlines()) == 1


def test_a_file_that_is_no_text_is_named(woof: Woof) -> None:
    Path("bad.yaml").write_bytes(b"\xff\xfe")
    outcome = woof("fit", "--config", "bad.yaml")
    assert (outcome.code, "--config is bad.yaml: it is no YAML file" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "encoding", "misread"),
    [
        ("data: {folder: B\u00fccher}", "cp1252", True),
        ("data: {folder: B\u00fccher}", "utf-8", False),
        ("data: {folder: books}  # B\u00fccher", "cp1252", False),
        ("data: {folder: books}  # \u00c1", "cp1252", True),  # One of its bytes is no letter there.
        ("\ufeffdata: {folder: books}", "cp1252", True),
        ("\ufeffdata: {folder: books}", "utf-8", False),
        ("data: {folder: books}", "cp1252", False),
    ],
)
def test_a_config_is_misread_if_its_settings_change(
    text: str, encoding: str, misread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda _=True: encoding)
    assert is_misread(text.encode()) is misread


def test_a_config_that_would_be_misread_is_refused(woof: Woof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda _=True: "cp1252")
    Path("own.yaml").write_text("data: {folder: B\u00fccher}\n", encoding="utf-8")
    outcome = woof("fit", "--config", "own.yaml")
    assert outcome.code == 2
    assert "--config is own.yaml" in outcome.err
    assert "PYTHONUTF8=1" in outcome.err


@pytest.mark.parametrize("text", ["", "# lr: 3\n", "---\n"])
def test_an_empty_overlay_changes_nothing(woof: Woof, small_fit: list[str], text: str) -> None:
    Path("empty.yaml").write_text(text, encoding="utf-8")
    few = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 1]
    assert woof("loop", "bare", *small_fit, *few, "--config", "empty.yaml").code == 0
    assert woof("loop", "bare", *small_fit, *few, "--resume").code == 0, "The same settings."
    assert "4" not in woof("compare", "runs/adamw_onecycle-bare").err


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("model.label_noise", None),
        ("model.weight", "model.weights"),
        ("model.smoothing", "model.label_smoothing"),
        ("save_every", None),
        ("model.learning_rate", None),
        ("batch_size", "data.batch_size"),
        ("data.batchsize", "data.batch_size"),
        ("trainer.epochs", "trainer.max_epochs"),
        ("modle.lr", "model.lr"),
        ("model.image_size", "data.image_size"),
        ("run_dir", "runs_dir"),
        ("overwite", "overwrite"),
    ],
)
def test_only_a_slip_is_taken_for_another_key(key: str, near: str | None) -> None:
    assert nearest_key(key, loop_keys()) == near


def test_an_option_of_fit_is_named_as_such(woof: Woof) -> None:
    outcome = woof("loop", "bare", "--save_every", 3)
    assert outcome.code == 2
    assert "save_every is an option of woof fit" in outcome.err


def test_printed_commands_can_be_pasted(woof: Woof, small_fit: list[str]) -> None:
    place = ["--runs_dir", "my runs", "--name", "it's one"]
    done = woof("fit", *small_fit, *place, "--trainer.max_epochs", 1)
    command = next(line for line in done.out.splitlines() if "tensorboard" in line).partition(": ")[2]
    assert shlex.split(command) == ["tensorboard", "--logdir", "my runs/it's one"]
    refused = woof("fit", *small_fit, *place, "--trainer.max_epochs", 3, "--resume")
    options = shlex.split(refused.err.partition("(")[2].partition(")")[0])
    assert options[:6] == ["--config", "my runs/it's one/config.yaml", "--name", "it's one", "--runs_dir", "my runs"]
    assert woof("fit", *options).code == 0
    found = woof("lr-find", *small_fit, *place, "--min_lr", "1e-6", "--max_lr", "0.1", "--num_training", 40)
    train = next(line for line in found.out.splitlines() if line.startswith("train with")).partition(": ")[2]
    assert woof(*shlex.split(train)[1:], "--overwrite").code == 0


def test_ctrl_c_tells_what_the_verb_can_do(woof: Woof, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    for verb, told in (("lr-find", "run the sweep again"), ("data", "run the command again"), ("fit", "--resume")):
        monkeypatch.setattr(f"woof_lightning.cli.{verb.replace('-', '_')}.run", pressed)
        outcome = woof(verb)
        assert outcome.code == 130
        assert told in outcome.err
        assert ("--resume" in outcome.err) == (verb == "fit")


def test_ctrl_c_waits_for_the_imports(woof: Woof, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within them it could turn into any other error."""
    real, imported = importlib.import_module, []

    def pressed(name: str) -> object:
        signal.raise_signal(signal.SIGINT)
        imported.append(name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", pressed)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background job ignores SIGINT.
    try:
        outcome = woof("data")
        assert (outcome.code, imported) == (130, ["woof_lightning.cli.data"])
        assert "interrupted" in outcome.err
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert woof("data").code == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_sigterm_lets_a_verb_tidy_up(woof: Woof, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def terminated(_: object) -> None:
        with made_folder(tmp_path / "half", "--out"):
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    for verb in ("lr-find", "validate", "data"):
        monkeypatch.setattr(f"woof_lightning.cli.{verb.replace('-', '_')}.run", terminated)
        outcome = woof(verb)
        assert outcome.code == 143
        assert "stopped by SIGTERM" in outcome.err
        assert not (tmp_path / "half").exists()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_missing_package_is_named(woof: Woof, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> None:
        raise ModuleNotFoundError("No module named 'psutil'", name="psutil")

    monkeypatch.setattr("woof_lightning.cli.data.run", missing)
    outcome = woof("data")
    assert (outcome.code, "a package is missing: No module named 'psutil'" in outcome.err) == (2, True)

    def ours(_: object) -> None:
        raise ModuleNotFoundError("No module named 'woof_lightning.x'", name="woof_lightning.x")

    monkeypatch.setattr("woof_lightning.cli.data.run", ours)
    with pytest.raises(ModuleNotFoundError):
        woof("data")


def test_unreadable_image_stops_before_anything_is_written(woof: Woof, small_folder: Path) -> None:
    victim = sorted((small_folder / "val").rglob("*.JPEG"))[0]
    victim.write_text("no image", encoding="utf-8")
    outcome = woof(*BASE, "--data.folder", small_folder, "--data.batch_size", 4)
    assert outcome.code == 2
    assert str(victim) in outcome.err
    assert not list(Path().iterdir())


def test_no_network_leaves_nothing_behind(woof: Woof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("woof_lightning.data.archives.BASE_URL", "http://127.0.0.1:9/")
    outcome = woof("fit", "--config", CONFIGS / "adamw_onecycle.yaml")
    assert outcome.code == 2
    assert "imagewoof2-320.tgz could not be downloaded" in outcome.err
    assert not list(Path().iterdir())


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(woof: Woof, drawn_root: Path) -> None:
    outcome = woof(*BASE, "--data.root", drawn_root, "--trainer.accelerator", "gpu")
    assert outcome.code == 2
    assert "trainer.accelerator is 'gpu', but this machine has none" in outcome.err
    assert "auto, cpu" in outcome.err


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
def test_a_gpu_to_validate_on_that_is_not_there_is_named(tmp_path: Path) -> None:
    from woof_lightning.errors import UserError
    from woof_lightning.lit.validate import validate

    with pytest.raises(UserError, match="--accelerator is 'gpu', but this machine has none"):
        validate(tmp_path / "any.ckpt", accelerator="gpu")


def test_a_file_that_may_not_be_read_is_named(woof: Woof, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    image = tmp_path / "dog.jpg"
    image.touch()

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(image))

    monkeypatch.setattr("woof_lightning.cli.predict.checkpoint_file", refused)
    # Root may read everything.
    monkeypatch.setattr("os.access", lambda file, mode: mode != os.R_OK)
    outcome = woof("predict", "--ckpt", "x", image)
    assert outcome.code == 2
    assert f"{image} cannot be read (Permission denied)" in outcome.err


def test_a_fault_of_the_program_keeps_its_traceback(woof: Woof, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("woof_lightning.cli.predict.checkpoint_file", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        woof("predict", "--ckpt", "x", "y")


@pytest.mark.process
def test_an_output_that_nobody_reads_is_no_fault(tmp_path: Path) -> None:
    command = f"{sys.executable} -m woof_lightning data | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_data_says_what_is_on_disk_and_draws(woof: Woof) -> None:
    assert "synthetic  data/synthetic" in woof("data").out.replace("\n", " ")
    outcome = woof("data", "--variant", "synthetic")
    assert outcome.code == 0
    assert "striped floppy-eared hound" in outcome.out
    assert "480    160" in outcome.out
    assert "yes" in woof("data").out


def test_a_complaint_that_is_not_known_is_passed_on() -> None:
    assert readable("something new", known_keys(), "fit") == "something new"


def test_every_base_config_says_all_that_it_depends_on() -> None:
    for file in CONFIGS.glob("*_*.yaml"):
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert settings["trainer"]["precision"] == "32-true"
        assert settings["data"]["variant"] == "320px"
        assert (settings["data"]["batch_size"], settings["data"]["eval_batch_size"]) == (128, 16)
