"""Workers in processes of their own: their turns, their ends, and what they used."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from woof_lightning.errors import UserError
from woof_lightning.measure import process
from woof_lightning.measure.process import WorkerProcess, check_system, ended_on_failure
from woof_lightning.measure.worker import peak_rss_mb, turn_of

pytestmark = pytest.mark.process


def worker(
    name: str = "one",
    *,
    in_turns: bool = False,
    terminal: bool = False,
    variables: dict[str, str] | None = None,
    **job: Any,
) -> WorkerProcess:
    job |= {"name": name}
    return WorkerProcess(
        "tests.measure.noting", job, name=name, in_turns=in_turns, terminal=terminal, variables=variables
    )


def alive(worker: WorkerProcess) -> bool:
    return Path(f"/proc/{worker._process.pid}").exists()


def test_a_worker_works_when_it_has_the_turn_and_only_then(tmp_path: Path) -> None:
    log = tmp_path / "log"
    one, two = (worker(name, in_turns=True, slices=2, log=str(log)) for name in ("one", "two"))
    for each in (one, two):
        each.wait_for_turn()
    assert not log.exists()
    for each in (two, one, one, two):
        each.give_turn()
        each.wait_for_turn()
        lines = log.read_text(encoding="utf-8").splitlines()
        assert lines[-1].split()[0] == each.name
    assert lines == ["two 0", "one 0", "one 1", "two 1"]
    for each in (one, two):
        each.give_turn()
        each.finish()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot bind to cores")
def test_a_turn_binds_to_the_cores(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    bound = worker(in_turns=True, slices=1, log=str(tmp_path / "log"), cores=[core])
    bound.wait_for_turn()
    for _ in range(2):
        bound.give_turn()
        if _ == 0:
            bound.wait_for_turn()
    assert bound.finish()[0]["one_core"] == 1


def test_values_and_used_time_come_back() -> None:
    values, used_s = worker(works_s=0.5).finish()
    assert 0.5 <= used_s < 5
    # It starts after the job was written, and this process waits for nothing before.
    assert 0 < values["started_s"] < 30
    assert values["tty"] == 0


def test_the_used_time_of_a_running_worker_is_known(tmp_path: Path) -> None:
    running = worker(in_turns=True, slices=1, log=str(tmp_path / "log"), works_s=0.5)
    running.wait_for_turn()
    assert 0.45 <= running.used_s() < 5
    running.kill()
    assert running.used_s() == 0


def test_a_terminal_is_one() -> None:
    assert worker(terminal=True).finish()[0]["tty"] == 1


def test_much_output_does_not_block() -> None:
    worker(prints=3_000_000).finish()


def test_a_failure_is_told_with_its_output() -> None:
    with pytest.raises(RuntimeError, match="measurement of odd ended with exit code 1:\nooo") as failed:
        worker("odd", fails="no luck", prints=10_000).finish()
    assert str(failed.value).endswith("no luck\n")
    assert len(str(failed.value)) < 5000


def test_a_worker_that_ends_before_its_turn_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="measurement of odd ended with exit code 1"):
        worker("odd", in_turns=True, fails="no luck").wait_for_turn()
    early = worker("early", in_turns=True, slices=0, log=str(tmp_path / "log"))
    early.wait_for_turn()
    early.give_turn()
    with pytest.raises(RuntimeError, match="the measurement of early ended early"):
        early.wait_for_turn()


def test_a_worker_that_takes_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WAIT_AT_MOST_S", 1.0)
    began_s = time.monotonic()
    with pytest.raises(RuntimeError, match="exit code -9"):
        worker(waits_s=600).finish()
    assert time.monotonic() - began_s < 60


def test_a_failure_of_the_block_ends_all_and_leaves_nothing() -> None:
    workers = [worker(name, waits_s=600) for name in ("one", "two")]
    workers[0].kill()
    with pytest.raises(KeyboardInterrupt), ended_on_failure(workers):
        raise KeyboardInterrupt
    assert not any(alive(each) for each in workers)
    assert not any(Path(each._folder.name).exists() for each in workers)


def test_no_failure_ends_nobody() -> None:
    running = worker(waits_s=0.5)
    with ended_on_failure([running]):
        pass
    assert running.finish()[0]["tty"] == 0


def test_a_worker_whose_parent_is_gone_ends() -> None:
    (done_read, done), (go, go_write) = os.pipe(), os.pipe()
    os.close(go_write)
    turn = turn_of((done, go), ())
    assert turn is not None
    with pytest.raises(RuntimeError, match="the measuring process has ended"):
        turn()
    assert os.read(done_read, 1) == b"."
    for end in (done_read, done, go):
        os.close(end)


def test_a_system_that_cannot_measure_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_system()
    monkeypatch.setitem(sys.modules, "resource", None)
    with pytest.raises(UserError, match="by Python's resource, which"):
        check_system()
    monkeypatch.delattr("os.wait4")
    monkeypatch.setitem(sys.modules, "pty", None)
    with pytest.raises(UserError, match="by Python's os.wait4, pty, resource, which"):
        check_system()


def test_the_peak_of_memory_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    block = bytearray(300_000_000)
    block[::4096] = b"x" * len(block[::4096])
    held_mb = peak_rss_mb()
    assert held_mb > 300
    del block
    assert peak_rss_mb() == pytest.approx(held_mb, rel=0.01)
    monkeypatch.setattr("woof_lightning.measure.worker.Path", lambda _: Path("/none"))
    # Without /proc, what the system says of the process: the same to a few percent.
    assert peak_rss_mb() == pytest.approx(held_mb, rel=0.1)
