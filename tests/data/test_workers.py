"""A dead loading process is reported while the main thread waits for a batch, and not elsewhere."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, dataloader

from woof_lightning.data.config import DataConfig
from woof_lightning.data.workers import (
    LOOK_AGAIN_S,
    WORKER_TIMEOUT_S,
    DeathReportedWhileWaiting,
    check_shared_memory,
    leave_stopping_to_the_trainer,
    report_dead_workers_while_waiting,
    worker_options,
    worker_problem,
)
from woof_lightning.errors import UserError

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="this system has no SIGCHLD"),
]


def loader() -> DataLoader[Any]:
    return DataLoader(torch.arange(100.0), num_workers=1, timeout=60)  # type: ignore[arg-type]


def die_while_busy(batches: Any) -> None:
    """Kills the worker while the main thread does not wait for it."""
    os.kill(batches._workers[0].pid, signal.SIGKILL)
    time.sleep(1)


def test_a_death_is_told_at_the_next_batch() -> None:
    report_dead_workers_while_waiting(patience_s=60)
    batches = iter(loader())
    next(batches)
    die_while_busy(batches)
    start_s = time.monotonic()
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        list(batches)
    assert time.monotonic() - start_s < 20
    assert len(list(loader())) == 100  # The workers of another loader are alive.


@pytest.mark.parametrize(
    ("error", "is_reported"), [(ConnectionResetError(104, "reset by peer"), True), (KeyError(), False)]
)
def test_a_worker_that_dies_while_it_hands_over_a_batch_is_reported(error: Exception, is_reported: bool) -> None:
    class Queue:
        def get(self, timeout: float) -> Any:
            raise error

    waits: Any = dataloader._MultiProcessingDataLoaderIter._try_get_data
    loader_iterator = SimpleNamespace(_data_queue=Queue(), _workers_status=[], _workers=[])
    with pytest.raises(type(error)) as raised:
        waits(loader_iterator)
    assert (worker_problem(raised.value) is not None) == is_reported
    assert worker_problem(type(error)("elsewhere")) is None


class Handler:
    """PyTorch's handler, which reports the death of a worker once."""

    def __init__(self) -> None:
        self.error: RuntimeError | None = None

    def __call__(self, signum: int, frame: Any) -> None:
        assert signum == signal.SIGCHLD
        found, self.error = self.error, None
        if found:
            raise found


@pytest.fixture
def death(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[DeathReportedWhileWaiting, Handler, list[Any], list[bool]]]:
    """The handler, PyTorch's, what was asked to look again later, and whether the main thread waits."""
    later: list[Any] = []
    waits = [False]

    class Timer:
        daemon = False

        def __init__(self, after_s: float, function: Any, arguments: tuple[Any, ...]) -> None:
            later.append((after_s, function, arguments, self))

        def start(self) -> None:
            assert self.daemon, "It must not keep the process from ending."
            later[-1] = later[-1][:3]

    # The handlers of other tests' loaders must not look at this, and nothing else at this clock.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    monkeypatch.setattr("woof_lightning.data.workers.threading", SimpleNamespace(Timer=Timer))
    monkeypatch.setattr("woof_lightning.data.workers.time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr("woof_lightning.data.workers.waits_for_a_dead_worker", lambda _: waits[0])
    now_s[0] = 100.0
    handler = Handler()
    yield DeathReportedWhileWaiting(handler, patience_s=5), handler, later, waits
    signal.signal(signal.SIGCHLD, before)


now_s = [0.0]


def test_no_death_no_error(death: Any) -> None:
    report, _, later, waits = death
    waits[0] = True
    report(signal.SIGCHLD, None)
    assert later == []


def test_a_death_is_raised_at_once_where_the_thread_waits(death: Any) -> None:
    report, handler, later, waits = death
    waits[0] = True
    handler.error = error = RuntimeError("DataLoader worker died")
    with pytest.raises(RuntimeError) as raised:
        report(signal.SIGCHLD, None)
    assert raised.value is error
    assert later == []
    report(signal.SIGCHLD, None)  # Once.


def test_a_death_elsewhere_is_kept_and_looked_at_again(death: Any) -> None:
    report, handler, later, waits = death
    handler.error = RuntimeError("DataLoader worker died")
    report(signal.SIGCHLD, None)
    assert later == [(LOOK_AGAIN_S, os.kill, (os.getpid(), signal.SIGCHLD))]
    now_s[0] += 4.9
    waits[0] = True
    with pytest.raises(RuntimeError, match="worker died"):
        report(signal.SIGCHLD, None)


def test_a_death_is_kept_for_a_while_only(death: Any) -> None:
    report, handler, later, waits = death
    handler.error = RuntimeError("DataLoader worker died")
    report(signal.SIGCHLD, None)
    now_s[0] += 5.1
    report(signal.SIGCHLD, None)
    assert len(later) == 1
    waits[0] = True
    report(signal.SIGCHLD, None)


def test_options_of_a_loader() -> None:
    assert worker_options(0) == {"num_workers": 0}
    found = worker_options(3)
    assert (found["num_workers"], found["persistent_workers"], found["prefetch_factor"]) == (3, True, 2)
    assert found["timeout"] == WORKER_TIMEOUT_S
    assert found["worker_init_fn"] is leave_stopping_to_the_trainer
    assert isinstance(signal.getsignal(signal.SIGCHLD), DeathReportedWhileWaiting)
    before = signal.getsignal(signal.SIGCHLD)
    worker_options(3)
    assert signal.getsignal(signal.SIGCHLD) is before, "It is not wrapped twice."


def test_a_batch_has_no_time_limit_where_pytorch_must_look_for_dead_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGCHLD")
    assert worker_options(1)["timeout"] == 0


def wait_as_a_worker(ready: Any) -> None:
    leave_stopping_to_the_trainer(0)
    ready.set()
    time.sleep(60)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not say who sent a signal")
def test_of_all_who_ask_a_worker_to_end_only_its_parent_is_obeyed() -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    worker = context.Process(target=wait_as_a_worker, args=(ready,))
    worker.start()
    try:
        assert ready.wait(10)
        for name in ("TERM", "INT", "USR1"):
            subprocess.run(["sh", "-c", f"kill -{name} {worker.pid}"], check=True)
        worker.join(0.5)
        assert worker.is_alive()
        worker.terminate()
        worker.join(10)
        assert worker.exitcode == 0
    finally:
        worker.kill()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("DataLoader timed out after 3 seconds", f"no batch came from the loading processes in {WORKER_TIMEOUT_S} s"),
        ("DataLoader worker (pid 3) is killed by signal: Bus error.\nmore", r"died \(DataLoader .* Bus error.\): most"),
        ("something else", None),
    ],
)
def test_what_a_loader_s_error_means(text: str, told: str | None) -> None:
    found = worker_problem(RuntimeError(text))
    assert (found is None) == (told is None)
    if told:
        assert re.search(told, str(found))


def test_the_memory_that_workers_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches ahead for each of 3 workers, and one in use, of the larger size, of bytes."""
    needed = (3 * 2 + 1) * 50 * 3 * 100 * 100
    config = DataConfig(num_workers=3, batch_size=20, eval_batch_size=50, image_size=100)
    free = [needed]
    monkeypatch.setattr("woof_lightning.data.workers.shutil.disk_usage", lambda _: SimpleNamespace(free=free[0]))
    check_shared_memory(config, tmp_path)
    free[0] = needed - 1
    with pytest.raises(UserError, match="data.num_workers is 3: their batches need about 10 MB"):
        check_shared_memory(config, tmp_path)
    check_shared_memory(DataConfig(num_workers=0, batch_size=20, image_size=100), tmp_path)
    check_shared_memory(config, tmp_path / "none")
