"""Faults of Accelerate that loops/accelerate.py works around: a test fails on the day its fault is fixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

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


def test_accelerate_skips_the_first_batches_of_another_order(tmp_path: Path) -> None:
    """https://github.com/huggingface/accelerate/issues/2016 and 2574: it restores the state after the shuffle."""

    def prepared() -> tuple[Any, Any]:
        accelerate.utils.set_seed(1)
        accelerator = accelerate.Accelerator(cpu=True)
        return accelerator, accelerator.prepare(DataLoader(torch.arange(8), batch_size=2, shuffle=True))  # type: ignore[arg-type]

    accelerator, loader = prepared()
    batches = iter(loader)
    seen = [int(number) for _ in range(2) for number in next(batches)]
    accelerator.save_state(str(tmp_path / "within"))
    resumed, loader = prepared()
    resumed.load_state(str(tmp_path / "within"))
    rest = [int(number) for batch in resumed.skip_first_batches(loader, 2) for number in batch]
    assert sorted(seen + rest) != list(range(8))
