"""What the processes of one training tell each other."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
# What gloo says of a process that has gone; NCCL raises a class of its own.
GONE = ("gloo/transport", "Connection closed by peer", "Connection reset by peer")


def are_several() -> bool:
    """Returns whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def of_all(value: T) -> list[T]:
    """Returns the value of each process, in the order of their numbers. It must be possible to pickle it."""
    if not are_several():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def most_of_all(value: int, device: torch.device) -> int:
    """Returns the largest number of all processes.

    Args:
        value: This process's.
        device: The training device.
    """
    if not are_several():
        return value
    number = torch.tensor(value, device=device)
    dist.all_reduce(number, dist.ReduceOp.MAX)
    return int(number)


def from_first(value: T) -> T:
    """Returns the first process's value in all of them."""
    found: list[Any] = [value]
    if are_several():
        dist.broadcast_object_list(found, src=0)
    result: T = found[0]
    return result


def says_one_is_gone(error: BaseException) -> bool:
    """Returns whether an error says that another process of the training has ended."""
    backend_error = getattr(dist, "DistBackendError", ())
    return isinstance(error, backend_error) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in GONE)
    )
