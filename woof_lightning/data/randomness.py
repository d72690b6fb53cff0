"""Random numbers that depend on named keys alone, drawn without touching the global state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(purpose: str, *keys: int) -> int:
    """A 63-bit seed from a purpose and whole numbers, the same on every machine."""
    text = "/".join([purpose, *map(str, keys)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def own_randomness(purpose: str, *keys: int) -> Iterator[None]:
    """Inside, torch's CPU draws are a function of the keys; afterwards its state is as found.

    torchvision's transforms and weight initialisers take no generator: they draw from torch's
    default one, so that one is lent to them and given back.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(derived_seed(purpose, *keys))
    try:
        yield
    finally:
        torch.set_rng_state(state)
