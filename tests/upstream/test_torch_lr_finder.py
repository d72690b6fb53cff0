"""A leak of torch_lr_finder (docs/abstraction-cost.md): the test fails on the day it is fixed."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

from tests.ways import NEEDS_PEERS

torch_lr_finder = pytest.importorskip("torch_lr_finder", reason=NEEDS_PEERS)
pytestmark = pytest.mark.peer


def test_torch_lr_finder_suggests_a_rate_beyond_the_lowest_loss() -> None:
    """https://github.com/davidtvs/pytorch-lr-finder/issues/86: a recovery from an explosion counts as descent."""
    mpl.use("Agg")
    net = torch.nn.Linear(1, 1)
    finder = torch_lr_finder.LRFinder(net, torch.optim.SGD(net.parameters()), torch.nn.MSELoss(), device="cpu")
    rates = [10 ** (-5 + number / 10) for number in range(60)]
    losses = [2.3] * 20 + [2.3 - 0.05 * number for number in range(20)] + [9.0] * 10 + [4.0] * 10
    finder.history = {"lr": rates, "loss": losses}
    figure, axes = plt.subplots()
    _, suggestion = finder.plot(ax=axes, suggest_lr=True)
    plt.close(figure)
    assert suggestion > rates[losses.index(min(losses))]
