"""`woof predict`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from woof_lightning.cli.options import add_checkpoint, small_parser
from woof_lightning.compare.tables import text_table
from woof_lightning.errors import UserError
from woof_lightning.recipe.prediction import predict
from woof_lightning.runs.folder import checkpoint_file


def run(args: Sequence[str]) -> None:
    """Names the breed in images.

    Args:
        args: The options.

    Raises:
        UserError: For everything that the user can fix.
    """
    parser = small_parser("predict")
    add_checkpoint(parser)
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    parser.add_argument("--top", type=int, default=3, help="number of breeds to name (3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(args)
    if options.top < 1:
        raise UserError(f"--top is {options.top}: expected at least 1")
    found = list(predict(checkpoint_file(options.ckpt), options.images, options.top))
    if options.json:
        print(json.dumps([{"image": str(i), "top": [asdict(g) for g in guesses]} for i, guesses in found], indent=2))
        return
    rows = [(str(i), g.breed, g.class_name, f"{g.probability:.3f}") for i, guesses in found for g in guesses]
    print(text_table(("image", "breed", "class", "probability"), rows))
