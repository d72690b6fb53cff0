"""Tests of reading runs: unfinished ones, damaged files, and settings that differ."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from tests.compare.runs import STEPS_PER_EPOCH, read_all, write_events, write_run
from tests.conftest import Woof
from woof_lightning.compare.comparison import compare, tables_of
from woof_lightning.compare.find import find_runs, short_names
from woof_lightning.compare.read import TOP1, differences, read_run
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import MetricsFile, read_columns


def test_an_unfinished_run_is_shown(woof: Woof) -> None:
    folder = write_run(Path("cut"), [0.3, 0.4], finished=False)
    with (folder / "metrics.csv").open("a", encoding="utf-8") as file:
        file.write("2,9,0.1")
    done = woof("compare", "cut", "--out", "out")
    assert done.code == 0, done.err
    assert "unfinished, 2 of 3 epochs" in done.out
    assert "note: cut: metrics.csv ends in the middle of a row; everything before that is shown" in done.out
    assert "metrics.csv ends in the middle of a row" in Path("out/index.html").read_text(encoding="utf-8")


def test_a_run_without_a_result_takes_its_times_from_its_events(woof: Woof, small_fit: list[str]) -> None:
    assert woof("fit", *small_fit).code == 0
    place = RunFolder(Path("runs/adamw_onecycle"))
    recorded_s = json.loads(place.result.read_text(encoding="utf-8"))["elapsed_s"]
    place.result.unlink()
    read = read_run(place.path, "cut").series[TOP1].elapsed_s
    assert len(read) == 2
    assert read[1] - read[0] == pytest.approx(recorded_s[1] - recorded_s[0], abs=1)


def test_names_of_runs_are_unique() -> None:
    assert short_names([Path("/x/a/run"), Path("/x/b/run")]) == ["a/run", "b/run"]
    assert short_names([Path("/x/a/one"), Path("/x/b/two")]) == ["one", "two"]
    assert short_names([Path("/x/a\nb"), Path("/x/a\tb")]) == [r"a\nb", r"a\tb"]


def test_epochs_without_a_validation_are_counted(tmp_path: Path) -> None:
    run = RunFolder(write_run(tmp_path / "run", [], finished=False))
    metrics = MetricsFile(run.metrics)
    for epoch in range(1, 4, 2):
        metrics.log({"val/acc1": 0.1 * epoch, "val/acc5": 0.9, "epoch": epoch}, STEPS_PER_EPOCH * (epoch + 1))
    metrics.flush()
    run.config.write_text("trainer: {max_epochs: 40}", encoding="utf-8")
    (row,) = tables_of(read_all(run.path))[0].rows
    assert row[1:4] == ["unfinished, 4 of 40 epochs", "0.300", "4"]


def test_a_run_that_has_just_started_does_not_hide_others(woof: Woof) -> None:
    write_run(Path("runs/done"), [0.3])
    begun = RunFolder(Path("runs/new"))
    begun.create()
    begun.config.write_text(
        "model: {arch: resnet18}\ndata: {variant: 160px}\ntrainer: {max_epochs: 40}\n", encoding="utf-8"
    )
    SummaryWriter(str(begun.path)).close()
    write_events(Path("runs/other"), {"reward": [(1, 2.0)]})
    done = woof("compare", "runs")
    assert done.code == 0, done.err
    assert "unfinished, 0 of 40 epochs" in done.out
    assert "note: runs/other has no known metric; the tags of its events: reward" in done.out


def test_a_link_is_not_a_second_run(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", [0.1])
    (tmp_path / "runs" / "latest").symlink_to("a")
    assert find_runs([tmp_path / "runs", tmp_path / "runs" / "a"]) == [tmp_path / "runs" / "a"]


def test_a_single_value_and_a_mapping_of_one_setting_differ(tmp_path: Path) -> None:
    by_class = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    runs = read_all(
        write_run(tmp_path / "a", [0.1], optimizer="adamw"), write_run(tmp_path / "b", [0.1], optimizer=by_class)
    )
    assert differences(runs) == {
        "model.optimizer": ["adamw", ""],
        "model.optimizer.class_path": ["", "torch.optim.SGD"],
        "model.optimizer.init_args.lr": ["", "0.1"],
    }


@pytest.mark.parametrize(
    ("file", "content", "note"),
    [
        ("metrics.csv", "\0\0\0\n", "row 7 of metrics.csv cannot be read; everything before that is shown"),
        ("metrics.csv", "2,9,word\n", "row 7 of metrics.csv cannot be read; everything before that is shown"),
        ("metrics.csv", "2\n", "row 7 of metrics.csv cannot be read; everything before that is shown"),
        ("metrics.csv", f"2,9{',1' * 30}\n", "row 7 of metrics.csv cannot be read; everything before that is shown"),
        ("lr_find/curve.csv", "lr,loss\n1,2\n", "lr_find/curve.csv cannot be read"),
        ("metrics.csv", "-1,-4\n", "row 7 of metrics.csv cannot be read; everything before that is shown"),
        ("metrics.csv", f"2,9{'0' * 400}\n", "row 7 of metrics.csv cannot be read; everything before that is shown"),
        ("lr_find/curve.csv", f"lr,loss,raw_loss\n{'1' * 200_000}\n", "lr_find/curve.csv cannot be read"),
        ("config.yaml", "\xff", "config.yaml cannot be read"),
        ("config.yaml", "again: &again {and: *again}", "config.yaml cannot be read"),
        ("result.json", "\xff", "result.json cannot be read"),
        ("result.json", "[" * 100_000, "result.json cannot be read"),
        ("result.json", "[1]", "result.json cannot be read"),
        ("result.json", '{"train_s": "12 s"}', "result.json: train_s is not a number"),
        ("result.json", '{"images_per_s": [1, 2]}', "result.json: images_per_s is not a number"),
        ("result.json", '{"elapsed_s": [1.0, null, 3.0]}', "result.json: elapsed_s is not a number"),
    ],
)
def test_damaged_files_of_a_run_are_reported(tmp_path: Path, file: str, content: str, note: str) -> None:
    folder = write_run(tmp_path / "run", [0.3, 0.4, 0.5], finished=False)
    (folder / file).parent.mkdir(exist_ok=True)
    with (folder / file).open("a", encoding="latin-1") as damaged:
        damaged.write(content)
    (run,) = read_all(folder)
    assert run.notes == [note]
    assert run.series[TOP1].value == [0.3, 0.4, 0.5]
    compare([folder], tmp_path / "out")


@pytest.mark.parametrize("name", ["config.yaml", "result.json"])
def test_a_folder_instead_of_a_file_is_reported(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "run", [0.3])
    (folder / name).unlink()
    (folder / name).mkdir()
    assert read_run(folder, "run").notes == [f"{name} cannot be read"]


def test_rows_that_go_back_replace_earlier_rows(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [0.3, 0.4, 0.5], finished=False)
    with (folder / "metrics.csv").open("a", encoding="utf-8") as file:
        file.write("1,6,0.5\n1,6,0.7\n")
    run = read_run(folder, "run")
    assert (run.series["train/loss"].step, run.series[TOP1].value) == ([2, 4, 6], [0.3])
    assert run.series["train/loss"].value[-1] == 0.7
    assert run.notes == ["metrics.csv goes back to an earlier step: later rows replace earlier ones"]


def test_a_validation_before_the_first_step_alone_is_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [], finished=False)
    metrics = MetricsFile(RunFolder(folder).metrics)
    metrics.log({"val/acc1": 0.1, "epoch": 0}, 0)
    metrics.flush()
    found = compare([folder], tmp_path / "out")
    assert found.tables[0].rows[0][1] == "unfinished, 0 of 3 epochs"


def test_a_folder_that_cannot_be_read_does_not_hide_others(woof: Woof, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(Path("runs/a"), [0.3])
    write_run(Path("runs/b"), [0.4])

    def refused(file: Path) -> list[str]:
        if file.parent.name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return read_columns(file)

    monkeypatch.setattr("woof_lightning.compare.find.read_columns", refused)
    done = woof("compare", "runs")
    assert done.code == 0, done.err
    assert "note: runs/b/metrics.csv cannot be read (Permission denied): make it readable for this user" in done.out
    done = woof("compare", "runs/b")
    assert done.code == 2
    assert "runs/b/metrics.csv cannot be read (Permission denied): make it readable for this user" in done.err
