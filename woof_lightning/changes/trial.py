"""Runs a program of the gallery in a process forked from one that has imported everything, and notes all it does."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import runpy
import sys
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from woof_lightning.changes.shared import environment_of, free_port
from woof_lightning.changes.trace import Trace

if TYPE_CHECKING:  # Windows does not have it.
    from multiprocessing.context import ForkProcess

# What the programs import; a forked process need not import it again.
IMPORTED = (
    *("lightning.pytorch", "lightning.fabric", "accelerate", "ignite.handlers", "ignite.metrics"),
    *("fastai.learner", "fastai.metrics", "fastai.callback.tracker", "fastai.losses"),
    "torch.utils.tensorboard",
)
TIMEOUT_S = 60.0
KILLED_EXIT_CODE = 70
CHECKPOINTS = (".ckpt", ".bin", ".safetensors", ".pkl", ".pt", ".pth")


@dataclass
class Outcome:
    """What a program did.

    Args:
        states: What it trained: the state_dict of each object that it returned, by the object's name.
        metrics: The values of each tag in its events, in their order.
        events: What happened, in its order, as Trace records it.
        warnings: The texts of its warnings, each once.
        error: Type and message of the error that ended it; empty without one.
        steps: The number of optimizer steps.
        saved_bytes: The size of its checkpoint.
        lost: Whether that error says that another process is gone.
        ended: Whether it came to its end, with or without an error. A program that was killed did not.
    """

    states: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    steps: int = 0
    saved_bytes: int = 0
    lost: bool = False
    ended: bool = False


def run_program(
    file: Path, folder: Path, *, resume: bool = False, kill_after: int | None = None, processes: int = 1
) -> Outcome:
    """Runs a program in forked processes and returns what the first of them did.

    Args:
        file: The program.
        folder: For its events and its checkpoint.
        resume: Whether it resumes.
        kill_after: Kill it after so many optimizer steps.
        processes: The number of processes that train together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    context = multiprocessing.get_context("fork")
    with TemporaryDirectory() as place:
        results = [Path(place, str(rank)) for rank in range(processes)]
        started = []
        for rank, result in enumerate(results):
            environment = environment_of(rank, processes, port) if processes > 1 else {}
            arguments = (file, folder, resume, kill_after, result, environment)
            started.append(context.Process(target=_child, args=arguments))
            started[-1].start()
        outcomes = [_outcome_of(process, result) for process, result in zip(started, results, strict=True)]
    outcome = outcomes[0]
    # If one process fails, the others end with an error that only says that they have lost it.
    outcome.error = next((other.error for other in outcomes if other.error and not other.lost), outcome.error)
    outcome.metrics = metrics_in(folder)
    outcome.saved_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.suffix in CHECKPOINTS)
    return outcome


def _outcome_of(process: ForkProcess, result: Path) -> Outcome:
    """Waits for a process and returns what it did."""
    process.join(TIMEOUT_S)
    if process.is_alive():
        process.kill()
        process.join()
        return Outcome(error=f"Timeout: it ran for more than {TIMEOUT_S:g} s")
    if not result.exists():
        killed = process.exitcode == KILLED_EXIT_CODE
        return Outcome(error="" if killed else f"Exit: the process ended with exit code {process.exitcode}")
    outcome: Outcome = torch.load(result, weights_only=False)
    return outcome


def _child(
    file: Path, folder: Path, resume: bool, kill_after: int | None, result: Path, environment: dict[str, str]
) -> None:
    with (folder / "output.txt").open("a", encoding="utf-8") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ |= environment
    torch.set_num_threads(1)
    outcome = Outcome()

    def stepped(steps: int) -> None:
        if steps == kill_after:
            os._exit(KILLED_EXIT_CODE)

    trace = Trace(stepped)
    with warnings.catch_warnings(record=True) as caught, noting_logged_warnings() as logged, trace.recording():
        warnings.simplefilter("always")
        try:
            trained = runpy.run_path(str(file))["train"](folder, resume)
            outcome.states = {name: plain(part.state_dict()) for name, part in trained.items()}
        except BaseException as error:
            traceback.print_exc()
            outcome.error = f"{type(error).__name__}: {error}"
            outcome.lost = isinstance(error, RuntimeError) and "gloo" in str(error)
    outcome.events, outcome.steps, outcome.ended = trace.events, trace.steps, True
    texts = [*(str(one.message) for one in caught), *logged]
    outcome.warnings = list(dict.fromkeys(text.replace(str(folder), "FOLDER") for text in texts))
    torch.save(outcome, result)
    sys.stdout.flush()
    # Not sys.exit: what multiprocessing and loggers do at the end would take half a second.
    os._exit(0)


@contextlib.contextmanager
def noting_logged_warnings() -> Any:
    """Yields a list of the warnings that libraries write to their loggers within the block."""
    found: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Noting(logging.WARNING)
    loggers = [logging.getLogger(name) for name in (None, "lightning.pytorch", "lightning.fabric", "accelerate")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield found
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def plain(state: Any) -> Any:
    """Returns a state_dict without the names that wrappers put before those of the net's weights, on the CPU."""
    if isinstance(state, dict):
        return {key.removeprefix("module.") if isinstance(key, str) else key: plain(v) for key, v in state.items()}
    if isinstance(state, (list, tuple)):
        return [plain(part) for part in state]
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().clone()
    return state if isinstance(state, (int, float, str, bool, type(None))) else repr(type(state))


def metrics_in(folder: Path) -> dict[str, list[float]]:
    """Returns the values of each tag in the TensorBoard events below a folder, in the order they were written."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    found: dict[str, list[float]] = {}
    for file in sorted(folder.rglob("*tfevents*"), key=lambda file: file.name):
        for event in LegacyEventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append(value.simple_value)
    return found


def import_everything() -> None:
    """Imports what the programs import, so that each forked process starts at once."""
    import importlib

    with warnings.catch_warnings():
        # fastai 2.8 uses torch.jit.script, of which torch 2.14 warns.
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
        for module in IMPORTED:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
