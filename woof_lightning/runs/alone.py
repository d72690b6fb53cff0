"""Checks that a process that trains alone is not taken for one of several."""

from __future__ import annotations

import os
from collections.abc import Mapping

from woof_lightning.errors import UserError

# Where Lightning looks for the number of a process (`_get_rank` in lightning/fabric/utilities/rank_zero.py).
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def number(environment: Mapping[str, str] = os.environ) -> int:
    """Returns the number of this process in its training; 0 if it is alone.

    Where a launcher numbers the processes of each machine alone, the machine's number is taken: 0 is the first of all.

    Args:
        environment: The environment variables.
    """
    found = next((environment[name] for name in RANKS if name in environment), "0")
    machine = "0" if "RANK" in environment else environment.get("NODE_RANK", "0")
    return max(int(text) if text.isdigit() else 0 for text in (found, machine))


def check_alone(world_size: int, environment: Mapping[str, str] = os.environ) -> None:
    """Raises a UserError if a training of one process would keep silent because a shell or scheduler numbers it.

    Lightning lets only process 0 write metrics.

    Args:
        world_size: The number of processes of the training.
        environment: The environment variables.
    """
    name = next((name for name in RANKS if name in environment), None)  # Lightning takes the first, too.
    if world_size == 1 and name is not None and environment[name] != "0":
        raise UserError(
            f"the environment variable {name} is {environment[name]}, so Lightning takes this process for one of "
            f"several and writes nothing, but it trains alone: unset {name}, or set trainer.devices and "
            "trainer.num_nodes to the number of processes"
        )
