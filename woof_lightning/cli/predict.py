"""`woof predict`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from woof_lightning.cli.options import add_checkpoint, path_of, small_parser
from woof_lightning.compare.tables import text_table
from woof_lightning.errors import UserError, raise_together
from woof_lightning.recipe.prediction import image_files, predict
from woof_lightning.runs.folder import checkpoint_file


def run(args: Sequence[str]) -> None:
    """Names the breed in images.

    Args:
        args: The options.

    Raises:
        UserError: For everything that the user can fix. Images that cannot be read are named after all answers.
    """
    parser = small_parser("predict")
    add_checkpoint(parser)
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=path_of, help="an image file, or a folder of images")
    parser.add_argument("--top", type=int, default=3, help="number of answers (3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(args)
    if options.top < 1:
        raise UserError(f"--top is {options.top}: expected at least 1")
    answers = list(predict(checkpoint_file(options.ckpt), image_files(options.images), options.top))
    if options.json:
        print(json.dumps([answer.as_dict() for answer in answers], indent=2))
    else:
        rows = [
            (str(answer.image), guess.breed, guess.class_name, f"{guess.probability:.3f}")
            for answer in answers
            for guess in answer.top
        ]
        if rows:
            print(text_table(("image", "name", "class", "probability"), rows))
    raise_together([answer.problem for answer in answers if answer.problem], "images cannot be read")
