"""Loading processes: their signals, their deaths, and the shared memory that they need."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from torch.utils.data import dataloader
from torch.utils.data._utils import signal_handling

from woof_lightning.data.config import DataConfig
from woof_lightning.errors import UserError

BATCHES_AHEAD_PER_WORKER = 2
# A batch that takes longer will never come.
WORKER_TIMEOUT_S = 300
LOOK_AGAIN_S = 0.1
# What runs while the loader waits for a batch.
WAITS = dataloader._MultiProcessingDataLoaderIter._try_get_data.__code__


def worker_options(count: int) -> dict[str, Any]:
    """Returns the DataLoader arguments for a number of loading processes; 0 loads in the training process."""
    if count == 0:
        return {"num_workers": 0}
    report_dead_workers_while_waiting(WORKER_TIMEOUT_S)
    return {
        "num_workers": count,
        "persistent_workers": True,
        "prefetch_factor": BATCHES_AHEAD_PER_WORKER,
        # Without SIGCHLD, PyTorch looks for dead workers every 5 s, but only if it has no time limit for a batch.
        "timeout": WORKER_TIMEOUT_S if hasattr(signal, "SIGCHLD") else 0,
        "worker_init_fn": leave_stopping_to_the_trainer,
    }


def leave_stopping_to_the_trainer(_: int) -> None:
    """Keeps a worker alive after the signals that let the training process finish its step.

    A terminal sends Ctrl-C to all processes, and schedulers send SIGTERM to all. SIGTERM from the training process
    itself still ends the worker: that is how Python ends one that hangs.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # Other systems do not say who sent a signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=end_when_the_parent_says_so, daemon=True).start()


def end_when_the_parent_says_so() -> None:
    """Waits for SIGTERM from the parent process and ignores SIGTERM from others."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


class DeathReportedWhileWaiting:
    """A handler of SIGCHLD that raises PyTorch's error about a dead worker only while no lock is held.

    PyTorch's own handler raises wherever the main thread is (https://github.com/pytorch/pytorch/pull/3474). If that
    thread has just taken a lock, such as that of the queue that feeds the workers, the lock is never released, and the
    process hangs when it ends its loaders.

    Args:
        handler: PyTorch's handler.
        patience_s: How long an error is kept; after that the loader's own time-out reports it.
    """

    def __init__(self, handler: Callable[[int, FrameType | None], Any], patience_s: float) -> None:
        self.handler = handler
        self.patience_s = patience_s
        self._error: RuntimeError | None = None
        self._until_s = 0.0

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Raises the error if the main thread waits for a batch; looks again a moment later if not."""
        try:
            self.handler(signum, frame)  # It reports a death once.
        except RuntimeError as error:
            self._error, self._until_s = error, time.monotonic() + self.patience_s
        if self._error is None:
            return
        if waits_for_a_dead_worker(frame):
            found, self._error = self._error, None
            raise found
        if time.monotonic() > self._until_s:
            self._error = None
            return
        again = threading.Timer(LOOK_AGAIN_S, os.kill, (os.getpid(), signum))
        again.daemon = True
        again.start()


def waits_for_a_dead_worker(frame: FrameType | None) -> bool:
    """Returns whether the main thread, which is at this frame, waits for batches from a loader with a dead worker."""
    while frame is not None:
        if frame.f_code is WAITS:
            return not all(worker.is_alive() for worker in frame.f_locals["self"]._workers)
        frame = frame.f_back
    return False


def report_dead_workers_while_waiting(patience_s: float) -> None:
    """Replaces PyTorch's SIGCHLD handler; does nothing outside the main thread or on systems without SIGCHLD."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return
    signal_handling._set_SIGCHLD_handler()
    handler = signal.getsignal(signal.SIGCHLD)
    if callable(handler) and not isinstance(handler, DeathReportedWhileWaiting):
        signal.signal(signal.SIGCHLD, DeathReportedWhileWaiting(handler, patience_s))


def worker_problem(error: BaseException) -> UserError | None:
    """Returns what to do about a worker that died or hangs; None for any other error. Workers that hang are killed."""
    text = str(error)
    if "DataLoader timed out" in text:
        for worker in multiprocessing.active_children():  # A worker that hangs would keep this process from ending.
            worker.kill()
        return UserError(
            f"no batch came from the loading processes in {WORKER_TIMEOUT_S} s: a slow or vanished disk, or a worker "
            "that hangs; try data.num_workers 0 to see its error"
        )
    if "DataLoader worker" not in text and not _came_while_waiting(error):
        return None
    first = text.partition("\n")[0]
    return UserError(
        f"a loading process died ({first}): most often memory ran out, or shared memory (/dev/shm) did; lower "
        "data.num_workers or data.batch_size, enlarge /dev/shm (docker run --shm-size=1g), or set data.num_workers 0"
    )


def _came_while_waiting(error: BaseException) -> bool:
    """Returns whether a connection to a worker broke, as when it dies in the middle of handing over a batch."""
    frames = traceback.walk_tb(error.__traceback__) if isinstance(error, (ConnectionError, EOFError)) else ()
    return any(frame.f_code is WAITS for frame, _ in frames)


def check_shared_memory(config: DataConfig, folder: Path = Path("/dev/shm")) -> None:
    """Raises a UserError if the workers' batches would not fit into shared memory.

    Workers hand batches over through /dev/shm. If it is too small (64 MB in a default container), they die with a bus
    error.

    Args:
        config: The settings of the data.
        folder: The folder of the shared memory. If it does not exist, nothing is checked.
    """
    if not folder.is_dir():
        return
    image_bytes = 3 * config.image_size**2
    batches = config.worker_count * BATCHES_AHEAD_PER_WORKER + 1
    needed_mb = batches * max(config.batch_size, config.eval_batch_size) * image_bytes / 1e6
    free_mb = shutil.disk_usage(folder).free / 1e6
    if config.worker_count and needed_mb > free_mb:
        raise UserError(
            f"data.num_workers is {config.worker_count}: their batches need about {needed_mb:.0f} MB of shared memory, "
            f"but {folder} has {free_mb:.0f} MB free. Enlarge it (docker run --shm-size=1g), lower data.num_workers "
            "or data.batch_size, or set data.num_workers 0"
        )
