"""`woof loop fabric` and `woof loop accelerate` on several devices: as `woof fit`, to the bit, and whatever happens."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import Woof
from tests.lit.several import rows, weights
from tests.loops.several import (
    FIT,
    assert_all_ended,
    assert_equal,
    becomes,
    has_gone,
    launched,
    run_in,
    together,
    trained,
    training,
    words_for,
)
from tests.processes import Process
from tests.ways import each, needs
from woof_lightning.errors import CommonError, StoppedBySignal, UserError
from woof_lightning.loops.experiment import TrainerConfig
from woof_lightning.loops.processes import are_started, check_started, failure_of, launch
from woof_lightning.loops.ways import LOOPS, SEVERAL_DEVICES, WOOF_FIT
from woof_lightning.parity import EXPERIMENTS
from woof_lightning.recipe.shares import Shares
from woof_lightning.runs.folder import RunFolder

ABLE = tuple(loop for loop in SEVERAL_DEVICES if loop != WOOF_FIT)
OTHERS = tuple(loop for loop in LOOPS if loop not in ABLE)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def words(drawn_root: Path) -> list[object]:
    return words_for(drawn_root)


@pytest.fixture(scope="module")
def fits(drawn_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], RunFolder]:
    """What `woof fit` trains in an experiment and a number of processes; each is trained once."""
    there: dict[tuple[str, int], RunFolder] = {}

    def fit(experiment: str, count: int) -> RunFolder:
        if (experiment, count) not in there:
            place = tmp_path_factory.mktemp(f"{experiment}-{count}")
            there[experiment, count] = trained(FIT, words_for(drawn_root, experiment), place, count)
        return there[experiment, count]

    return fit


USUAL = ("adamw_onecycle", "sgd_step")


@pytest.mark.process
@pytest.mark.parametrize("loop", each(ABLE))
def test_averaged_weights_are_put_back_in_every_process(loop: str, drawn_root: Path, tmp_path: Path) -> None:
    """In the second epoch each process trains on, from weights that are not the averaged ones."""
    words = [*words_for(drawn_root), "--model.ema_decay", 0.7]
    ours, theirs = (trained(verb, words, tmp_path / verb[-1]) for verb in (("loop", loop), FIT))
    assert_equal(ours, theirs)


@pytest.mark.process
@pytest.mark.parametrize("loop", each(ABLE))
@pytest.mark.parametrize(
    ("experiment", "count"),
    [
        *(pytest.param(name, 2, marks=() if name in USUAL else pytest.mark.slow) for name in EXPERIMENTS),
        pytest.param("sgd_onecycle", 3, marks=pytest.mark.slow),
    ],
)
def test_a_loop_equals_woof_fit_to_the_bit(
    loop: str,
    experiment: str,
    count: int,
    fits: Callable[[str, int], RunFolder],
    drawn_root: Path,
    tmp_path: Path,
) -> None:
    ours = trained(("loop", loop), words_for(drawn_root, experiment), tmp_path, count)
    theirs = fits(experiment, count)
    assert_equal(ours, theirs)
    assert len(rows(ours)) == 10
    for key in ("best", "final"):
        assert (
            json.loads(ours.result.read_text(encoding="utf-8"))[key]
            == json.loads(theirs.result.read_text(encoding="utf-8"))[key]
        )


@pytest.mark.process
@pytest.mark.parametrize("loop", each(ABLE))
def test_started_by_itself_it_trains_the_same(
    loop: str, words: list[object], fits: Callable[[str, int], RunFolder], tmp_path: Path
) -> None:
    ended = launched(loop, words, tmp_path).wait()
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert ended.out.count("epoch 2/2") == ended.out.count("best top-1") == 1
    assert_equal(run_in(tmp_path), fits("adamw_onecycle", 2))
    files = {file.name.partition(".out")[0] for file in run_in(tmp_path).path.iterdir()}
    assert sorted(files) == ["checkpoints", "config.yaml", "events", "metrics.csv", "result.json"]


@pytest.mark.process
def test_torchrun_starts_it_too(words: list[object], fits: Callable[[str, int], RunFolder], tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2]
    command = [*torchrun, "-m", "woof_lightning", "loop", "fabric", *words, "--trainer.devices", 2]
    ended = Process(command, tmp_path, fresh=True).wait()
    assert ended.code == 0, ended.err
    assert_equal(run_in(tmp_path), fits("adamw_onecycle", 2))


@pytest.mark.process
@pytest.mark.slow
@needs("accelerate")
def test_accelerate_s_own_launcher_starts_it_too(
    words: list[object], fits: Callable[[str, int], RunFolder], tmp_path: Path
) -> None:
    launcher = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", 2, "-m", "woof_lightning"]
    ended = Process([*launcher, "loop", "accelerate", *words, "--trainer.devices", 2], tmp_path, fresh=True).wait()
    assert ended.code == 0, ended.err
    assert_equal(run_in(tmp_path), fits("adamw_onecycle", 2))


CUT = """
from torch.optim.optimizer import register_optimizer_step_pre_hook
steps = iter(range(100))
def cut(*_):
    if next(steps) == 7 and rank == 1:
        raise ValueError("only here")
register_optimizer_step_pre_hook(cut)
"""


@pytest.mark.process
@pytest.mark.parametrize("loop", each(ABLE))
def test_if_one_raises_the_others_end_and_a_resume_is_exact(
    loop: str, words: list[object], fits: Callable[[str, int], RunFolder], tmp_path: Path
) -> None:
    """Only the first process has the run's folder, as on a disk of its own."""
    options = [[*words, "--trainer.devices", 2]] * 2
    first, second = (one.wait() for one in together(("loop", loop), options, tmp_path, code=CUT, apart=True))
    assert_all_ended((first, second), (2, 1))
    assert "ValueError: only here" in second.err
    assert first.err.count("one of the 2 processes has ended") == 1
    assert "Traceback" not in first.err
    run = run_in(tmp_path / "node-0")
    assert torch.load(run.last, weights_only=True)["global_step"] == 5, "the last checkpoint is whole"

    again = together(("loop", loop), [[*words, "--trainer.devices", 2, "--resume"]] * 2, tmp_path, apart=True)
    assert_all_ended([one.wait() for one in again], (0, 0))
    assert not (tmp_path / "node-1" / "runs").exists()
    assert_equal(run, fits("adamw_onecycle", 2))


@LINUX
@pytest.mark.process
@pytest.mark.parametrize("killed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_ends_all(killed: int, words: list[object], tmp_path: Path) -> None:
    with training("fabric", words, tmp_path) as (process, children):
        os.kill(children[killed], signal.SIGKILL)
        ended = process.wait()
    assert ended.code == 128 + signal.SIGKILL, ended
    assert f"woof: process {killed} was stopped by SIGKILL; resume the run from its last checkpoint" in ended.err
    assert "Traceback" not in ended.err
    assert torch.load(run_in(tmp_path).last, weights_only=True)["global_step"] % 5 == 0


@LINUX
@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SIGTERM", "woof: stopped by SIGTERM; resume the run from its last checkpoint with --resume"),
        pytest.param(
            "SIGUSR1",
            "woof: stopped by SIGUSR1; resume the run from its last checkpoint with --resume",
            marks=pytest.mark.slow,
        ),
        ("SIGINT", "woof: interrupted; resume the run from its last checkpoint with --resume"),
    ],
)
def test_a_signal_goes_to_all(name: str, message: str, words: list[object], tmp_path: Path) -> None:
    signum = getattr(signal, name)
    with training("fabric", words, tmp_path) as (process, _):
        process.send(signum)
        ended = process.wait()
    assert ended.code == 128 + signum, ended
    # C++ says this, rarely, of a process that ends within an exchange, whose thread of gloo is still at work.
    said = [line for line in ended.err.splitlines() if line and line != "terminate called without an active exception"]
    assert said == [message]
    weights(run_in(tmp_path))


@LINUX
@pytest.mark.process
def test_no_process_outlives_the_one_that_started_it(words: list[object], tmp_path: Path) -> None:
    with training("fabric", words, tmp_path) as (process, children):
        process.send(signal.SIGKILL)
        process.wait()
        assert all(becomes(lambda pid=pid: has_gone(pid)) for pid in children)  # type: ignore[misc]


@pytest.mark.process
def test_a_launch_leaves_nothing_behind(capfd: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ), {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    launch(2, ["--version"])
    assert len(set(capfd.readouterr().out.splitlines())) == 1
    with pytest.raises(SystemExit) as failed:
        launch(2, ["nosuchverb"])
    assert failed.value.code == 2
    said = capfd.readouterr().err.splitlines()
    assert said
    assert all("nosuchverb is no verb" in line for line in said), said
    assert (dict(os.environ), {number: signal.getsignal(number) for number in before[1]}) == before


@pytest.mark.process
def test_different_commands_end_all_with_one_message(words: list[object], tmp_path: Path) -> None:
    options = [[*words, "--trainer.devices", 2], [*words, "--trainer.devices", 2, "--model.lr", 0.5]]
    first, second = (one.wait() for one in together(("loop", "fabric"), options, tmp_path, apart=True))
    assert_all_ended((first, second), (2, 2))
    assert first.err.count("processes 0 and 1 differ: model.lr is 0.005 and 0.5") == 1
    assert second.err == ""
    assert not list(tmp_path.rglob("runs")), "nothing was written"


@pytest.mark.process
def test_one_message_if_there_are_more_processes_than_devices(words: list[object], tmp_path: Path) -> None:
    for number, devices in enumerate(([], ["--trainer.devices", 3])):
        found = together(("loop", "fabric"), [[*words, *devices]] * 2, tmp_path / str(number))
        first, second = (one.wait() for one in found)
        assert_all_ended((first, second), (2, 2))
        assert f"trainer.devices is {devices[1] if devices else 'auto'}, but 2 processes were started" in first.err
        assert second.err == ""


@pytest.mark.parametrize("loop", each(OTHERS))
def test_the_other_loops_refuse(loop: str, woof: Woof, words: list[object]) -> None:
    outcome = woof("loop", loop, *words, "--trainer.devices", 2)
    assert outcome.code == 2
    assert outcome.err == (
        f"woof: error: trainer.devices is 2: woof loop {loop} trains on one device; expected auto or 1; "
        "fabric, accelerate and woof fit take several\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.devices", 0], "trainer.devices is 0: expected auto or a number of devices, at least 1"),
        (["--trainer.devices", "-1"], "trainer.devices is -1: expected auto or a number"),
        (["--trainer.devices", "all"], "trainer.devices is 'all': expected auto or a number"),
        (["--trainer.devices", 4], "3 batches to validate (data.eval_batch_size 60) for 4 devices"),
        (["--trainer.devices", 2, "--data.batch_size", 9999], "data.batch_size is 9999"),
        # Of a batch of one image and three devices, each has at most one: too few for BatchNorm.
        (["--trainer.devices", 3, "--data.batch_size", 5], "BatchNorm"),
    ],
)
def test_what_cannot_be_is_refused_before_a_process_is_started(
    options: list[object], message: str, woof: Woof, words: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("woof_lightning.cli.loop.launch", lambda *_: pytest.fail("started"))
    outcome = woof("loop", "fabric", *words, *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert not Path("runs").exists()


def test_a_folder_with_a_run_is_refused_before_a_process_is_started(
    woof: Woof, words: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("woof_lightning.cli.loop.launch", lambda *_: pytest.fail("started"))
    Path("runs/run").mkdir(parents=True)
    Path("runs/run/metrics.csv").touch()
    outcome = woof("loop", "fabric", *words, "--trainer.devices", 2)
    assert outcome.code == 2
    assert "already holds a run" in outcome.err


def test_more_gpus_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(UserError, match="trainer.devices is 3, but torch can use 2 GPUs of this machine"):
        TrainerConfig(devices=3)
    assert TrainerConfig(devices=2).on_gpu
    assert not TrainerConfig(devices=3, accelerator="cpu").on_gpu


def started(world_size: int, **others: object) -> dict[str, str]:
    return {name: str(value) for name, value in {"RANK": 0, "WORLD_SIZE": world_size, **others}.items()}


def test_processes_must_be_as_many_as_devices() -> None:
    check_started(TrainerConfig(devices=2), started(2))
    check_started(TrainerConfig(devices=2), started(2, LOCAL_WORLD_SIZE=2))
    check_started(TrainerConfig(), {})
    check_started(TrainerConfig(), started(2))  # The variables of another program, in its shell.
    for environment in (started(3), {}, started(1)):
        with pytest.raises(CommonError, match="trainer.devices is 2, but [13] processes were started"):
            check_started(TrainerConfig(devices=2), environment)
    with pytest.raises(CommonError, match="trainer.devices is auto, but 2 processes were started"):
        check_started(TrainerConfig(), started(2, TORCHELASTIC_RUN_ID="x"))
    with pytest.raises(CommonError, match="takes the devices of one machine"):
        check_started(TrainerConfig(devices=4), started(4, LOCAL_WORLD_SIZE=2))


@pytest.mark.parametrize(("names", "expected"), [((), False), (("RANK",), False), (("RANK", "WORLD_SIZE"), True)])
def test_a_process_knows_whether_it_was_started_as_one_of_several(names: tuple[str, ...], expected: bool) -> None:
    assert are_started(dict.fromkeys(names, "1")) == expected


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({0: 2, 1: 1}, 1),
        ({0: -15, 1: 3}, 3),
        ({0: 2, 1: -15}, 2),
        ({0: 2, 1: 2}, 2),
        ({0: 2, 1: -9}, (9, 1)),
        ({0: -15, 1: -9, 2: 2}, (9, 1)),
        ({0: -15, 1: -15}, (15, None)),
    ],
)
def test_the_cause_of_a_failure_is_found(codes: dict[int, int], expected: int | tuple[int, int | None]) -> None:
    failure = failure_of(codes)
    found = (failure.signum, failure.process) if isinstance(failure, StoppedBySignal) else failure.code
    assert found == expected


@pytest.mark.parametrize("images", [10, 11, 12, 13])
def test_the_weights_of_the_shares_are_those_of_their_images(images: int) -> None:
    shares = [Shares(rank, 3, batch_size=10, images=images) for rank in range(3)]
    for batch_idx, size in enumerate((10, images - 10)[: 2 if images > 10 else 1]):
        own = [len(range(rank, size, 3)) for rank in range(3)]
        assert [share.weight(batch_idx) for share in shares] == pytest.approx([3 * count / size for count in own])
        assert sum(share.of_batch(batch_idx) for share in shares) == pytest.approx(1)
