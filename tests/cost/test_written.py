"""What a person writes: every line that a way runs belongs to one behaviour, and nothing else is counted."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.conftest import Woof
from tests.ways import each
from woof_lightning.cost.written import (
    BEHAVIOURS,
    OUTSIDE,
    PACKAGE,
    WRITTEN,
    behaviour_by_line,
    cells,
    code_values,
    definitions,
    files_of,
    lines_of,
    parts_of,
)
from woof_lightning.loops.ways import LOOPS, REFERENCE, WAYS, WOOF_FIT
from woof_lightning.measure.code import logical_line_starts

TEXT = '''"""A text."""

from __future__ import annotations

if __name__ == "__main__":
    raise SystemExit

import a
import b.c
import effect
from d import e, f

LIMIT = 1
OTHER: int = 2


@e
def first(x):
    """A docstring."""

    def inner():
        return a

    return f(
        LIMIT,
    )


class Whole:
    """A class."""

    def one(self):
        return a

    def two(self):
        return b
'''


def lines_by_behaviour(parts: dict[str, str], text: str = TEXT) -> dict[str, list[str]]:
    """The first line of each logical line that counts, by behaviour."""
    by_line = behaviour_by_line(text, parts)
    found: dict[str, list[str]] = {}
    for line in logical_line_starts(text):
        if line in by_line:
            found.setdefault(by_line[line], []).append(text.splitlines()[line - 1].strip())
    return found


def test_a_line_belongs_to_the_most_specific_part() -> None:
    parts = {"": "loop", "Whole": "logs", "Whole.two": "resume", "first.inner": "bar", "OTHER": "checkpoints"}
    expected = {
        "loop": ["import effect", "from d import e, f", "LIMIT = 1", "@e", "def first(x):", "return f("],
        "bar": ["import a", "def inner():", "return a"],
        "checkpoints": ["OTHER: int = 2"],
        "logs": ["class Whole:", "def one(self):", "return a"],
        "resume": ["import b.c", "def two(self):", "return b"],
    }
    assert lines_by_behaviour(parts) == expected
    assert lines_by_behaviour(dict(reversed(parts.items()))) == expected


def test_what_is_outside_is_subtracted_with_its_imports() -> None:
    assert lines_by_behaviour({"Whole": "logs", "Whole.two": OUTSIDE}) == {
        "logs": ["import a", "class Whole:", "def one(self):", "return a"]
    }
    assert lines_by_behaviour({"first": "bar"}) == {
        "bar": ["import a", "from d import e, f", "@e", "def first(x):", "def inner():", "return a", "return f("]
    }


def test_a_part_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="Whole.three"):
        behaviour_by_line(TEXT, {"Whole.three": "loop"})


# Run by every way or by none, or part of what is trained: see the docstring of `cost/written.py`.
NOT_COUNTED = (
    *("cli/", "data/", "errors.py", "locks.py", "checksums.py", "resources.py", "parity.py", "__init__.py"),
    *("loops/experiment.py", "loops/find.py", "recipe/model.py", "recipe/optim.py", "recipe/config.py"),
    *(
        "recipe/head.py",
        "recipe/loss.py",
        "recipe/weights.py",
        "recipe/averaging.py",
        "recipe/checkpoint.py::normalisation_of",
    ),
    *("runs/config.py", "runs/alone.py", "loops/ways.py", "lit/averaging.py", "lit/devices.py::check_divisible"),
    # Checks of what a user chose, and the data as such.
    *("lit/callbacks/foreign.py", "lit/trainer.py::imitated_precision", "lit/trainer.py::check_accelerator"),
    *("lit/trainer.py::check_precision", "lit/trainer.py::usable_accelerators", "lit/datamodule.py::check_sampler"),
    *(f"lit/datamodule.py::ImagewoofDataModule.{name}" for name in ("__init__", "prepare_data", "setup", "_indexed")),
    "lit/datamodule.py::ImagewoofDataModule.val_dataloader",
    # Several devices, which are not among the behaviours that are compared.
    *("lit/devices.py", "recipe/processes.py", "recipe/shares.py", "loops/processes.py"),
    "lit/datamodule.py::ImagewoofDataModule._device_of_several",
    *("lit/trainer.py::requeued_by_its_script", "lit/trainer.py::WoofTrainer._fit_impl"),
)
# `start` makes a LoopRun for every loop. Lightning as documented takes no more from it than folder and description.
LEFT_UNUSED = {
    "lightning": ("loops/run.py::LoopRun.__init__", "loops/run.py::LoopRun.finish", "runs/metrics.py::MetricsFile."),
}
# Counted without being run here: what an accident, a signal or an unlucky moment needs, and what others call.
ONLY_IN_NEED = {
    "lit/callbacks/stopping.py": ("StopOnSignal._note", "NonFiniteLossGuard._about", "can_save", "step_of", "lr_of"),
    "lit/trainer.py": ("files_of_batch",),
    "lit/recorder.py": (
        *("disk_errors_reported_once.hook", "EventsLogger.save", "MetricsLogger.name", "MetricsLogger.version"),
        "MetricsLogger.log_hyperparams",
    ),
    "lit/progress.py": ("EpochProgress.disable", "EpochProgress.enable", "EpochProgress._batch_bar"),
    # Run at the import, which another test may have done before.
    "lit/callbacks/hooks.py": ("without_idle_step_hooks",),
    # Scripts of the measurement.
    "cost/ways.py": ("woof_fit",),
    "cost/lightnings.py": ("trainer_options",),
}


def ran_in(woof: Woof, way: str, small_fit: list[str]) -> set[tuple[str, int]]:
    """The functions that a run and its resumption call: their files in the package and their first lines."""
    ran: set[tuple[str, int]] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(str(PACKAGE)) and not frame.f_code.co_name.startswith("<"):
            ran.add((str(Path(file).relative_to(PACKAGE)), frame.f_code.co_firstlineno))

    verb = ["fit"] if way == WOOF_FIT else ["loop", way]
    settings = ["--model.optimizer=sgd", "--model.schedule=step", "--name=run"]
    for more in (["--trainer.max_epochs=1"], ["--trainer.max_epochs=2", "--resume"]):
        sys.setprofile(note)
        try:
            outcome = woof(*verb, *small_fit, *settings, *more)
        finally:
            sys.setprofile(None)
        assert outcome.code == 0, outcome.err
    return ran


def functions_of(file: str) -> dict[int, str]:
    """The functions of a file, by their first line, which is that of the first decorator."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    lines = {lines_of(node)[0] for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {its_lines[0]: name for name, its_lines in definitions(tree) if its_lines[0] in lines}


# The others take seconds each.
QUICK = (REFERENCE, WOOF_FIT)
SLOWER = each(way for way in WAYS if way not in QUICK)


@pytest.mark.parametrize(
    "way", [*each(QUICK), *(pytest.param(*one.values, marks=(*one.marks, pytest.mark.long)) for one in SLOWER)]
)
def test_what_a_way_runs_is_what_is_counted(way: str, woof: Woof, small_fit: list[str]) -> None:
    ran = ran_in(woof, way, small_fit)
    own = WRITTEN[way]
    passed_over = (*NOT_COUNTED, *LEFT_UNUSED.get(way, ()))
    missing, unused = [], []
    for file in sorted({file for file, _ in ran} | set(files_of(own))):
        counted = behaviour_by_line((PACKAGE / file).read_text(encoding="utf-8"), parts_of(own, file))
        for line, name in functions_of(file).items():
            if (file, line) in ran and line not in counted and not f"{file}::{name}".startswith(passed_over):
                missing.append(f"{file}::{name}")
            if (file, line) not in ran and line in counted and name not in ONLY_IN_NEED.get(file, ()):
                unused.append(f"{file}::{name}")
    assert missing == []
    assert unused == []


@pytest.mark.parametrize("way", each(WAYS))
def test_the_counts_of_the_real_files(way: str) -> None:
    values = code_values(way)
    lines = {name: value for name, value in values.items() if name.startswith("lines_")}
    assert list(lines) == [f"lines_{name}" for name in BEHAVIOURS if (way, name) != (REFERENCE, "bar")]
    assert values["logical_lines"] == sum(lines.values())
    assert {name for name, parts in cells(way).items() if parts is None} == ({"bar"} if way == REFERENCE else set())
    assert all(values[f"lines_{name}"] == 0 for name, parts in cells(way).items() if parts == ())
    assert (values["framework_names"] > 0) == (way != REFERENCE)
    # No line is counted twice, and at most all of the files.
    there = sum(
        len(logical_line_starts((PACKAGE / file).read_text(encoding="utf-8"))) for file in files_of(WRITTEN[way])
    )
    assert 0 < values["logical_lines"] < there


def test_ways_that_share_helpers_share_their_lines() -> None:
    """Every loop but Lightning's and the post's leaves checkpoints and resume to the same code."""
    alike = [parts for way in LOOPS if way not in ("lightning", "hand_rolled") for parts in [WRITTEN[way]]]
    for behaviour in ("checkpoints", "resume"):
        assert len({tuple(sorted(part for part, its in parts.items() if its == behaviour)) for parts in alike}) == 1


def test_a_way_in_which_less_is_built_in_has_more_lines() -> None:
    bare, lightning, woof_fit = (code_values(way) for way in (REFERENCE, "lightning", WOOF_FIT))
    assert lightning["logical_lines"] < bare["logical_lines"] < woof_fit["logical_lines"]
    assert lightning["lines_bar"] == 0 < woof_fit["lines_bar"]
    assert lightning["lines_logs"] < bare["lines_logs"]
    assert 30 < bare["lines_loop"] < 60
    assert lightning["framework_names"] < woof_fit["framework_names"]


def test_every_part_has_a_behaviour() -> None:
    assert {behaviour for parts in WRITTEN.values() for behaviour in parts.values()} == {*BEHAVIOURS, OUTSIDE}
    assert WRITTEN.keys() == WAYS.keys()
