"""A loading process that died is told while the training process waits for a batch, and nowhere else."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from torch.utils.data import dataloader
from torch.utils.data._utils import signal_handling

LOOK_AGAIN_S = 0.1
# What runs while the loader waits for a batch.
WAITS = dataloader._MultiProcessingDataLoaderIter._try_get_data.__code__


class ToldWhileWaiting:
    """A handler of SIGCHLD that raises PyTorch's error about a dead worker where nothing is held.

    PyTorch's own raises it wherever the main thread is (https://github.com/pytorch/pytorch/pull/3474). Where that has
    just taken a lock, such as that of the queue through which workers get their work, the lock is never given back, and
    the process hangs when it ends its loaders.

    Args:
        handler: PyTorch's.
        patience_s: So long an error is kept; then the loader's own time-out tells.
    """

    def __init__(self, handler: Callable[[int, FrameType | None], Any], patience_s: float) -> None:
        self.handler = handler
        self.patience_s = patience_s
        self._error: RuntimeError | None = None
        self._until_s = 0.0

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Raises at once, or looks again a moment later."""
        try:
            self.handler(signum, frame)  # It tells of a death once.
        except RuntimeError as error:
            self._error, self._until_s = error, time.monotonic() + self.patience_s
        if self._error is None:
            return
        if waits_for_a_dead_worker(frame):
            told, self._error = self._error, None
            raise told
        if time.monotonic() > self._until_s:
            self._error = None
            return
        again = threading.Timer(LOOK_AGAIN_S, os.kill, (os.getpid(), signum))
        again.daemon = True
        again.start()


def waits_for_a_dead_worker(frame: FrameType | None) -> bool:
    """Whether the main thread, which stands at this frame, waits for batches of workers of which one is dead."""
    while frame is not None:
        if frame.f_code is WAITS:
            return not all(worker.is_alive() for worker in frame.f_locals["self"]._workers)
        frame = frame.f_back
    return False


def tell_dead_workers_while_waiting(patience_s: float) -> None:
    """Puts the handler in the place of PyTorch's, where this is the main thread of a system that has SIGCHLD."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return
    signal_handling._set_SIGCHLD_handler()
    handler = signal.getsignal(signal.SIGCHLD)
    if callable(handler) and not isinstance(handler, ToldWhileWaiting):
        signal.signal(signal.SIGCHLD, ToldWhileWaiting(handler, patience_s))
