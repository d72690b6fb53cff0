"""A training of several processes, started in every way that people start one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lit.several import CONFIGS, Together, assert_equal, free_port, options_for, place_for, rows, trained
from tests.processes import Process
from woof_lightning.runs.folder import RunFolder

pytestmark = pytest.mark.process
SLURM_SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "slurm.sh"
WOOF = ("-m", "woof_lightning", "fit")
TORCHRUN = ("-m", "torch.distributed.run")


@pytest.fixture(scope="module")
def words(drawn_root: Path) -> list[object]:
    return ["--config", CONFIGS / "adamw_onecycle.yaml", *options_for(drawn_root), "--trainer.max_epochs", 2]


@pytest.fixture(scope="module")
def together(words: list[object], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """What two processes train."""
    return trained(tmp_path_factory.mktemp("together"), words, 2)


def run_in(place: Path) -> RunFolder:
    return RunFolder(place / "runs" / "run")


def test_lightning_starts_the_second_process(words: list[object], together: RunFolder, tmp_path: Path) -> None:
    ended = Process([*WOOF, *words, "--trainer.devices", 2], place_for(tmp_path), fresh=True).wait()
    assert ended.code == 0, ended.err
    assert ended.out.count("trained on") == 1
    assert_equal(run_in(tmp_path), together)


def test_torchrun_on_one_machine(words: list[object], together: RunFolder, tmp_path: Path) -> None:
    command = [*TORCHRUN, "--standalone", "--nproc_per_node", 2, *WOOF, *words, "--trainer.devices", 2]
    ended = Process(command, place_for(tmp_path), fresh=True).wait()
    assert ended.code == 0, ended.err
    assert_equal(run_in(tmp_path), together)


@dataclass(frozen=True)
class Machine:
    """What stands in for a machine: an address of its own, and the command within which its programs run."""

    address: str
    within: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


@pytest.fixture
def namespaces() -> Iterator[list[Machine]]:
    """Two network namespaces with a cable between them: neither sees the other's loopback device."""
    names, number = [f"woof-{os.getpid()}-{rank}" for rank in range(2)], os.getpid() % 10**6
    machines = [
        Machine(f"10.77.0.{rank + 1}", ("ip", "netns", "exec", name), (("GLOO_SOCKET_IFNAME", f"w{rank}-{number}"),))
        for rank, name in enumerate(names)
    ]
    commands = [f"netns add {name}" for name in names]
    commands.append(f"link add w0-{number} type veth peer name w1-{number}")
    for rank, (name, machine) in enumerate(zip(names, machines, strict=True)):
        commands.append(f"link set w{rank}-{number} netns {name}")
        commands.append(f"-n {name} addr add {machine.address}/24 dev w{rank}-{number}")
        commands += [f"-n {name} link set {device} up" for device in (f"w{rank}-{number}", "lo")]
    try:
        for command in commands:
            if shutil.which("ip") is None or subprocess.run(["ip", *command.split()], capture_output=True).returncode:
                pytest.skip(f"this machine makes no network namespaces: ip {command}")
        yield machines
    finally:
        for name in names if shutil.which("ip") else ():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_torchrun_in_two_network_namespaces(
    namespaces: list[Machine], words: list[object], together: RunFolder, tmp_path: Path
) -> None:
    on_two_machines(namespaces, words, together, tmp_path)


def test_torchrun_on_two_loopback_addresses(words: list[object], together: RunFolder, tmp_path: Path) -> None:
    on_two_machines([Machine("127.0.0.1"), Machine("127.0.0.2")], words, together, tmp_path)


def on_two_machines(machines: list[Machine], words: list[object], together: RunFolder, place: Path) -> None:
    """Starts a torchrun on each, in a folder of its own: they share no file but the images."""
    port, processes, folders = free_port(), [], []
    for rank, machine in enumerate(machines):
        command = [
            *(*machine.within, sys.executable, *TORCHRUN, "--nnodes", 2, "--node_rank", rank, "--nproc_per_node", 1),
            *("--master_addr", machines[0].address, "--master_port", port, "--local_addr", machine.address),
            *(*WOOF, *words, "--trainer.num_nodes", 2),
        ]
        folders.append(place_for(place / f"node-{rank}"))
        run = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
        processes.append(Process(["-c", run, *command], folders[-1], fresh=True, **dict(machine.variables)))
    ended = [process.wait() for process in processes]
    assert [one.code for one in ended] == [0, 0], ended
    assert not (folders[1] / "runs").exists()
    assert_equal(run_in(folders[0]), together)


def test_slurm_s_signal_saves_and_the_job_goes_on(words: list[object], tmp_path: Path) -> None:
    """srun's variables number the processes; the signal goes to all of them."""
    whole = trained(tmp_path / "whole", [*words, "--trainer.max_epochs", 5], 2)
    words = [*words, "--trainer.max_epochs", 5, "--resume"]
    cut = Together(tmp_path / "cut", words, 2, apart=True, slurm=True)
    run = run_in(tmp_path / "cut" / "node-0")
    assert cut.processes[0].wait_until(lambda: run.metrics.exists() and len(rows(run)) >= 4)
    for process in cut.processes:
        process.send(signal.SIGUSR1)
    assert [one.code for one in cut.wait()] == [138, 138]
    assert not list(tmp_path.rglob("hpc_ckpt*")), "there is one checkpoint to resume from, the run's own"
    again = Together(tmp_path / "cut", words, 2, apart=True, slurm=True).wait()
    assert [one.code for one in again] == [0, 0], again
    assert_equal(run, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="a script of bash")
@pytest.mark.parametrize(("code", "requeued"), [(138, "requeue 4711\n"), (0, ""), (2, "")])
def test_the_script_requeues_the_job_after_the_signal_alone(code: int, requeued: str, tmp_path: Path) -> None:
    for name, text in (("srun", f'echo "$@" > asked\nexit {code}'), ("scontrol", 'echo "$@" >> requeued')):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    call = f"import subprocess, sys; sys.exit(subprocess.call(['bash', {str(SLURM_SCRIPT)!r}]))"
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert Process(["-c", call], tmp_path, PATH=path, SLURM_JOB_ID="4711").wait().code == code
    told = tmp_path / "requeued"
    assert (told.read_text(encoding="utf-8") if told.exists() else "") == requeued
    assert "--resume" in (tmp_path / "asked").read_text(encoding="utf-8")


def test_a_port_that_is_taken_is_named(words: list[object], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*WOOF, *words, "--trainer.devices", 2]
        ended = Process(command, place_for(tmp_path), fresh=True, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)).wait()
    assert ended.code == 2, ended
    assert f"port {port} is taken" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("others", "named"),
    [(["--model.lr", 0.5], "model.lr is 0.005 and 0.5"), (["--data.image_size", 40], "data.image_size is 32 and 40")],
)
def test_different_commands_end_all_with_one_message(
    others: list[object], named: str, words: list[object], tmp_path: Path
) -> None:
    first, second = Together(tmp_path, [words, [*words, *others]], 2, apart=True).wait()
    assert [first.code, second.code] == [2, 2], (first, second)
    assert first.err.count("processes 0 and 1 differ") == 1
    assert named in first.err
    assert second.err == ""
