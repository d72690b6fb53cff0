"""An exponential moving average of a net's weights, for loops; `woof fit` has Lightning's callback for it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

# The keys of Lightning's WeightAveraging beside state_dict, which holds the averaged weights.
CURRENT_KEY, COUNT_KEY = "current_model_state", "averaging_state"


class Average:
    """Averages a net's weights and BatchNorm statistics after each step of its optimizer.

    Args:
        net: The net, on its device.
        optimizer: Its optimizer.
        decay: The share of the average that stays at each step.
    """

    def __init__(self, net: nn.Module, optimizer: Optimizer, decay: float) -> None:
        self.net = net
        ema = get_ema_avg_fn(decay)  # type: ignore[no-untyped-call]
        self.model = AveragedModel(net, avg_fn=ema, use_buffers=True)
        optimizer.register_step_post_hook(lambda *_: self.model.update_parameters(net))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the values of the net and of the average. Validate and save in between, then swap back."""
        for average, current in zip(_tensors(self.model.module), _tensors(self.net), strict=True):
            kept = average.clone()
            average.copy_(current)
            current.copy_(kept)

    def state(self, prefix: str) -> dict[str, Any]:
        """Returns what a checkpoint needs to go on, if net and average are swapped.

        Args:
            prefix: The text before each name.
        """
        current = {f"{prefix}{name}": value for name, value in self.model.module.state_dict().items()}
        return {CURRENT_KEY: current, COUNT_KEY: {"n_averaged": self.model.n_averaged}}

    def restore(self, checkpoint: Mapping[str, Any], prefix: str) -> None:
        """Restores the average, and in the net the weights that the training goes on with.

        Args:
            checkpoint: The checkpoint.
            prefix: The text before each name.
        """
        parts = {self.model.module: checkpoint["state_dict"], self.net: checkpoint[CURRENT_KEY]}
        for module, state in parts.items():
            module.load_state_dict({name.removeprefix(prefix): value for name, value in state.items()})
        self.model.n_averaged.copy_(checkpoint[COUNT_KEY]["n_averaged"])


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return itertools.chain(module.parameters(), module.buffers())
