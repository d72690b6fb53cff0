"""Searches for NVIDIA's driver are counted a step, from real attempts to open the library."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from contextlib import suppress

import pytest

from woof_lightning.measure.searches import DriverSearches


def look_for(name: str) -> None:
    with suppress(OSError):
        ctypes.CDLL(name)


def test_searches_are_counted_between_steps_after_the_start() -> None:
    searches = DriverSearches(steps=2)
    look_for("libnvidia-ml.so.1")
    searches.stepped()  # Before the start: not counted.
    searches.start()
    look_for("libnvidia-ml.so.1")  # Still in the step that is not counted.
    searches.stepped()
    for found in (1, 2, 5):
        for _ in range(found):
            look_for("libnvidia-ml.so.1")
        look_for("libsomething-else.so.1")
        if found < 5:
            with pytest.raises(RuntimeError, match="expected 2"):
                searches.a_step  # noqa: B018
        searches.stepped()
    assert searches.a_step == 1.5


def test_a_training_that_never_started_counting_is_told() -> None:
    with pytest.raises(RuntimeError, match="expected 3"):
        DriverSearches(steps=3).a_step  # noqa: B018


@pytest.mark.process
@pytest.mark.parametrize(("variable", "a_step"), [(None, 0.0), ("1", 1.0)])
def test_adamw_searches_at_each_step_where_the_variable_is_set(variable: str | None, a_step: float) -> None:
    """As a bare loop in a worker would, with the variable that `import lightning` sets and without it."""
    source = """
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook as after
from woof_lightning.measure.searches import DriverSearches
torch.cuda._is_compiled = lambda: True
torch.cuda._parse_visible_devices = lambda: [0]
searches = DriverSearches(3)
after(searches.stepped)
weight = torch.zeros(2, requires_grad=True)
optimizer = torch.optim.AdamW([weight])
for step in range(6):
    if step == 1:
        searches.start()
    weight.sum().backward()
    optimizer.step()
print(searches.a_step)
"""
    environment = {} if variable is None else {"PYTORCH_NVML_BASED_CUDA_CHECK": variable}
    done = subprocess.run(
        [sys.executable, "-c", source], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.stdout.strip() == str(a_step), done.stderr
