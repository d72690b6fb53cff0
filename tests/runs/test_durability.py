"""What is on the disk, and in which order it gets there: seen by a spy on the system's calls."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import Woof
from woof_lightning.errors import UserError
from woof_lightning.lit.callbacks.checkpoints import DurableCheckpointIO
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.validate import validate
from woof_lightning.recipe.checkpoint import load_net, read_checkpoint
from woof_lightning.recipe.prediction import predict
from woof_lightning.runs import folder
from woof_lightning.runs.folder import TEMPORARY_PREFIX, RunFolder, checkpoint_file, writing_durably
from woof_lightning.runs.metrics import MetricsFile, read_metrics

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the spy reads /proc/self/fd")
Call = tuple[str, str]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What was flushed to the disk (`fsync`, with its content's length) and what was renamed, by file name."""
    found: list[Call] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        found.append(("folder" if place.is_dir() else "file", f"{place.name}:{place.stat().st_size}"))
        fsync(descriptor)

    def replaced(source: Any, target: Any, **options: Any) -> None:
        found.append(("replace", f"{Path(source).name}:{Path(target).name}"))
        replace(source, target, **options)

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("os.replace", replaced)
    return found


def writes(calls: list[Call]) -> list[str]:
    """The names of files that were written durably: the whole file flushed, renamed, its folder flushed."""
    found = []
    for place, (what, text) in enumerate(calls):
        if what == "replace" and text.startswith(TEMPORARY_PREFIX):
            temporary, target = text.split(":")
            assert calls[place - 1][0] == "file", f"{target} was not flushed before it took its place"
            assert calls[place - 1][1].split(":")[0] == temporary
            assert calls[place + 1][0] == "folder", f"the folder of {target} was not flushed after"
            found.append(target)
    return found


@pytest.mark.parametrize(
    ("system", "refusals", "is_replaced"), [("win32", 2, True), ("win32", 3, False), ("linux", 1, False)]
)
def test_windows_is_given_a_moment_to_close_a_file(
    tmp_path: Path, system: str, refusals: int, is_replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, left = os.replace, iter(range(refusals))

    def refused(source: Any, target: Any) -> None:
        if next(left, None) is not None:
            raise PermissionError(errno.EACCES, "it is open elsewhere", str(target))
        replace(source, target)

    monkeypatch.setattr("os.replace", refused)
    monkeypatch.setattr(folder, "sys", SimpleNamespace(platform=system))
    monkeypatch.setattr(folder, "REPLACE_WAITS_S", (0, 0))
    (tmp_path / "file").write_bytes(b"old")
    with nullcontext() if is_replaced else pytest.raises(PermissionError), writing_durably(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == (b"new" if is_replaced else b"old")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_is_whole_on_the_disk_before_it_takes_its_place(tmp_path: Path, calls: list[Call]) -> None:
    with writing_durably(tmp_path / "file") as file:
        file.write(b"x" * 5000)
    temporary = f"{TEMPORARY_PREFIX}{os.getpid()}-file"
    assert [call for call in calls if call[0] != "folder"] == [
        ("file", f"{temporary}:5000"),
        ("replace", f"{temporary}:file"),
    ]
    assert calls[-1][0] == "folder"
    assert calls[-1][1].split(":")[0] == tmp_path.name


def test_rows_are_flushed_with_the_one_in_memory(tmp_path: Path, calls: list[Call]) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    for step in (1, 2, 3):
        file.log({"train/loss": 1.0, "epoch": 0}, step)
    file.sync()
    size = (tmp_path / "metrics.csv").stat().st_size
    assert calls[-1] == ("file", f"metrics.csv:{size}")
    assert [row["step"] for row in read_metrics(file.path)] == [1, 2, 3]


@pytest.mark.parametrize("verb", [["fit"], *(["loop", name] for name in ("bare", "fabric"))])
def test_every_file_of_a_run_is_written_durably(
    verb: list[str], woof: Woof, small_fit: list[str], calls: list[Call]
) -> None:
    done = woof(*verb, *small_fit, "--trainer.max_epochs", "1", "--name", "run", "--trainer.limit_val_batches", "1.0")
    assert done.code == 0, done.err
    written = writes(calls)
    run = RunFolder(Path("runs/run"))
    ours = {file.name for file in run.files() if not file.name.startswith("events")}
    assert ours == {"config.yaml", "metrics.csv", "result.json", "best.ckpt", "last.ckpt"}
    assert ours <= set(written)


def test_no_checkpoint_is_newer_than_the_metrics_on_the_disk(
    woof: Woof, small_fit: list[str], calls: list[Call]
) -> None:
    """All rows up to a checkpoint's step are flushed before it takes its place."""
    assert woof("fit", *small_fit, "--trainer.limit_val_batches", "1.0").code == 0
    text = RunFolder(Path("runs/adamw_onecycle")).metrics.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    # The header and two rows an epoch.
    after_epoch = [len("".join(lines[: 1 + 2 * epoch])) for epoch in (1, 2)]
    saved = [place for place, (what, text) in enumerate(calls) if what == "replace" and text.endswith(":last.ckpt")]
    assert len(saved) == 2
    for size, place in zip(after_epoch, saved, strict=True):
        flushed = [int(text.split(":")[1]) for what, text in calls[:place] if text.startswith("metrics.csv:")]
        assert what_is_last(flushed) == size


def what_is_last(sizes: list[int]) -> int:
    return sizes[-1] if sizes else 0


WAYS_OF_LOADING: dict[str, Callable[[Path, Path], Any]] = {
    "read_checkpoint": lambda file, _: read_checkpoint(file),
    "load_net": lambda file, _: load_net(file),
    "validate": lambda file, _: validate(file),
    "predict": lambda file, image: list(predict(file, [image])),
    "--ckpt": lambda file, _: checkpoint_file(file),
    "DurableCheckpointIO": lambda file, _: DurableCheckpointIO().load_checkpoint(file),
    "load_from_checkpoint": lambda file, _: WoofClassifier.load_from_checkpoint(file),
}


@pytest.fixture(scope="module")
def one_checkpoint(tmp_path_factory: pytest.TempPathFactory, small_fit: list[str]) -> Path:
    from woof_lightning.cli import main

    place = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["fit", *map(str, small_fit), "--trainer.max_epochs", "1", "--name", "run"]) == 0
    return place / "runs/run/checkpoints/last.ckpt"


@pytest.mark.parametrize("way", WAYS_OF_LOADING)
def test_the_checksums_are_tested_in_each_way_of_loading(
    way: str, one_checkpoint: Path, tmp_path: Path, drawn_root: Path
) -> None:
    image = next((drawn_root / "synthetic" / "val").rglob("*.JPEG"))
    load = WAYS_OF_LOADING[way]
    load(one_checkpoint, image)
    content = bytearray(one_checkpoint.read_bytes())
    # A bit of a weight: torch alone reads it without a word.
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(content)
    torch.load(damaged, weights_only=True)
    with pytest.raises(UserError, match=r"damaged.ckpt.*it is damaged \(the checksum of"):
        load(damaged, image)


@pytest.mark.parametrize("verb", [["fit"], *(["loop", name] for name in ("bare", "fabric"))])
def test_a_resume_tests_them_too(verb: list[str], woof: Woof, small_fit: list[str]) -> None:
    options = [*verb, *small_fit, "--name", "run", "--trainer.max_epochs", "1"]
    options += ["--trainer.limit_val_batches", "1.0"]
    assert woof(*options).code == 0
    run = RunFolder(Path("runs/run"))
    for file in (run.best, run.last):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    done = woof(*options, "--resume")
    assert done.code == 2
    assert "no checkpoint of this run is intact" in done.err
