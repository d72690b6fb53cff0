"""What the tests of several processes train: a net without BatchNorm, in a few small steps."""

from __future__ import annotations

import csv
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.processes import Ended, Process, woof
from woof_lightning.runs.folder import RunFolder

CONFIGS = Path(__file__).parents[2] / "configs"
# BatchNorm's statistics would be those of a process alone.
TINY = """
import torch
from torch import nn
from woof_lightning import WoofClassifier

class Tiny(WoofClassifier):
    def _build(self, num_classes):
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.net = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=4), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(), nn.Linear(512, num_classes)
            )
"""


def options_for(root: Path) -> list[object]:
    """Options of a training of 480 images in batches of 239, so that the last batch of an epoch has two images."""
    return [
        *("--config", CONFIGS / "demo.yaml", "--data.root", root, "--data.image_size", 32, "--data.num_workers", 0),
        *("--data.batch_size", 239, "--model_class", "tiny.Tiny", "--model.arch", "squeezenet1_1"),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", 1),
        *("--trainer.max_epochs", 7, "--name", "run"),
    ]


def free_port() -> int:
    """Returns a port of this machine that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def place_for(place: Path) -> Path:
    """Makes a folder in which the tiny net is found."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "tiny.py").write_text(TINY, encoding="utf-8")
    return place


class Together:
    """Processes that train together: each in a folder of its own, or all in one.

    Args:
        place: Where.
        options: Those of each process if they are lists, or of all.
        world_size: Number of processes.
        apart: Whether each is on a machine of its own.
        slurm: Whether srun numbers them, not torchrun.
    """

    def __init__(
        self, place: Path, options: Sequence[object], world_size: int, *, apart: bool = False, slurm: bool = False
    ) -> None:
        port, self.places = free_port(), []
        self.processes: list[Process] = []
        for rank in range(world_size):
            here = place_for(place / f"node-{rank}" if apart else place)
            self.places.append(here)
            number_of = {
                "--trainer.num_nodes": world_size if apart else 1,
                "--trainer.devices": 1 if apart else world_size,
            }
            own: Any = options[rank] if options and isinstance(options[0], list) else options
            words = [*own, *(word for pair in number_of.items() for word in pair)]
            numbered = slurm_variables if slurm else torchrun_variables
            environment = numbered(rank, world_size, apart) | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            self.processes.append(
                woof("fit", words, here, **{name: str(value) for name, value in environment.items() if world_size > 1})
            )

    def wait(self) -> list[Ended]:
        """Waits for all."""
        return [process.wait() for process in self.processes]


def torchrun_variables(rank: int, world_size: int, apart: bool) -> dict[str, object]:
    """Returns the variables by which torchrun numbers a process, on machines of one process each if `apart`."""
    return {
        **{"RANK": rank, "LOCAL_RANK": 0 if apart else rank, "GROUP_RANK": rank if apart else 0},
        **{"WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": 1 if apart else world_size, "TORCHELASTIC_RUN_ID": "test"},
    }


def slurm_variables(rank: int, world_size: int, apart: bool) -> dict[str, object]:
    """Returns the variables by which srun numbers a process, on machines of one process each if `apart`."""
    return {
        **{"SLURM_JOB_ID": 4711, "SLURM_JOB_NAME": "woof", "SLURM_NTASKS": world_size, "SLURM_PROCID": rank},
        **{"SLURM_LOCALID": 0 if apart else rank, "SLURM_NODEID": rank if apart else 0, "SLURM_NODELIST": "127.0.0.1"},
        **{"SLURM_NTASKS_PER_NODE": 1 if apart else world_size, "SLURM_NNODES": world_size if apart else 1},
    }


def trained(place: Path, options: Sequence[object], world_size: int, *, apart: bool = False) -> RunFolder:
    """Trains to the end and returns the run of the first process."""
    ended = Together(place, options, world_size, apart=apart).wait()
    assert [one.code for one in ended] == [0] * world_size, "".join(one.err for one in ended)
    return RunFolder(next((place / "node-0" if apart else place).glob("runs/*")))


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    """Returns the weights of a run's last checkpoint."""
    found: dict[str, torch.Tensor] = torch.load(run.last, weights_only=True)["state_dict"]
    return found


def rows(run: RunFolder) -> list[dict[str, float]]:
    """Returns a run's metrics."""
    with run.metrics.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def assert_equal(run: RunFolder, other: RunFolder) -> None:
    """Asserts that two runs have the same weights and metrics, to the bit."""
    for key, expected in weights(other).items():
        assert torch.equal(weights(run)[key], expected), key
    assert rows(run) == rows(other)
