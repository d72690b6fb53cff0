"""Tells the user how images were divided, which files are not used, and which images are in both splits."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from woof_lightning.data.decoding import SUFFIXES
from woof_lightning.data.images import ImageIndex
from woof_lightning.data.listing import first_of, summary

CONVERT = f"Images are read as {' '.join(SUFFIXES)}; convert others"


def tell(index: ImageIndex) -> None:
    """Prints on stderr how the images were divided, which files are not used, and which are in both splits.

    Args:
        index: The images.
    """
    if index.split is not None:
        print(
            f"note: {index.root} has no train/ and val/: by their names {len(index.train)} images are trained on and "
            f"{len(index.val)} validated on (data.val_share {index.split.val_share:g}, data.split_seed "
            f"{index.split.seed})",
            file=sys.stderr,
        )
    if not index.train:
        print(
            f"note: all {len(index.val)} images of {index.root} are validated; if the run was trained on some, they "
            "count, too",
            file=sys.stderr,
        )
    if not_used := summary(index.passed_over):
        convert = f" {CONVERT}." if any(one.kind.startswith(".") for one in index.passed_over) else ""
        print(
            f"note: {index.root} holds files that are not used: {not_used}.{convert} {lists_all(index.root)}",
            file=sys.stderr,
        )
    if index.in_both:
        pairs = (f"{train} = {val}" for train, val in index.in_both)
        print(
            f"warning: {len(index.in_both)} of {len(index.val)} validation images are training images too, byte for "
            f"byte: {first_of(pairs, 3)}. Validation looks better than it is. {lists_all(index.root)}",
            file=sys.stderr,
        )


def lists_all(root: Path) -> str:
    """Returns which command lists all files of a folder that are not used, cannot be read, or are in both splits.

    Args:
        root: The data set's folder.
    """
    return f"The whole list: woof data --folder {shlex.quote(str(root))} --check"
