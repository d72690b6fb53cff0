"""Faults of jsonargparse: the test fails on the day its fault is fixed."""

from __future__ import annotations

import pytest

from tests.upstream.helpers import in_a_process

CODE = """
from jsonargparse import ArgumentParser

def train(limit: int | float | None = None): ...
def other(rate: float | int | None = None): ...

if {another_first}:
    ArgumentParser().add_function_arguments(other)
parser = ArgumentParser()
parser.add_function_arguments(train)
print(repr(parser.parse_args(["--limit=4"]).limit))
"""


@pytest.mark.process
@pytest.mark.parametrize(("another_first", "value"), [(False, "4"), (True, "4.0")])
def test_a_number_s_type_depends_on_parsers_before(another_first: bool, value: str) -> None:
    """It wraps a type in Optional, for which typing returns an equal union that was made earlier, in its order.

    So 4 batches become the fraction 4.0 where Lightning's parser came first: see limit_train_batches of TrainerConfig.
    """
    done = in_a_process(CODE.format(another_first=another_first), fresh=True)
    assert (done.code, done.out.strip()) == (0, value), done.err
