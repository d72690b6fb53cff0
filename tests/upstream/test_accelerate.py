"""Faults of Accelerate that loops/accelerate.py works around: a test fails on the day its fault is fixed."""

from __future__ import annotations

import pytest

from tests.upstream.helpers import Shuffled, by_epoch
from tests.ways import NEEDS_PEERS

accelerate = pytest.importorskip("accelerate", reason=NEEDS_PEERS)
pytestmark = pytest.mark.peer


def test_accelerate_tells_the_sampler_its_own_count_of_rounds() -> None:
    """See loops/accelerate.py, which sets the epoch on the prepared loader."""
    sampler = Shuffled()
    prepared = accelerate.Accelerator(cpu=True).prepare_data_loader(by_epoch(sampler))
    sampler.set_epoch(2)
    assert int(next(iter(prepared))[0, 0]) == 0


def test_accelerate_refuses_another_precision_in_one_process() -> None:
    """See the reset of its state in loops/accelerate.py."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.Accelerator(cpu=True, mixed_precision="no")
    with pytest.raises(ValueError, match="already been initialized"):
        accelerate.Accelerator(cpu=True, mixed_precision="bf16")


def test_accelerate_s_bar_ignores_the_terminal() -> None:
    """See loops/accelerate.py: tqdm's disable=None means bars on terminals alone."""
    assert not accelerate.utils.tqdm([], disable=None).disable
