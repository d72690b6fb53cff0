"""How much Python lies between a person's training step and PyTorch: calls, files, frames."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from woof_lightning.cost.job import Job
from woof_lightning.cost.ready import ReadyExperiment
from woof_lightning.cost.ways import PACKAGE, MeasuredWay
from woof_lightning.measure.clock import StepClock, ticking
from woof_lightning.runs.folder import RunFolder

TORCH = str(Path(torch.__file__).parent)
OWN = str(PACKAGE)
# The measuring itself.
HARNESS = tuple(str(PACKAGE / "cost" / name) for name in ("clock.py", "indirection.py", "worker.py"))
# Where a person's script would call `train` or `trainer.fit`.
SCRIPTS = tuple(str(PACKAGE / "cost" / name) for name in ("ways.py", "features.py"))


class ProbeError(Exception):
    """The error that is raised in the user's step."""


def indirection(job: Job, way: MeasuredWay, experiment: ReadyExperiment, run: RunFolder) -> dict[str, float]:
    """What a training step passes through.

    Returns:
        calls: Python calls per step outside torch and outside this project's own files.
        framework_files: Distinct files that these calls enter, the standard library's aside.
        frames_to_step: Frames between the script's call and the net's that are not the user's.
        frames_to_optimizer: The same down to the optimizer's step.
        traceback_frames: Frames in the traceback of an error in the user's step.
        traceback_user_frames: Those of them in the user's files.
    """
    counter, stacks = CallCounter(), list[list[str]]()

    def noted(*_: Any) -> None:
        if not stacks:
            stacks.append(files_of(sys._getframe(1)))

    def opened() -> None:
        stacks.append(files_of(sys._getframe(1)))
        counter.start()

    clock = StepClock(job.warmup, job.steps, at_start=opened, at_end=counter.stop)
    handle = register_module_forward_pre_hook(noted)
    with ticking(clock):
        way.train(experiment, run)
    handle.remove()
    to_step, to_optimizer = (below_the_script(stack) for stack in stacks)
    to_step = down_to_the_net(to_step)
    # A folder of its own: some loops would find the first training finished, and resume it.
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
        """Counts no more."""
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            if not file.startswith((TORCH, OWN)):
                self.calls[file] += 1


def traceback_files(way: MeasuredWay, experiment: ReadyExperiment, run: RunFolder) -> list[str]:
    """The files of the frames of an error that is raised in the user's step, outermost first."""

    def fail(*_: Any) -> None:
        raise ProbeError

    handle = register_module_forward_pre_hook(fail)
    try:
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
    """The files of a stack, outermost first."""
    files = []
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return files[::-1]


def below_the_script(files: list[str]) -> list[str]:
    """The part of a stack from the call of `train` or `trainer.fit` on."""
    start = max(place for place, file in enumerate(files) if file in SCRIPTS)
    return files[start:]


def down_to_the_net(files: list[str]) -> list[str]:
    """The part of a stack above the net's own call: without torch's frames, and the harness's, at its end."""
    end = len(files)
    while end and (files[end - 1].startswith(TORCH) or files[end - 1] in HARNESS):
        end -= 1
    return files[:end]


def before_torch_optim(files: Iterable[str]) -> list[str]:
    """The frames above the optimizer's own step."""
    above = []
    for file in files:
        if file.startswith(f"{TORCH}/optim/"):
            break
        above.append(file)
    return above


def is_own(file: str) -> bool:
    """Whether a file is this project's, the harness aside."""
    return file.startswith(OWN) and file not in HARNESS
