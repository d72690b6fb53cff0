"""Tests of the run's folder, metrics.csv, the record, and the settings that a resume may change."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from pathlib import Path

import pytest
import yaml

from woof_lightning.checksums import zip_problem
from woof_lightning.errors import UserError
from woof_lightning.runs.config import check_resumable, flatten
from woof_lightning.runs.folder import RunFolder, checkpoint_file, write_text_durably, writing_durably
from woof_lightning.runs.metrics import COLUMNS, MetricsFile, read_metrics
from woof_lightning.runs.record import RunRecord, machine, processor_in


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    return folder


def a_checkpoint(file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights", os.urandom(1000))
    return file


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)


def test_a_folder_is_free_until_it_holds_a_run(run: RunFolder) -> None:
    run.check_free()
    (run.path / "notes.txt").write_text("mine", encoding="utf-8")
    run.check_free()
    run.metrics.write_text("", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        run.check_free()
    for way_out in (str(run.path), "--resume", "--name", "--overwrite"):
        assert way_out in str(caught.value)


def test_a_folder_with_only_an_unfinished_file_is_free(run: RunFolder) -> None:
    (run.path / ".writing-1-config.yaml").write_text("half", encoding="utf-8")
    run.check_free()


def test_a_file_instead_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="is a file"):
        RunFolder(tmp_path / "run").check_free()
    with pytest.raises(UserError, match="cannot be made"):
        RunFolder(tmp_path / "run" / "inner").create()


def test_clearing_removes_only_what_a_run_wrote(run: RunFolder) -> None:
    (run.path / "notes.txt").write_text("mine", encoding="utf-8")
    for file in (run.config, run.metrics, run.result, run.best, run.path / "events.out.tfevents.1"):
        file.write_text("", encoding="utf-8")
    run.clear()
    assert [p.name for p in run.path.rglob("*") if p.is_file()] == ["notes.txt"]


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_text_durably(target, "old")
    with contextlib.suppress(RuntimeError), writing_durably(target) as file:
        file.write(b"half of the n")
        raise RuntimeError
    assert target.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_last_good_checkpoint_skips_a_damaged_one(run: RunFolder) -> None:
    assert run.last_good_checkpoint() is None
    a_checkpoint(run.best)
    a_checkpoint(run.last)
    assert run.last_good_checkpoint() == run.last
    flip_a_byte(run.last)
    assert run.last_good_checkpoint() == run.best
    run.best.write_bytes(b"")
    with pytest.raises(UserError, match="no checkpoint of this run is intact"):
        run.last_good_checkpoint()


@pytest.mark.parametrize("damage", ["empty", "html", "truncated", "flipped"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    file = a_checkpoint(tmp_path / "x.ckpt")
    assert zip_problem(file) is None
    whole = file.read_bytes()
    if damage == "flipped":
        flip_a_byte(file)
    else:
        file.write_bytes({"empty": b"", "html": b"<html>", "truncated": whole[:-30]}[damage])
    with pytest.raises(UserError, match=r"--ckpt is .*x.ckpt"):
        checkpoint_file(file)


def test_values_of_a_step_share_a_row(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    file.log({"train/loss": 0.1, "epoch": 0}, 10)
    file.log({"val/acc1": 1 / 3, "epoch": 0}, 10)
    file.log({"train/loss": 0.3, "epoch": 1}, 20)
    file.flush()
    file.flush()
    assert (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()[0] == (
        "epoch,step,train/loss,train/acc1,train/acc5,lr,momentum,"
        "train/loss_epoch,train/acc1_epoch,train/acc5_epoch,val/loss,val/acc1,val/acc5"
    )
    assert read_metrics(tmp_path / "metrics.csv") == [
        {"epoch": 0, "step": 10, "train/loss": 0.1, "val/acc1": 1 / 3},
        {"epoch": 1, "step": 20, "train/loss": 0.3},
    ]


def test_rows_after_a_damaged_one_are_cut(tmp_path: Path) -> None:
    """A power cut can leave zeros in place of the last rows. Rows up to a checkpoint were flushed before it."""
    metrics = MetricsFile(tmp_path / "metrics.csv")
    for step in (1, 2):
        metrics.log({"train/loss": 1.0, "epoch": 0}, step)
    metrics.flush()
    with metrics.path.open("ab") as file:
        file.write(b"\0" * 20 + b"\n0,4,1.0" + b"," * 10 + b"\n")
    assert [row["step"] for row in read_metrics(metrics.path)] == [1, 2]
    assert metrics.cut_after(2) is None
    metrics.log({"train/loss": 0.5, "epoch": 0}, 3)
    metrics.flush()
    assert [row["step"] for row in read_metrics(metrics.path)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("readable", "step", "lost"),
    [(3, 2, None), (2, 2, None), (1, 2, "its rows of steps 2 to 2"), (0, 2, "its rows of steps 1 to 2")],
)
def test_rows_that_a_resumed_run_lost_are_reported(tmp_path: Path, readable: int, step: int, lost: str | None) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv")
    for at in range(1, readable + 1):
        metrics.log({"lr": 1.0, "epoch": 0}, at)
    metrics.flush()
    metrics.path.write_text(
        (metrics.path.read_text(encoding="utf-8") if readable else ",".join(COLUMNS) + "\n") + "0,?\n0,9\n",
        encoding="utf-8",
    )
    expected = None if lost is None else f"row {readable + 1} of metrics.csv cannot be read; {lost} are lost"
    assert metrics.cut_after(step) == expected
    assert [row["step"] for row in read_metrics(metrics.path)] == list(range(1, min(readable, step) + 1))


def test_a_new_metric_gets_a_column(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    file.log({"lr": 1.0, "epoch": 0}, 1)
    file.log({"lr/head": 2.0, "epoch": 0}, 2)
    file.flush()
    again = MetricsFile(tmp_path / "metrics.csv")
    again.log({"lr/head": 3.0, "epoch": 0}, 3)
    again.flush()
    assert [row.get("lr/head") for row in read_metrics(tmp_path / "metrics.csv")] == [None, 2.0, 3.0]
    assert (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()[0] == ",".join((*COLUMNS, "lr/head"))


@pytest.mark.parametrize("header", [b"\xff\xfe\0\0", b"\0" * 40, b"a,b,c", b""])
def test_a_damaged_header_is_written_again(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(header + b"\n0,1,1.0\n")
    lost = MetricsFile(path).cut_after(1)
    assert lost is not None
    assert "steps 1 to 1" in lost
    file = MetricsFile(path)
    file.log({"train/loss": 1.0, "epoch": 0}, 2)
    file.flush()
    assert read_metrics(path) == [{"epoch": 0, "step": 2, "train/loss": 1.0}]


def test_a_file_that_was_removed_leaves_no_columns(tmp_path: Path) -> None:
    """--overwrite removes the old file after the object was created and before the first row is written."""
    path = tmp_path / "metrics.csv"
    path.write_text(",".join((*COLUMNS, "lr/head")) + "\n", encoding="utf-8")
    file = MetricsFile(path)
    path.unlink()
    file.log({"train/loss": 1.0, "epoch": 0}, 1)
    file.flush()
    assert path.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)


def test_cutting_drops_later_steps_and_an_incomplete_row(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    for step in (1, 2, 3):
        file.log({"lr": float(step), "epoch": 0}, step)
    file.flush()
    whole = (tmp_path / "metrics.csv").read_text(encoding="utf-8")
    (tmp_path / "metrics.csv").write_text(whole + "0,4,0.12", encoding="utf-8")
    MetricsFile(tmp_path / "metrics.csv").cut_after(2)
    assert (tmp_path / "metrics.csv").read_text(encoding="utf-8") == "".join(whole.splitlines(keepends=True)[:3])


def test_a_processor_is_named_with_its_family_if_linux_knows_it() -> None:
    intel_or_amd = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\n"
    assert processor_in(2 * intel_or_amd) == "AMD EPYC (family 25, model 17)"
    assert processor_in("processor\t: 0\nmodel name\t: ARMv7\n") == "ARMv7"
    assert processor_in("processor\t: 0\nCPU part\t: 0xd0c\n") is None
    assert machine(2)["processor"]


def test_a_record_can_be_cut_to_its_first_epochs() -> None:
    record = RunRecord()
    for epoch, accuracy in enumerate((0.1, 0.5, 0.4, 0.6)):
        record.validated(epoch, {"val/acc1": accuracy})
        record.epoch_ended(epoch, elapsed_s=10, images=100, training_s=5)
    record.cut_to(4)
    assert (record.best["epoch"], record.final["epoch"]) == (3, 3)
    record.cut_to(3)
    assert (record.epochs, record.elapsed_s, record.train_s, record.best) == (3, [10, 20, 30], 30, {})
    record.validated(3, {"val/acc1": 0.2})
    assert record.best == record.final == {"epoch": 3, "val/acc1": 0.2}


def test_record_keeps_the_earlier_of_equal_bests_and_can_be_saved() -> None:
    record = RunRecord()
    for epoch, accuracy in enumerate((0.1, 0.5, 0.5, 0.4)):
        record.validated(epoch, {"val/acc1": accuracy})
        record.epoch_ended(epoch, elapsed_s=10, images=100, training_s=(50, 5, 4, 2)[epoch])
    moved = RunRecord()
    moved.load_state_dict(json.loads(json.dumps(record.state_dict())))
    result = moved.result(status="finished", loop="bare", seed=0, data={}, loading={}, config={}, threads=2)
    assert (result["best"]["epoch"], result["final"]["epoch"], result["epochs"]) == (1, 3, 4)
    assert (result["train_s"], result["images_per_s"]) == (40, 25)
    assert result["versions"]["torch"]


def saved(tmp_path: Path, **changes: object) -> tuple[Path, dict[str, object]]:
    settings = {
        "seed_everything": 0,
        "model": {"schedule": "onecycle", "lr": 0.1},
        "data": {"num_workers": 2, "root": "data"},
        "trainer": {"max_epochs": 4},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for key, value in changes.items():
        group, _, name = key.partition("__")
        settings[group] = {**settings[group], name: value} if name else value  # type: ignore[dict-item]
    return tmp_path / "config.yaml", settings


def test_resume_accepts_other_workers_and_folders(tmp_path: Path) -> None:
    check_resumable(*saved(tmp_path, data__num_workers=0, data__root="elsewhere"))


def test_mappings_are_accepted_for_settings_that_may_differ(tmp_path: Path) -> None:
    check_resumable(
        *saved(tmp_path, trainer__max_time={"hours": 1}, trainer__logger={"class_path": "x", "init_args": {}})
    )
    with pytest.raises(UserError, match=r"trainer.max_timely was \(not set\), now 1"):
        check_resumable(*saved(tmp_path, trainer__max_timely=1))


def test_resume_refuses_and_names_settings_that_change_the_result(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        check_resumable(*saved(tmp_path, model__lr=0.2, seed_everything=1))
    assert "model.lr was 0.1, now 0.2" in str(caught.value)
    assert "seed_everything was 0, now 1" in str(caught.value)


def test_more_epochs_are_accepted_only_with_the_step_schedule(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trainer.max_epochs was 4, now 8"):
        check_resumable(*saved(tmp_path, trainer__max_epochs=8))
    file, settings = saved(tmp_path, model__schedule="step")
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    check_resumable(file, {**settings, "trainer": {"max_epochs": 8}})


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"config.yaml cannot be read"):
        check_resumable(tmp_path / "config.yaml", {})


def test_flatten() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": None}, "e": {}}) == {"a.b.c": 1, "a.d": None, "e": {}}
