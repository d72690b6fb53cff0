"""The real command under faults: killed, signalled, out of disk, with a second process, with dead workers."""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.harness import killed_until_done, last_step
from tests.processes import PATIENCE_S, Ended, Process, run, woof
from tests.ways import needs
from woof_lightning.checksums import zip_problem
from woof_lightning.parity import first_difference
from woof_lightning.recipe.checkpoint import read_checkpoint
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

pytestmark = pytest.mark.process
STEPS, EPOCHS = 6, 3
CONFIGS = Path(__file__).parents[2] / "configs"
EXPERIMENTS = ("sgd_step", "sgd_step_found_lr", "sgd_onecycle", "adamw_onecycle")


@pytest.fixture(scope="module")
def options(small_fit: list[str]) -> list[str]:
    """A run of three epochs of six steps, each step reported."""
    limits = ("--trainer.limit_train_batches", STEPS, "--trainer.max_epochs", EPOCHS, "--trainer.log_every_n_steps", 1)
    return [*small_fit, *map(str, limits)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def run_of(place: Path, name: str = "run") -> RunFolder:
    return RunFolder(place / "runs" / name)


def started(options: list[str], place: Path, *more: object, steps: int = 2, **environment: str) -> Process:
    """A run that has trained a few steps."""
    process = woof("fit", [*options, "--name", "run", *more], place, **environment)
    assert process.wait_until(lambda: last_step(run_of(place)) >= steps), process.wait().err
    return process


@pytest.fixture(scope="module")
def reference(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was never cut."""
    return unbroken(options, tmp_path_factory.mktemp("reference"))


def unbroken(options: list[str], place: Path) -> RunFolder:
    ended = woof("fit", [*options, "--name", "unbroken"], place).wait()
    assert ended.code == 0, ended.err
    return run_of(place, "unbroken")


def resumed(options: list[str], place: Path, *more: object) -> Ended:
    ended = woof("fit", [*options, "--name", "run", "--resume", *more], place).wait()
    assert ended.code == 0, ended.err
    return ended


def assert_whole(run: RunFolder) -> None:
    """Nothing that is there is torn."""
    for file in (run.best, run.last):
        assert not file.exists() or zip_problem(file) is None
    assert all(row.keys() >= {"epoch", "step"} for row in read_metrics(run.metrics))


def killed_run_ends_as_an_unbroken_one(options: list[str], place: Path, seed: int, kills: int) -> None:
    drawn = random.Random(seed)
    options = [*options, "--data.num_workers", str(drawn.choice((0, 2)))]
    reference = unbroken(options, place)
    more = ["--name", "run", "--resume", *drawn.choice(([], ["--save_every", "2"]))]
    killed, ended = killed_until_done(
        lambda: woof("fit", [*options, *more], place), run_of(place), STEPS * EPOCHS, kills, drawn
    )
    assert ended.code == 0, ended.err
    assert killed > 0
    assert first_difference(reference, run_of(place)) is None
    assert steps_in_tensorboard(run_of(place)) == list(range(1, STEPS * EPOCHS + 1))


def steps_in_tensorboard(run: RunFolder) -> list[int]:
    """The steps of the training loss, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path))
    events.Reload()
    return [event.step for event in events.Scalars("train/loss")]


def test_a_run_killed_three_times_ends_as_an_unbroken_one(options: list[str], place: Path) -> None:
    killed_run_ends_as_an_unbroken_one([*options, "--data.num_workers", "0"], place, seed=0, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_runs_killed_at_random_end_as_unbroken_ones(
    options: list[str], place: Path, experiment: str, seed: int
) -> None:
    """Twenty kills and more."""
    options = [
        str(CONFIGS / f"{experiment}.yaml") if word.endswith("adamw_onecycle.yaml") else word for word in options
    ]
    killed_run_ends_as_an_unbroken_one(options, place, seed, kills=2)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGUSR1", 138), ("SIGINT", 130)])
def test_a_signal_saves_and_tells_how_to_go_on(
    options: list[str], reference: RunFolder, place: Path, name: str, code: int
) -> None:
    process = started(options, place, "--data.num_workers", 2)
    process.send_to_all(getattr(signal, name))  # As a terminal or a scheduler may.
    ended = process.wait()
    assert ended.code == code, ended.err
    assert "saved; resume with --resume" in ended.err
    assert "Traceback" not in ended.err
    assert_whole(run_of(place))
    step = read_checkpoint(run_of(place).last)["global_step"]
    out = resumed(options, place).out
    assert "resuming from" in out
    assert [int(row["step"]) for row in read_metrics(run_of(place).metrics)] == list(range(1, STEPS * EPOCHS + 1))
    assert steps_in_tensorboard(run_of(place)) == list(range(1, STEPS * EPOCHS + 1))
    assert 2 <= step <= STEPS * EPOCHS
    assert first_difference(reference, run_of(place)) is None


@pytest.mark.slow
@needs("hand_rolled")
def test_the_post_s_loop_ends_at_once_on_sigterm(options: list[str], place: Path) -> None:
    process = woof("loop", ["hand_rolled", *options, "--trainer.max_epochs", 50, "--name", "run"], place)
    assert process.wait_until(lambda: last_step(run_of(place)) >= STEPS + 1)
    process.send(signal.SIGTERM)
    assert process.wait().code == -signal.SIGTERM
    saved = read_checkpoint(run_of(place).last)["global_step"]
    assert saved % STEPS == 0  # That of an epoch's end.


@pytest.mark.slow
@needs("hand_rolled")
def test_the_post_s_loop_trains_on_after_nan(options: list[str], place: Path) -> None:
    ended = woof("loop", ["hand_rolled", *options, "--model.lr", "1e30", "--name", "run"], place).wait()
    assert ended.code == 0, ended.err
    assert not all(math.isfinite(row["train/loss"]) for row in read_metrics(run_of(place).metrics))


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(options: list[str], place: Path) -> None:
    process = started(options, place, "--trainer.max_epochs", 50)
    for more in ("--resume", "--overwrite"):
        second = woof("fit", [*options, "--trainer.max_epochs", 50, "--name", "run", more], place).wait()
        assert second.code == 2
        assert "is in use: another process trains in it" in second.err
    assert "running, " in woof("compare", ["runs/run"], place).wait().out
    process.send(signal.SIGKILL)
    process.wait()
    resumed([*options, "--trainer.max_epochs", "50"], place, "--trainer.max_time", "00:00:00:01")


def test_a_damaged_checkpoint_is_named_and_the_other_one_taken(
    options: list[str], reference: RunFolder, place: Path
) -> None:
    shutil.copytree(reference.path, run_of(place).path)
    damaged = run_of(place).last
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    ended = woof("fit", [*options, "--name", "run", "--resume"], place).wait()
    assert ended.code == 0, ended.err
    assert "last.ckpt cannot be used: it is damaged" in ended.err
    assert "checkpoints/best.ckpt" in ended.out
    assert first_difference(reference, run_of(place)) is None


def limited(options: list[str], place: Path, most_bytes: int) -> Ended:
    """A run whose files may not grow beyond a size, as on a full disk."""
    code = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most_bytes}, {most_bytes}))\n"
        "from woof_lightning.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    return run(["-c", code, "fit", *options, "--name", "run", "--resume"], place)


def test_a_disk_that_takes_no_more_is_told_and_harms_nothing(options: list[str], place: Path) -> None:
    first = started(options, place, "--trainer.max_epochs", 30, steps=STEPS + 1)
    first.send(signal.SIGTERM)
    first.wait()
    before = read_checkpoint(run_of(place).last)["global_step"]
    most = run_of(place).last.stat().st_size // 2
    ended = limited([*options, "--trainer.max_epochs", "30"], place, most)
    assert ended.code == 2, ended.err
    assert "could not be written (File too large)" in ended.err
    assert "Traceback" not in ended.err
    assert_whole(run_of(place))
    assert read_checkpoint(run_of(place).last)["global_step"] == before
    assert not list(run_of(place).checkpoints.glob(".writing-*"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_told(options: list[str], place: Path) -> None:
    small = place / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        ended = woof("fit", [*options, "--runs_dir", small, "--name", "run"], place).wait()
        assert ended.code == 2, ended.err
        assert "No space left on device" in ended.err
        assert "Traceback" not in ended.err
        assert_whole(RunFolder(small / "run"))
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), " could not be written (No such file or directory)"),
        (("--trainer.logger", "false"), "metrics.csv could not be written (No such file or directory)"),
        (("--trainer.log_every_n_steps", 100, "--save_every", 1), "runs/run has vanished: nothing can be saved"),
    ],
)
def test_a_vanished_folder_is_told(more: tuple[object, ...], told: str, options: list[str], place: Path) -> None:
    """It is noticed by what is written next: events, a row of metrics.csv, or a checkpoint."""
    code = (
        "import shutil, sys\n"
        "from woof_lightning.lit.classifier import WoofClassifier\n"
        "def vanish(self, *_):\n"
        "    if self.global_step == 3:\n"
        "        shutil.rmtree('runs/run')\n"
        "WoofClassifier.on_train_batch_start = vanish\n"
        "from woof_lightning.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    ended = run(["-c", code, "fit", *options, "--name", "run", *more], place)
    assert ended.code == 2, ended.err
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert not run_of(place).last.exists()


def test_a_folder_that_cannot_be_made_is_told(options: list[str], place: Path) -> None:
    (place / "file").write_text("", encoding="utf-8")
    ended = woof("fit", [*options, "--runs_dir", place / "file"], place).wait()
    assert ended.code == 2
    assert "file is a file: expected a folder" in ended.err


def test_a_dead_worker_is_told(options: list[str], place: Path) -> None:
    process = started(options, place, "--data.num_workers", 2, "--trainer.max_epochs", 200)
    (worker, *_) = loading_processes(process)
    os.kill(worker, signal.SIGKILL)
    ended = process.wait()
    assert ended.code == 2, ended.err
    assert "a loading process died" in ended.err
    assert "data.num_workers" in ended.err
    assert "Traceback" not in ended.err
    assert_whole(run_of(place))


def test_a_hanging_worker_is_told(options: list[str], place: Path) -> None:
    """As on a network disk that has gone."""
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from woof_lightning.data import workers\n"
        "from woof_lightning.data.decoded import DecodedImages\n"
        "workers.WORKER_TIMEOUT_S = 3\n"
        "read = DecodedImages.read\n"
        "DecodedImages.read = lambda *args: time.sleep(1e6) if Path('hang').exists() else read(*args)\n"
        "from woof_lightning.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    more = ["--name", "run", "--data.num_workers", "1", "--trainer.max_epochs", "200"]
    process = Process(["-c", code, "fit", *options, *more], place)
    assert process.wait_until(lambda: last_step(run_of(place)) >= 2)
    (place / "hang").touch()
    ended = process.wait()
    assert ended.code == 2, ended.err
    assert "no batch came from the loading processes in 3 s" in ended.err
    assert "Traceback" not in ended.err


def loading_processes(process: Process) -> list[int]:
    """The children of a training that load images: they are forked, and so named as it is."""
    pid = process.pid
    name = Path(f"/proc/{pid}/cmdline").read_bytes()
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        children = [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        ]
        loading = [child for child in children if Path(f"/proc/{child}/cmdline").read_bytes() == name]
        if loading:
            return loading
        time.sleep(0.05)
    raise AssertionError("no loading process")
