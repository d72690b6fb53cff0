"""Faults of Lightning Fabric that this project works around: a test fails on the day its fault is fixed."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.fabric import Fabric

from tests.upstream.helpers import Shuffled, by_epoch, in_a_process
from woof_lightning.lit.trainer import NVML_CHECK


def test_fabric_tells_the_sampler_its_own_count_of_rounds() -> None:
    """Why loops/fabric.py does not set up its loaders: a resumed run would begin with epoch 0's order."""
    sampler = Shuffled()
    prepared: Any = Fabric(accelerator="cpu").setup_dataloaders(by_epoch(sampler), use_distributed_sampler=False)
    sampler.set_epoch(2)
    assert int(next(iter(prepared))[0, 0]) == 0


@pytest.mark.process
def test_importing_lightning_asks_for_a_search_for_nvidia_s_driver() -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/pull/15110; see no_search_for_a_driver."""
    script = "import os; os.environ.pop('{0}', None); import lightning.fabric; print(os.environ.get('{0}'))"
    done = in_a_process(script.format(NVML_CHECK), fresh=True)
    assert (done.code, done.out.strip()) == (0, "1"), done.err
