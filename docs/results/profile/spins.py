"""Plants spins of known length in each part of a step in turn, and says which parts of the profile they reach.

python docs/results/profile/spins.py NAME
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from woof_lightning.measure.conditions import add_command
from woof_lightning.profile.overhead import OverheadProfiler
from woof_lightning.profile.spans import Part
from woof_lightning.runs.record import machine, versions

HERE = Path(__file__).parent
SPINS_US = (0, 10, 100, 1000)
COLUMNS = ("place", "part", "slope")
# Where a spin is planted, and the part that it belongs to.
PLACES = {
    "data": "waiting for data",
    "transfer": "moving the batch",
    "training_step": "training_step",
    "net": "forward",
    "autograd": "backward",
    "optimizer": "optimizer step",
    "zero_grad": "zero_grad",
    "schedule": "schedule",
    "clipping": "gradient clipping",
    "hook": "hook on_train_batch_start",
    "callback": "callback Spinning.on_train_batch_end",
    "metric": "metric mean, update",
    "logger": "logger SpinningLogger",
    "bar": "progress bar",
    "log": "self.log",
    "collected": "self.log, collected",
    "trainer": "Trainer",
}


def spin_for(spin_us: int) -> None:
    """Keeps the processor busy for so long."""
    end_ns = perf_counter_ns() + 1000 * spin_us
    while perf_counter_ns() < end_ns:
        pass


class Spin:
    """Spins in one place a step, for as long as it is that place's turn.

    Args:
        spin_for: Spins for so many us.
    """

    def __init__(self, spin_for: Callable[[int], None]) -> None:
        self._spin_for = spin_for
        self.step = -1

    @property
    def turn(self) -> tuple[str, int]:
        """The place of this step, and how long to spin there, in us."""
        places = list(PLACES)
        number, place = divmod(self.step, len(places))
        # Neighbouring steps spin for different lengths, so what a spin leaves behind it is the same for all lengths.
        return places[place], SPINS_US[(number + place) % len(SPINS_US)]

    def __call__(self, place: str) -> None:
        """Spins if it is this place's turn."""
        own, spin_us = self.turn
        if place == own:
            self._spin_for(spin_us)


def before(function: Callable[..., Any], spin: Callable[[], None]) -> Callable[..., Any]:
    """Returns a function that spins before another one."""

    def spinning(*arguments: Any, **options: Any) -> Any:
        spin()
        return function(*arguments, **options)

    return spinning


class Autograd(torch.autograd.Function):
    """The identity, which spins in its backward pass."""

    @staticmethod
    def forward(context: Any, images: Any, spin: Spin) -> Any:
        """Returns the images."""
        context.spin = spin
        return images.clone()

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        """Returns the gradient."""
        context.spin("autograd")
        return gradients[0], None


class Net(nn.Linear):
    """A layer that spins."""

    def __init__(self, spin: Spin) -> None:
        super().__init__(8, 8)
        self.spin = spin

    def forward(self, images: Any) -> Any:
        """Returns the layer's output."""
        self.spin("net")
        return super().forward(images)


class Mean(MeanMetric):
    """A metric that spins."""

    def __init__(self, spin: Spin) -> None:
        super().__init__()
        self.spin = spin

    def update(self, *values: Any) -> None:
        """Adds values."""
        self.spin("metric")
        super().update(*values)


class Optimizer(SGD):
    """An optimizer that spins in its step, after the closure, and where it empties the gradients."""

    spin: Spin

    def step(self, closure: Any = None) -> Any:
        """Takes a step."""
        loss = closure() if closure is not None else None
        self.spin("optimizer")
        super().step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Empties the gradients."""
        self.spin("zero_grad")
        super().zero_grad(set_to_none)


class Schedule(StepLR):
    """A schedule that spins."""

    spin: Spin | None = None

    def step(self, epoch: int | None = None) -> None:
        """Takes a step."""
        if self.spin is not None:
            self.spin("schedule")
        super().step(epoch)


class Module(LightningModule):
    """A module that spins in its hooks."""

    def __init__(self, spin: Spin) -> None:
        super().__init__()
        self.spin, self.net, self.mean = spin, Net(spin), Mean(spin)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Spins."""
        self.spin("hook")

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Moves the batch."""
        self.spin("transfer")
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Returns the loss."""
        self.spin("training_step")
        loss = self.net(Autograd.apply(batch[0].requires_grad_(), self.spin)).square().mean()
        self.mean.update(loss.detach())
        self.log("loss", loss)
        return loss

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Spins."""
        self.spin("clipping")

    def configure_optimizers(self) -> Any:
        """Returns the optimizer and the schedule."""
        optimizer = Optimizer(self.parameters(), lr=0.01)
        optimizer.spin = self.spin
        schedule = Schedule(optimizer, step_size=1000)
        schedule.spin = self.spin
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Spinning(Callback):
    """A callback that spins, and counts the steps."""

    def __init__(self, spin: Spin) -> None:
        self.spin = spin

    def on_train_batch_end(self, *_: Any) -> None:
        """Spins."""
        self.spin("callback")


class SpinningLogger(Logger):
    """A logger that spins."""

    name, version = "spins", 0

    def __init__(self, spin: Spin) -> None:
        super().__init__()
        self.spin = spin

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Spins."""
        self.spin("logger")

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing to do."""


class Bar(TQDMProgressBar):
    """A progress bar that spins and shows nothing."""

    def __init__(self, spin: Spin) -> None:
        super().__init__(refresh_rate=0)
        self.spin = spin

    def on_train_batch_end(self, *_: Any) -> None:
        """Spins."""
        self.spin("bar")


def profiled(rounds: int, spin_for: Callable[[int], None] = spin_for) -> list[tuple[str, int, Part]]:
    """Trains with spins and returns the steps: the place of each, how long it spun there (us), and its profile.

    Args:
        rounds: How often each place spins for each of SPINS_US.
        spin_for: Spins for so many us; a test has a clock that only this moves.
    """
    spin = Spin(spin_for)
    steps = rounds * len(PLACES) * len(SPINS_US)

    def collate(images: Any) -> Any:
        spin.step += 1
        spin("data")
        return [torch.stack([image[0] for image in images])]

    profiler = OverheadProfiler(tempfile.mkdtemp(), first_steps=0)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        profiler=profiler,
        logger=SpinningLogger(spin),
        log_every_n_steps=1,
        callbacks=[Spinning(spin), Bar(spin)],
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    module = Module(spin)
    connector = trainer._logger_connector
    connector.on_batch_end = before(connector.on_batch_end, lambda: spin("collected"))  # type: ignore[method-assign]
    trainer.strategy.on_train_batch_start = before(  # type: ignore[method-assign]
        trainer.strategy.on_train_batch_start, lambda: spin("trainer")
    )
    real_log = LightningModule.log
    LightningModule.log = before(real_log, lambda: spin("log"))  # type: ignore[method-assign]
    try:
        trainer.fit(module, DataLoader(TensorDataset(torch.randn(2 * steps, 8)), 2, collate_fn=collate))
    finally:
        LightningModule.log = real_log  # type: ignore[method-assign]
    spin.step = -1
    found = []
    for part in profiler.steps:
        spin.step += 1
        found.append((*spin.turn, part))
    return found


def slopes(steps: list[tuple[str, int, Part]]) -> dict[tuple[str, str], float]:
    """Returns by how much each part grows for each us of spinning in each place, of the medians over the rounds."""
    parts = {name for _, _, part in steps for name in part.times_ns}
    found = {}
    for place in PLACES:
        for name in parts:
            medians_us = [
                np.median([part.times_ns.get(name, 0) for own, us, part in steps if (own, us) == (place, spin_us)])
                / 1000
                for spin_us in SPINS_US
            ]
            found[place, name] = float(np.polyfit(SPINS_US, medians_us, 1)[0])
    return found


def main() -> None:
    """Writes the slopes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the folder for the rows: the kind of processor")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = HERE / options.name
    out.mkdir(exist_ok=True)
    with (out / "spins.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for (place, part), slope in sorted(slopes(profiled(options.rounds)).items()):
            writer.writerow((place, part, f"{slope:.4f}"))
    command = f"python docs/results/profile/spins.py {options.name}"
    about = {"machine": machine(1), "versions": versions()}
    add_command(out / "conditions.json", f"{command} --rounds {options.rounds}", about, instead_of=command)


if __name__ == "__main__":
    main()
