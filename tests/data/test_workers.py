"""A dead loading process is reported while the main thread waits for a batch, and not elsewhere."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, dataloader

from woof_lightning.data.workers import report_dead_workers_while_waiting, worker_problem

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
