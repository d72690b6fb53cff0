"""Which images of a folder without train/ and val/ are validated: decided for each file by its own name."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from os import fsencode

from woof_lightning.errors import UserError

HASH_BYTES = 8
PLACES = 256.0**HASH_BYTES
SEEDS_TRIED = 1000
MOST_NAMED = 5


@dataclass(frozen=True)
class Split:
    """Divides images into those to train on and those to validate on.

    The split of an image depends only on its path in the data set and on the seed, not on other images. So an image
    stays in its split when files are added or removed. Each class has val_share on average, not exactly.

    Args:
        val_share: The share of the images to validate on, above 0 and below 1.
        seed: Another seed divides them another way.
    """

    val_share: float = 0.2
    seed: int = 0

    def is_val(self, path: str) -> bool:
        """Returns whether an image is one to validate on.

        Args:
            path: Its path relative to the data set's folder, with / between its parts.
        """
        # macOS may store ä as two characters; the same file has the same split everywhere.
        name = fsencode(f"{self.seed}/{unicodedata.normalize('NFC', path)}")
        place = int.from_bytes(hashlib.sha256(name).digest()[:HASH_BYTES], "big")
        return place < self.val_share * PLACES

    def is_two_sided(self, paths: Sequence[str]) -> bool:
        """Returns whether some of these images are to train on and some to validate on.

        Args:
            paths: Their paths, at least one.
        """
        first = self.is_val(paths[0])
        return any(self.is_val(path) != first for path in paths)


def check_sides(split: Split, classes: Mapping[str, Sequence[str]]) -> None:
    """Raises a UserError that names the classes which a split leaves without an image to train or to validate on.

    Args:
        split: The split.
        classes: The paths of the images of each class.
    """
    one_sided = {name: paths for name, paths in classes.items() if not split.is_two_sided(paths)}
    if not one_sided:
        return
    listed = "; ".join(_lack(name, paths, split) for name, paths in islice(one_sided.items(), MOST_NAMED))
    more = f" and {len(one_sided) - MOST_NAMED} more" if len(one_sided) > MOST_NAMED else ""
    seeds = (Split(split.val_share, seed) for seed in range(SEEDS_TRIED))
    fitting = next((other for other in seeds if all(map(other.is_two_sided, classes.values()))), None)
    seed = "set another data.split_seed" if fitting is None else f"set data.split_seed {fitting.seed}"
    ways = ["add images", *([seed] if all(len(paths) > 1 for paths in one_sided.values()) else [])]
    raise UserError(
        f"data.val_share is {split.val_share:g}, which leaves a class without images in one split: {listed}{more}. "
        f"Expected at least one image to train and one to validate on: {', '.join(ways)}, or make train/ and val/ "
        "yourself"
    )


def _lack(name: str, paths: Sequence[str], split: Split) -> str:
    lacking = "train" if split.is_val(paths[0]) else "validate"
    return f"{name} ({len(paths)} image{'s' * (len(paths) > 1)}, none to {lacking} on)"
