"""What the processes of one training tell each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from woof_lightning.errors import CommonError, ProcessGoneError, UserError

T = TypeVar("T")
# What gloo says of a process that has gone; NCCL raises a class of its own.
GONE = ("gloo/transport", "Connection closed by peer", "Connection reset by peer")


def are_several() -> bool:
    """Returns whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """Returns the number of processes that train together."""
    return dist.get_world_size() if are_several() else 1


def rank() -> int:
    """Returns the number of this process among those that train together; 0 is the first."""
    return dist.get_rank() if are_several() else 0


def of_all(value: T) -> list[T]:
    """Returns the value of each process, in the order of their numbers. It must be possible to pickle it."""
    if not are_several():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def host_group() -> dist.ProcessGroup | None:
    """Returns a group in which the processes talk without their devices; None if there is one process.

    A number that travels from GPU to GPU is read only after all work that waits there.
    """
    return cast(dist.ProcessGroup, dist.new_group(backend="gloo")) if are_several() else None


def most_of_all(value: int, device: torch.device | str = "cpu", group: dist.ProcessGroup | None = None) -> int:
    """Returns the largest number of all processes.

    Args:
        value: This process's.
        device: The device that the group's numbers travel from.
        group: As `host_group` returns it; by default that of the training.
    """
    if not are_several():
        return value
    number = torch.tensor(value, device=device)
    dist.all_reduce(number, dist.ReduceOp.MAX, group=group)
    return int(number)


def from_first(value: T) -> T:
    """Returns the first process's value in all of them."""
    found: list[Any] = [value]
    if are_several():
        dist.broadcast_object_list(found, src=0)
    result: T = found[0]
    return result


def check_agreed(own: Mapping[str, Any]) -> None:
    """Checks that all processes train the same, with the same versions.

    Args:
        own: This process's settings and versions, by name.

    Raises:
        CommonError: If they differ; raised in all processes.
    """
    first, *others = of_all(dict(own))
    for place, other in enumerate(others, start=1):
        if differing := sorted(name for name in {*first, *other} if first.get(name) != other.get(name)):
            values = "; ".join(f"{name} is {first.get(name)} and {other.get(name)}" for name in differing)
            raise CommonError(
                f"processes 0 and {place} differ: {values}. Expected the same command, images and versions on every "
                "machine"
            )


def problem_among(world_size: int, error: RuntimeError) -> UserError | None:
    """Returns what an error says about the processes of a training; None if it says nothing about them.

    Args:
        world_size: Number of processes.
        error: What a process raised.
    """
    text = str(error)
    if world_size == 1:
        return None
    if "EADDRINUSE" in text:
        return UserError(
            f"port {os.environ.get('MASTER_PORT')} is taken by another program: set the environment variable "
            "MASTER_PORT to a free one, or give torchrun another --master_port"
        )
    if isinstance(error, dist.DistBackendError) or any(sign in text for sign in GONE):
        return ProcessGoneError(
            f"one of the {world_size} processes has ended, and has said why if it could: the training cannot go on; "
            "resume it from its last checkpoint with --resume"
        )
    return None
