"""A dead loading process is reported while the main thread waits for a batch, and not elsewhere."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from woof_lightning.data.workers import report_dead_workers_while_waiting

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
