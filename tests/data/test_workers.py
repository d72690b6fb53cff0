"""A dead loading process is told where it does no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from woof_lightning.data.workers import report_dead_workers_while_waiting

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="a system without SIGCHLD")


def loader() -> DataLoader[Any]:
    return DataLoader(torch.arange(100.0), num_workers=1, timeout=60)  # type: ignore[arg-type]


def die_while_busy(batches: Any) -> None:
    """Kills the worker while the main thread does something else than wait for it."""
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
    assert len(list(loader())) == 100  # Another loader's workers are alive.


def test_pytorch_tells_a_death_anywhere() -> None:
    """See DeathReportedWhileWaiting: the day this fails it can go."""
    code = (
        "from tests.data.test_workers import die_while_busy, loader\n"
        "batches = iter(loader())\n"
        "next(batches)\n"
        "try:\n"
        "    die_while_busy(batches)\n"
        "except RuntimeError as error:\n"
        "    print('told while busy')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert "told while busy" in done.stdout, done.stderr
