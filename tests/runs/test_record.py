"""What a record says of a run, of the machine and of the code."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from woof_lightning.runs import record
from woof_lightning.runs.record import RunRecord, machine, package_version, processor_in, versions


def filled(*speeds_s: float) -> RunRecord:
    found = RunRecord()
    for epoch, training_s in enumerate(speeds_s):
        found.validated(epoch, {"val/acc1": 0.1 * epoch, "val/acc5": 0.2 * epoch})
        found.epoch_ended(epoch, elapsed_s=training_s + 1.007, images=100, training_s=training_s)
    return found


def result(found: RunRecord) -> dict[str, Any]:
    return found.result(
        status="finished", loop="bare", seed=7, data={"train": 3}, loading={"processes": 2}, config={"a": 1}, threads=2
    )


def test_a_result_has_the_whole_story() -> None:
    told = result(filled(10.0, 4.0, 5.0, 100.0))
    assert told["images_per_s"] == 20, "The median without the first epoch: 25, 20 and 1."
    assert told["elapsed_s"] == [11.01, 16.01, 22.02, 123.03]
    assert told["train_s"] == 123.03
    assert told["epochs"] == 4
    assert (told["status"], told["loop"], told["seed"]) == ("finished", "bare", 7)
    assert (told["data"], told["config"]) == ({"train": 3}, {"a": 1})
    assert told["best"]["epoch"] == told["final"]["epoch"] == 3
    assert told["machine"] == machine(2)
    assert told["versions"] == versions()


def test_the_only_epoch_s_speed_counts() -> None:
    assert result(filled(8.0))["images_per_s"] == 12.5
    assert result(RunRecord())["images_per_s"] is None


def test_the_best_is_the_first_of_the_highest() -> None:
    found = RunRecord()
    for epoch, accuracy in enumerate((0.3, 0.5, 0.5, 0.4)):
        found.validated(epoch, {"val/acc1": accuracy})
    assert (found.best["epoch"], found.final["epoch"]) == (1, 3)
    found.final["val/acc1"] = 9.0
    assert found.best["val/acc1"] == 0.5, "They are not the same mapping."


def test_the_summary_for_a_person_counts_epochs_from_1(tmp_path: Path) -> None:
    odd = tmp_path / "a run"
    text = filled(1.0, 1.0, 1.0).summary(odd)
    assert text.splitlines() == [
        "best top-1 0.200 (epoch 3), top-5 0.400; final top-1 0.200",
        f"run: {odd}",
        f"view it with: tensorboard --logdir '{odd}'",
    ]
    assert RunRecord().summary(Path("x")).splitlines() == ["run: x", "view it with: tensorboard --logdir x"]


@pytest.mark.parametrize(("epochs", "best", "train_s"), [(0, {}, 0.0), (1, {}, 11), (2, {}, 22), (3, {"epoch": 2}, 33)])
def test_a_cut_keeps_what_came_before(epochs: int, best: dict[str, int], train_s: float) -> None:
    found = RunRecord()
    for epoch, accuracy in enumerate((0.1, 0.2, 0.9, 0.3)):
        found.validated(epoch, {"val/acc1": accuracy})
        found.epoch_ended(epoch, elapsed_s=11, images=100, training_s=10)
    found.cut_to(epochs)
    assert (found.epochs, found.train_s, len(found.images_per_s)) == (epochs, train_s, epochs)
    assert found.elapsed_s == [11.0 * (n + 1) for n in range(epochs)]
    assert found.best.get("epoch") == best.get("epoch")
    assert found.final == {}
    found.cut_to(9)
    assert found.epochs == epochs


def test_a_state_comes_back_whole() -> None:
    first, second = filled(1.0, 2.0), RunRecord()
    second.load_state_dict(first.state_dict())
    assert second == first


def test_versions_are_those_that_are_installed() -> None:
    found = versions(("accelerate", "no-such-package", "fsspec"))
    for name in ("torch", "torchvision", "lightning", "torchmetrics", "numpy", "fsspec"):
        assert found[name] == metadata.version(name)
    assert found["python"] == platform.python_version()
    assert found["woof_lightning"] == package_version()
    assert "no-such-package" not in found


def described(monkeypatch: pytest.MonkeyPatch, checkout: Path, git: Any) -> str:
    asked: list[list[str]] = []

    def run(command: list[str], **options: Any) -> Any:
        asked.append(command)
        assert options["check"]
        assert options["encoding"] == "utf-8"
        return git()

    monkeypatch.setattr(record, "__file__", str(checkout / "woof_lightning/runs/record.py"))
    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "1.2")
    found = package_version()
    assert all(command == ["git", "-C", str(checkout), "describe", "--always", "--dirty"] for command in asked)
    return found


def test_a_version_has_its_commit_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, stdout="abc123-dirty\n")
    assert described(monkeypatch, tmp_path, lambda: done) == "1.2"
    (tmp_path / ".git").mkdir()
    assert described(monkeypatch, tmp_path, lambda: done) == "1.2+abc123-dirty"


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.CalledProcessError(128, "git")])
def test_without_git_a_version_is_one(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()

    def fail() -> None:
        raise error

    assert described(monkeypatch, tmp_path, fail) == "1.2"


def test_a_package_that_is_not_installed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(record, "__file__", str(tmp_path / "woof_lightning/runs/record.py"))
    monkeypatch.setattr("importlib.metadata.version", missing)
    assert package_version() == "not installed"
    assert set(versions()) == {"python", "woof_lightning"}


def test_the_machine_is_this_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = machine(3)
    assert (found["cores"], found["threads"]) == (os.cpu_count(), 3)
    assert found["system"] == f"{platform.system()} {platform.machine()}"
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(record, "Path", {"/proc/cpuinfo": cpuinfo}.__getitem__)
    monkeypatch.setattr("platform.processor", lambda: "by platform")
    assert machine(3)["processor"] == "by platform"
    cpuinfo.write_text("processor : 0\n", encoding="utf-8")
    assert machine(3)["processor"] == "by platform"
    monkeypatch.setattr("platform.processor", lambda: "")
    assert machine(3)["processor"] == "unknown"
    cpuinfo.write_text("model name\t: Some CPU\ncpu family\t: 6\nmodel\t\t: 85\n", encoding="utf-8")
    assert (
        machine(3)["processor"] == "Some CPU (family 6, model 85)" == processor_in(cpuinfo.read_text(encoding="utf-8"))
    )


@pytest.mark.process
@pytest.mark.parametrize(("exit_code", "commit"), [(0, "+1a2b3c"), (1, "")])
def test_the_version_of_a_checkout_has_its_commit(
    exit_code: int, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    git = tmp_path / "git"
    git.write_text(f"#!/bin/sh\necho 1a2b3c\nexit {exit_code}\n", encoding="utf-8")
    git.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(record, "__file__", str(tmp_path / "woof_lightning" / "runs" / "record.py"))
    assert package_version() == metadata.version("woof-lightning") + commit
