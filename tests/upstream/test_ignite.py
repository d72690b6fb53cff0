"""Faults of Ignite that loops/ignite.py works around: a test fails on the day its fault is fixed."""

from __future__ import annotations

import pytest
import torch

from tests.ways import NEEDS_PEERS

engines = pytest.importorskip("ignite.engine", reason=NEEDS_PEERS)
pytestmark = pytest.mark.peer


def test_ignite_s_helper_does_not_autocast_on_the_cpu() -> None:
    """See update in loops/ignite.py."""
    types = []

    class Looking(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            output = super().forward(input)
            types.append(output.dtype)
            return output

    net = Looking(1, 1)
    optimizer, loss = torch.optim.SGD(net.parameters()), torch.nn.functional.mse_loss
    step = engines.supervised_training_step_amp(net, optimizer, loss, "cpu")
    step(engines.Engine(lambda engine, batch: None), (torch.ones(2, 1), torch.ones(2, 1)))
    assert types == [torch.float32]


def test_an_ignite_engine_at_its_end_starts_over() -> None:
    """See the end of train in loops/ignite.py."""
    begun: list[int] = []
    engine = engines.Engine(lambda engine, batch: None)
    engine.add_event_handler(engines.Events.EPOCH_STARTED, lambda: begun.append(engine.state.epoch))
    engine.load_state_dict({"epoch": 2, "max_epochs": 2, "epoch_length": 1})
    engine.run([0], max_epochs=2, epoch_length=1)
    assert begun == [1, 2]
