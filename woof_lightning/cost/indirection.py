"""Counts the Python code between a user's training step and PyTorch: calls, files, frames."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from woof_lightning.cost.job import Job
from woof_lightning.cost.ready import ReadyExperiment
from woof_lightning.cost.ways import MeasuredWay
from woof_lightning.measure.clock import StepClock, ticking
from woof_lightning.runs.folder import RunFolder

TORCH = str(Path(torch.__file__).parent)
PACKAGE = Path(__file__).parents[1]
OWN = str(PACKAGE)
# The files of the measurement itself, which do not count.
HARNESS = tuple(str(PACKAGE / name) for name in ("measure/clock.py", "cost/indirection.py", "cost/worker.py"))
# These files call `train` or `trainer.fit`, as a user's script would.
SCRIPTS = tuple(str(PACKAGE / name) for name in ("cost/ways.py", "cost/features.py"))


class ProbeError(Exception):
    """The error that is raised in the user's step."""


def indirection(job: Job, way: MeasuredWay, experiment: ReadyExperiment, run: RunFolder) -> dict[str, float]:
    """Returns the Python code that a training step goes through.

    Args:
        job: The job: after how many steps to count, and how many.
        way: The way to train.
        experiment: What to train.
        run: The run's folder. A second training makes a folder next to it.

    Returns:
        calls: Python calls per step outside torch and outside this project.
        framework_files: Distinct files that these calls enter, without the standard library's.
        frames_to_step: Frames between the script and the net's forward pass that are not in the user's files.
        frames_to_optimizer: Frames between the script and the optimizer's step that are not in the user's files.
        traceback_frames: Frames in the traceback of an error in the user's step.
        traceback_user_frames: Those of them that are in the user's files.
    """
    counter, to_step, to_optimizer = CallCounter(), list[str](), list[str]()

    def noted(*_: Any) -> None:
        # The net itself, whose modules follow.
        if not to_step:
            to_step[:] = files_of(sys._getframe(1))

    def forget(*_: Any) -> None:
        # Until the count is opened: what came before the first steps may be a check of the net.
        if not to_optimizer:
            to_step.clear()

    def opened() -> None:
        to_optimizer[:] = files_of(sys._getframe(1))
        counter.start()

    clock = StepClock(job.warmup, job.steps, at_start=opened, at_end=counter.stop)
    handles = [register_module_forward_pre_hook(noted)]
    with ticking(clock):
        handles.append(register_optimizer_step_post_hook(forget))  # After the clock, which opens the count.
        way.train(experiment, run)
    for handle in handles:
        handle.remove()
    to_step, to_optimizer = down_to_the_net(below_the_script(to_step)), below_the_script(to_optimizer)
    # Another folder: in the first one, some loops would find a finished training and resume it.
    again = RunFolder(run.path.with_name("traceback"))
    again.create()
    trace = down_to_the_net(below_the_script(traceback_files(way, experiment, again)))
    return {
        "calls": sum(counter.calls.values()) / job.steps,
        "framework_files": float(sum("site-packages" in file for file in counter.calls)),
        "frames_to_step": float(sum(not is_own(file) for file in to_step)),
        "frames_to_optimizer": float(sum(not is_own(file) for file in before_torch_optim(to_optimizer))),
        "traceback_frames": float(len(trace)),
        "traceback_user_frames": float(sum(map(is_own, trace))),
    }


class CallCounter:
    """Counts the Python calls into each file outside torch and outside this project."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def start(self) -> None:
        """Counts from now on, in this thread."""
        sys.setprofile(self._profile)

    def stop(self) -> None:
        """Stops counting."""
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            if not file.startswith((TORCH, OWN)):
                self.calls[file] += 1


def traceback_files(way: MeasuredWay, experiment: ReadyExperiment, run: RunFolder) -> list[str]:
    """Raises an error in the user's second step and returns the files of its traceback, outermost first."""

    def fail(*_: Any) -> None:
        # Not in a check of the net before the training.
        if clock.count > 0:
            raise ProbeError

    clock = StepClock(warmup=1, steps=1)
    handle = register_module_forward_pre_hook(fail)
    try:
        with ticking(clock):
            way.train(experiment, run)
    except ProbeError as error:
        files, trace = [], error.__traceback__
        while trace is not None:
            files.append(trace.tb_frame.f_code.co_filename)
            trace = trace.tb_next
        return files
    finally:
        handle.remove()
    raise RuntimeError("the error did not reach the caller")


def files_of(frame: FrameType | None) -> list[str]:
    """Returns the files of a stack, outermost first."""
    files = []
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return files[::-1]


def below_the_script(files: list[str]) -> list[str]:
    """Returns the part of a stack from the call of `train` or `trainer.fit` on."""
    start = max(place for place, file in enumerate(files) if file in SCRIPTS)
    return files[start:]


def down_to_the_net(files: list[str]) -> list[str]:
    """Returns a stack without the frames of torch and of the measurement at its end."""
    end = len(files)
    while end and (files[end - 1].startswith(TORCH) or files[end - 1] in HARNESS):
        end -= 1
    return files[:end]


def before_torch_optim(files: Iterable[str]) -> list[str]:
    """Returns the part of a stack above the optimizer's step."""
    above = []
    for file in files:
        if file.startswith(f"{TORCH}/optim/"):
            break
        above.append(file)
    return above


def is_own(file: str) -> bool:
    """Returns whether a file belongs to this project but not to the measurement."""
    return file.startswith(OWN) and file not in HARNESS
