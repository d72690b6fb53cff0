"""Tests of event files: damage, restarts and times."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from torch.utils.tensorboard import SummaryWriter

from tests.compare.runs import write_events
from woof_lightning.compare.events import event_files, read_events
from woof_lightning.compare.read import TOP1, read_run


def test_an_incomplete_record_of_events_is_skipped(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "post", {"train.loss": [(10, 2), (20, 1)], "avg.val.acc1": [(0, 50.0)]})
    (file,) = event_files(folder)
    assert read_run(folder, "post").notes == []
    whole = file.read_bytes()
    for missing in (1, 5, 20):
        file.write_bytes(whole[:-missing])
        run = read_run(folder, "post")
        assert run.series["train/loss"].step == [10, 20]
        assert TOP1 not in run.series
        assert run.notes == [f"{file.name} ends in the middle of a record; everything before that is shown"]


def test_a_damaged_record_of_events_is_reported(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "post", {"train.loss": [(step, 1.0) for step in range(9)]})
    (file,) = event_files(folder)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    run = read_run(folder, "post")
    steps = run.series["train/loss"].step
    assert 0 < len(steps) < 9
    assert run.notes[0] == f"{file.name} is damaged after {len(steps) + 1} records; everything before that is shown"


def test_the_pause_before_a_resume_does_not_count_as_training_time(tmp_path: Path) -> None:
    write_events(tmp_path, {"train_loss": [(1, 3.0), (2, 2.0), (3, 9.0)]}, wall_s=1000.0)
    (first,) = event_files(tmp_path)
    first.rename(tmp_path / "events.out.tfevents.1")
    write_events(tmp_path, {"train_loss": [(3, 1.0), (4, 0.5)]}, wall_s=9000.0)
    (second,) = [file for file in event_files(tmp_path) if file.name != "events.out.tfevents.1"]
    second.rename(tmp_path / "events.out.tfevents.2")
    series = read_events(event_files(tmp_path)).series["train/loss"]
    assert series.step == [1, 2, 3, 4]
    assert series.value == [3, 2, 1, 0.5]
    # The writer records the real time when it starts a file, so only differences within a sitting can be checked.
    assert series.elapsed_s[3] - series.elapsed_s[2] == pytest.approx(1)
    assert series.elapsed_s[1] - series.elapsed_s[0] == pytest.approx(1)


def test_a_program_that_starts_again_in_a_folder_replaces_its_values(tmp_path: Path) -> None:
    """The values by epoch and by step are replaced, although the new sitting has not validated yet."""
    with SummaryWriter(str(tmp_path)) as writer:
        start_s = time.time()
        for step in range(1, 31):
            writer.add_scalar("train.loss", 2.0, step, walltime=start_s + step)
            if step % 10 == 0:
                writer.add_scalar("avg.val.acc1", 10.0 * step, step // 10 - 1, walltime=start_s + step + 0.5)
        for step in range(21, 24):
            writer.add_scalar("train.loss", 1.0, step, walltime=start_s + 100 + step)
    run = read_run(tmp_path, "again")
    assert run.series["train/loss"].step == list(range(1, 24))
    assert run.series["train/loss"].value[-4:] == [2, 1, 1, 1]
    assert run.series[TOP1].value == pytest.approx([1.0, 2.0])
    assert run.notes == ["its steps go back from 30 to 21: later values replace earlier ones"]


def test_a_run_started_again_has_no_accuracy_before_it_validates(tmp_path: Path) -> None:
    write_events(tmp_path, {"train.loss": [(1, 2.0), (2, 2.0)], "avg.val.acc1": [(1, 50.0)]}, wall_s=time.time())
    (first,) = event_files(tmp_path)
    first.rename(tmp_path / "events.out.tfevents.1")
    write_events(tmp_path, {"train.loss": [(1, 3.0)]}, wall_s=time.time() + 1000)
    run = read_run(tmp_path, "again")
    assert (TOP1 in run.series, run.series["train/loss"].value) == (False, [3.0])


def test_epochs_that_continue_are_kept_if_the_steps_start_again(tmp_path: Path) -> None:
    """pytorch-nn-tools writes such values when it resumes from a checkpoint."""
    with SummaryWriter(str(tmp_path)) as writer:
        start_s = time.time()
        for epoch in range(3):
            for step in range(1, 11):
                count = step if epoch == 2 else 10 * epoch + step
                writer.add_scalar("train.loss", 1.0 + epoch, count, walltime=start_s + 10 * epoch + step)
            writer.add_scalar("avg.val.acc1", 10.0 * epoch, epoch, walltime=start_s + 10 * epoch + 10.5)
    run = read_run(tmp_path, "resumed")
    assert run.epochs(TOP1) == [1, 2, 3]
    assert run.series["train/loss"].value == [3.0] * 10
    assert run.notes == ["its steps go back from 20 to 1: later values replace earlier ones"]


def test_epochs_alone_may_go_back(tmp_path: Path) -> None:
    values = {"avg.val.acc1": [(0, 10.0), (1, 20.0), (2, 30.0), (1, 40.0)]}
    assert read_run(write_events(tmp_path, values), "again").series[TOP1].value == pytest.approx([0.1, 0.4])


def test_an_unknown_tag_may_go_back(tmp_path: Path) -> None:
    """For example a curve per epoch, written with the positions on the curve as steps."""
    curve = {"precision over recall": [(0, 0.5), (1, 0.4), (0, 0.6)]}
    folder = write_events(tmp_path / "run", {"accuracy": [(4, 0.5), (8, 0.6)], **curve})
    run = read_run(folder, "run")
    assert (run.series[TOP1].step, run.notes) == ([4, 8], [])


def test_overlapping_sittings_are_not_added_up(tmp_path: Path) -> None:
    """There are two writers, one for the training and one for the validation."""
    now_s = time.time()
    write_events(tmp_path, {"train_loss": [(1, 2.0), (1000, 1.0)]}, wall_s=now_s)
    (first,) = event_files(tmp_path)
    first.rename(tmp_path / "events.out.tfevents.1")
    write_events(tmp_path, {"accuracy": [(500, 0.3), (1000, 0.4)]}, wall_s=now_s)
    (second,) = [file for file in event_files(tmp_path) if file.name != "events.out.tfevents.1"]
    second.rename(tmp_path / "events.out.tfevents.2")
    assert read_events(event_files(tmp_path)).series[TOP1].elapsed_s == pytest.approx([500, 1000], abs=2)


def test_times_before_a_file_was_started_count_from_the_first_one(tmp_path: Path) -> None:
    """Converted logs have such times."""
    folder = write_events(tmp_path / "run", {"accuracy": [(10, 0.3), (20, 0.4)]}, wall_s=1000.0)
    assert read_events(event_files(folder)).series[TOP1].elapsed_s == [0, 10]


def test_records_that_are_not_events_are_reported_as_damage(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "post", {"train.loss": [(1, 1.0)], "avg.val.acc1": [(0, 50.0)]})
    (file,) = event_files(folder)
    record = b"\xff" * 20
    length = len(record).to_bytes(8, "little")
    checksums = [masked_crc32c(part).to_bytes(4, "little") for part in (length, record)]
    with file.open("ab") as events:
        events.write(length + checksums[0] + record + checksums[1])
    run = read_run(folder, "post")
    assert run.series[TOP1].value == [0.5]
    assert run.notes == [f"{file.name} is damaged after 3 records; everything before that is shown"]
