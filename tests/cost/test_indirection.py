"""What lies between a person's step and PyTorch is counted as it is."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.ways import each, needs
from woof_lightning.cost import indirection as counts
from woof_lightning.cost.indirection import indirection
from woof_lightning.cost.job import Job
from woof_lightning.cost.ready import Work
from woof_lightning.cost.ways import MEASURED
from woof_lightning.measure.code import framework_names
from woof_lightning.runs.folder import RunFolder


def found(name: str, folder: Path, steps: int = 10, log_every_n_steps: int = 10) -> dict[str, float]:
    run = RunFolder(folder / f"{name}-{steps}")
    run.create()
    work = Work(arch="tiny", image_size=8, batch_size=2, steps=steps + 4, log_every_n_steps=log_every_n_steps)
    return indirection(Job(way=name, warmup=2, steps=steps), MEASURED[name], work.experiment(), run)


# A framework that calls a user's step through three frames of its own, and the optimizer through one.
FRAMEWORK = """
def run(step, n):
    for _ in range(n):
        one(step)

def one(step):
    two(step)

def two(step):
    step()

def optimize(optimizer):
    optimizer.step()
"""


USER = """
def step_of(net, ones, optimize):
    def step():
        net(ones).sum().backward()
        optimize()
    return step
"""


@pytest.fixture
def count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, float]]]:
    """Counts a training of USER's step, with or without FRAMEWORK between; this file is the script."""
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "counted_framework.py").write_text(FRAMEWORK, encoding="utf-8")
    (tmp_path / "counted_user.py").write_text(USER, encoding="utf-8")
    for folder in (place, tmp_path):
        monkeypatch.syspath_prepend(folder)
    framework, user = (importlib.import_module(f"counted_{name}") for name in ("framework", "user"))
    monkeypatch.setattr(counts, "SCRIPTS", (__file__,))
    monkeypatch.setattr(counts, "is_own", (__file__, user.__file__).__contains__)

    def counted(steps: int, *, between: bool) -> dict[str, float]:
        def train(*_: object) -> None:
            net = torch.nn.Linear(1, 1)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            optimize = partial(framework.optimize, optimizer) if between else optimizer.step
            # As a check of the net before the training: no step.
            net(torch.ones(1, 1))
            step = user.step_of(net, torch.ones(1, 1), optimize)
            if between:
                framework.run(step, steps + 4)
                return
            for _number in range(steps + 4):
                step()

        run = RunFolder(tmp_path / f"{steps}-{between}")
        run.create()
        return indirection(Job(way="x", warmup=2, steps=steps), SimpleNamespace(train=train), None, run)  # type: ignore[arg-type]

    yield counted
    for name in ("counted_framework", "counted_user"):
        sys.modules.pop(name)


def test_calls_and_frames_are_those_of_the_framework(count: Callable[..., dict[str, float]]) -> None:
    short, long = (count(steps, between=True) for steps in (5, 50))
    alone = count(5, between=False)
    assert short == long, "A step's calls do not depend on how many steps are counted."
    # one, two and optimize; run is entered before.
    assert short["calls"] - alone["calls"] == 3
    assert (short["framework_files"], alone["framework_files"]) == (1, 0)
    # run, one and two; to the optimizer also optimize.
    assert (short["frames_to_step"], alone["frames_to_step"]) == (3, 0)
    assert (short["frames_to_optimizer"], alone["frames_to_optimizer"]) == (4, 0)
    # train, run, one, two, step; without the framework train and step.
    assert (short["traceback_frames"], short["traceback_user_frames"]) == (5, 2)
    assert (alone["traceback_frames"], alone["traceback_user_frames"]) == (2, 2)


def test_only_what_is_called_while_it_counts_counts() -> None:
    counter = counts.CallCounter()
    calls(2)
    counter.start()
    calls(3)
    counter.stop()
    calls(4)
    assert counter.calls[__file__] == 1 + 3


def calls(number: int) -> None:
    for _ in range(number):
        nothing()


def nothing() -> None: ...


def test_a_stack_is_read_from_the_outermost_frame() -> None:
    def inner() -> list[str]:
        return counts.files_of(sys._getframe())

    outer = counts.files_of(sys._getframe())
    assert inner() == [*outer, __file__]
    assert outer[0] != __file__


def test_parts_of_a_stack() -> None:
    script, user, framework = counts.SCRIPTS[0], f"{counts.OWN}/lit/classifier.py", "/site-packages/lightning/x.py"
    torch_file, harness = f"{counts.TORCH}/nn/module.py", counts.HARNESS[0]
    stack = ["/usr/main.py", script, framework, script, user, framework, user, torch_file, harness, torch_file]
    assert counts.below_the_script(stack) == [script, user, framework, user, torch_file, harness, torch_file]
    # Only what lies below the net: torch above it stays.
    assert counts.down_to_the_net([torch_file, user, torch_file, harness]) == [torch_file, user]
    assert counts.before_torch_optim([user, torch_file, f"{counts.TORCH}/optim/sgd.py", user]) == [user, torch_file]
    assert counts.before_torch_optim([user]) == [user]
    assert [counts.is_own(file) for file in (user, script, harness, framework, torch_file)] == [
        True,
        True,
        *[False] * 3,
    ]


@pytest.mark.parametrize("name", ["bare", *each(["fabric", "woof_fit"])])
def test_calls_are_counted_per_step(name: str, tmp_path: Path) -> None:
    """Without reports, whose writers wait for other threads for a time that differs."""
    found(name, tmp_path, 9, 1000)  # Some things are imported or remembered at the first training only.
    short, long = (found(name, tmp_path, steps, 1000) for steps in (10, 30))
    assert short == long


def test_a_loop_by_hand_has_nothing_between(tmp_path: Path) -> None:
    bare = found("bare", tmp_path)
    assert bare["frames_to_step"] == bare["frames_to_optimizer"] == 0
    assert bare["traceback_frames"] == bare["traceback_user_frames"]


def test_lightning_has_more_between_than_fabric(tmp_path: Path) -> None:
    fabric, lightning = (found(name, tmp_path) for name in ("fabric", "woof_fit"))
    assert 0 == fabric["frames_to_step"] < lightning["frames_to_step"]
    assert 0 < fabric["frames_to_optimizer"] < lightning["frames_to_optimizer"]
    assert fabric["calls"] < lightning["calls"]
    assert lightning["framework_files"] > 0
    assert 0 < lightning["traceback_user_frames"] < lightning["traceback_frames"]


@needs("ignite")
def test_names_of_a_framework_are_those_it_brings() -> None:
    text = (
        "from ignite.engine import Engine, Events\n\n"
        "engine = Engine(print)\nengine.run([1])\nengine.on(Events.STARTED)\nother.cat()\n"
    )
    assert framework_names(text, ("ignite",)) == {"Engine", "Events", "STARTED", "run", "on"}
