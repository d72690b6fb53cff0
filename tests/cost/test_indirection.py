"""What lies between a person's step and PyTorch is counted as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ways import each, needs
from woof_lightning.cost.indirection import indirection
from woof_lightning.cost.job import Job
from woof_lightning.cost.ready import Work
from woof_lightning.cost.ways import MEASURED, code_of
from woof_lightning.measure.code import framework_names, logical_lines
from woof_lightning.runs.folder import RunFolder


def found(name: str, folder: Path) -> dict[str, float]:
    run = RunFolder(folder / name)
    run.create()
    work = Work(arch="tiny", image_size=8, batch_size=2, steps=14, log_every_n_steps=10)
    return indirection(Job(way=name, warmup=2, steps=10), MEASURED[name], work.experiment(), run)


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


def test_logical_lines_are_python_s() -> None:
    text = (
        '"""Doc."""\n\n# A comment.\ndef f(a,\n      b):\n    """Doc."""\n    x = 1\n    return (a +\n            x)\n'
    )
    assert logical_lines(text) == 3


@needs("ignite")
def test_names_of_a_framework_are_those_it_brings() -> None:
    text = (
        "from ignite.engine import Engine, Events\n\n"
        "engine = Engine(print)\nengine.run([1])\nengine.on(Events.STARTED)\nother.cat()\n"
    )
    assert framework_names(text, ("ignite",)) == {"Engine", "Events", "STARTED", "run", "on"}


@pytest.mark.parametrize("name", each(["bare", "ignite", "fastai", "lightning", "woof_fit"]))
def test_code_is_counted_from_the_real_files(name: str) -> None:
    counted = code_of(MEASURED[name].way)
    assert counted["logical_lines"] > 30
    assert (counted["framework_names"] > 0) == (name != "bare")
