"""Finds images that are in both splits: files with the same bytes under two names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from woof_lightning.data.images import ImageIndex, in_order
from woof_lightning.data.samples import Samples


def in_both(index: ImageIndex) -> list[tuple[str, str]]:
    """Returns the validation images that are training images too, byte for byte, as pairs of paths, training first.

    Only files are read whose size is that of a file of the other split.

    Args:
        index: The images.
    """
    sizes = set(index.train.sizes_bytes) & set(index.val.sizes_bytes) - {0}
    train = {content: path for path, content in _hashed(index.root, index.train, sizes)}
    return [(train[content], path) for path, content in _hashed(index.root, index.val, sizes) if content in train]


def _hashed(root: Path, split: Samples, sizes: set[int]) -> Iterator[tuple[str, bytes]]:
    """Yields the path and a hash of the content of the files with one of these sizes, if they can be read."""
    paths = [path for path, size in zip(split.paths, split.sizes_bytes, strict=True) if size in sizes]
    hashes = in_order(_hash_of, (root / path for path in paths))
    shown = tqdm(hashes, "comparing images", len(paths), leave=False, disable=None)
    return ((path, content) for path, content in zip(paths, shown, strict=True) if content is not None)


def _hash_of(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
