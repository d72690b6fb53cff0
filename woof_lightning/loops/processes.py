"""One process for each device of a loop: starts them, checks that they are there, and joins them."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist

from woof_lightning.errors import SIGNAL_EXIT_CODE, USER_ERROR_EXIT_CODE, CommonError, StoppedBySignal
from woof_lightning.loops.experiment import TrainerConfig
from woof_lightning.recipe.processes import problem_among
from woof_lightning.resources import usable_cores

# How torchrun, and whoever starts processes like it, tells a process its place.
WORLD_SIZE, LOCAL_WORLD_SIZE, RANK, LOCAL_RANK = "WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK"
THREADS = "OMP_NUM_THREADS"
# The process that started the others, which do not outlive it.
LAUNCHER = "WOOF_LAUNCHER"
PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1")
LOOK_EVERY_S = 1.0


def are_started(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns whether the processes of a training have been started, and this is one of them.

    Args:
        environment: The environment variables.
    """
    return WORLD_SIZE in environment and RANK in environment


def check_started(trainer: TrainerConfig, environment: Mapping[str, str] = os.environ) -> None:
    """Checks that as many processes were started as there are devices.

    Args:
        trainer: The trainer's settings.
        environment: The environment variables.

    Raises:
        CommonError: If not, or if they are on several machines.
    """
    started = int(environment.get(WORLD_SIZE, 1))
    on_this_machine = int(environment.get(LOCAL_WORLD_SIZE, started))
    if trainer.device_count == 1 and "TORCHELASTIC_RUN_ID" not in environment:
        return  # A shell within another program's job has its variables, too.
    if started != on_this_machine:
        raise CommonError(
            f"{started} processes were started (WORLD_SIZE), {on_this_machine} of them on this machine "
            "(LOCAL_WORLD_SIZE): woof loop takes the devices of one machine; woof fit takes several machines"
        )
    if started != trainer.device_count:
        raise CommonError(
            f"trainer.devices is {trainer.devices}, but {started} processes were started (WORLD_SIZE): expected one "
            f"for each device; set --trainer.devices {started}, or give torchrun --nproc_per_node "
            f"{trainer.device_count}"
        )


def launch(count: int, words: Sequence[str]) -> None:
    """Runs a command of `woof` in several processes, as torchrun does, and waits for them.

    If one fails, the others are ended.

    Args:
        count: Number of processes.
        words: The command, without `woof`.

    Raises:
        SystemExit: If a process failed, with the exit code of the first one that did.
        StoppedBySignal: If a signal ended this process or one of the others.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        signals_to_handle=",".join(name for name in PASSED_ON if hasattr(signal, name)),
    )
    environment = {THREADS: os.environ.get(THREADS, str(max(1, usable_cores() // count))), LAUNCHER: str(os.getpid())}
    with torchrun_silent_within(environment):
        try:
            elastic_launch(config, sys.executable)("-m", "woof_lightning", *words)
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            raise failure_of(codes) from None
        except SignalException as error:
            if error.sigval == signal.SIGINT:  # The first process has told it.
                raise SystemExit(SIGNAL_EXIT_CODE + error.sigval) from None
            raise StoppedBySignal(error.sigval, saved=False) from None


def failure_of(codes: Mapping[int, int]) -> SystemExit | StoppedBySignal:
    """Returns what to raise after processes have failed.

    Args:
        codes: The exit codes of those that did not end well, by their numbers. A negative one is the signal that ended
            the process.
    """
    # Torch ends the others by SIGTERM, and one that has lost the others ends with USER_ERROR_EXIT_CODE. Neither is the
    # cause if there is another.
    rank = min(codes, key=lambda rank: (codes[rank] == -signal.SIGTERM, codes[rank] == USER_ERROR_EXIT_CODE, rank))
    code = codes[rank]
    if code >= 0:
        return SystemExit(code)
    return StoppedBySignal(-code, saved=False, process=None if code == -signal.SIGTERM else rank)


@contextmanager
def torchrun_silent_within(environment: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables during the block, keeps torchrun's log silent, and restores its signal handlers.

    Args:
        environment: The variables.
    """
    before = dict(os.environ)
    handlers = {number: signal.getsignal(number) for name in PASSED_ON if (number := getattr(signal, name, None))}
    log = logging.getLogger("torch.distributed.elastic")
    propagates, nowhere = log.propagate, logging.NullHandler()
    log.propagate = False
    log.addHandler(nowhere)
    os.environ.update(environment)
    try:
        yield
    finally:
        log.propagate = propagates
        log.removeHandler(nowhere)
        os.environ.clear()
        os.environ.update(before)
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextmanager
def joined(trainer: TrainerConfig) -> Iterator[None]:
    """Joins the processes of a training for the block; does nothing for one device.

    Args:
        trainer: The trainer's settings.

    Raises:
        UserError: If another process has ended, or their port is taken.
    """
    if trainer.device_count == 1:
        yield
        return
    end_with_launcher()
    if trainer.on_gpu:
        torch.cuda.set_device(int(os.environ[LOCAL_RANK]))
    try:
        dist.init_process_group("nccl" if trainer.on_gpu else "gloo")
        yield
    except RuntimeError as error:
        problem = problem_among(trainer.device_count, error)
        if problem is None:
            raise
        raise problem from error
    if dist.is_initialized():  # Accelerate ends it itself.
        dist.destroy_process_group()


def end_with_launcher(environment: Mapping[str, str] = os.environ) -> None:
    """Ends this process once the one that started it is gone, even if it was killed. torchrun does not see to that.

    Args:
        environment: The environment variables.
    """
    launcher = int(environment.get(LAUNCHER, 0))

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(LOOK_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)

    if launcher and hasattr(os, "fork"):  # Windows keeps the number of a parent that is gone.
        threading.Thread(target=watch, daemon=True).start()
