"""Random numbers that depend only on given keys and leave the global random state unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(purpose: str, *keys: int) -> int:
    """Returns a 63-bit seed that depends only on a purpose and whole numbers; it is the same on every machine."""
    text = "/".join([purpose, *map(str, keys)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def own_randomness(purpose: str, *keys: int) -> Iterator[None]:
    """Makes torch's CPU random numbers inside the block a function of the keys, and restores the state afterwards.

    torchvision's transforms and weight initialisers accept no generator. They use torch's default generator, so the
    block sets its seed.

    Args:
        purpose: What the numbers are for, so that different uses of the same keys get different numbers.
        keys: Whole numbers, such as the seed, the epoch and the index of an image.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(derived_seed(purpose, *keys))
    try:
        yield
    finally:
        torch.set_rng_state(state)
