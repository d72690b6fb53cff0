"""`woof predict`."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from woof_lightning.cli.options import add_checkpoint, check_new_file, path_of, small_parser
from woof_lightning.compare.tables import text_table
from woof_lightning.data.config import expanded
from woof_lightning.errors import UserError, raise_together, reason_of
from woof_lightning.recipe.prediction import Answer, image_files, predict
from woof_lightning.resources import prepare_to_compute
from woof_lightning.runs.folder import checkpoint_file, made_folder, writing_durably

STDIN = Path("-")
SUFFIXES = (".csv", ".json")
COLUMNS = ("image", "rank", "name", "class", "probability", "problem")


def run(args: Sequence[str]) -> None:
    """Names the breed in images.

    Args:
        args: The options.

    Raises:
        UserError: For everything that the user can fix. Images that cannot be read are named after all answers.
    """
    options = parse(args)
    file = checkpoint_file(options.ckpt)
    listed = [] if options.list is None else paths_in(options.list)
    if options.out is None:
        answers = answers_of(options, file, listed)
    else:
        with made_folder(options.out.parent, "--out"):
            answers = answers_of(options, file, listed)
            text = json_of(answers) if options.out.suffix.lower() == ".json" else csv_of(answers)
            with writing_durably(options.out) as out:
                out.write(text.encode(errors="surrogateescape"))  # A path may be no UTF-8.
    if options.json:
        print(json_of(answers), end="")
    elif options.out is not None:
        read = sum(answer.problem is None for answer in answers)
        print(f"answers for {read:,} of {len(answers):,} images: {options.out}")
    elif any(answer.top for answer in answers):
        print(table_of(answers))
    raise_together([answer.problem for answer in answers if answer.problem], "images cannot be read")


def parse(args: Sequence[str]) -> Namespace:
    """Returns the options.

    Raises:
        UserError: If they cannot be used. The error lists all reasons.
    """
    parser = small_parser("predict")
    add_checkpoint(parser)
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        type=path_of,
        help="an image file, or a folder: all images in and below it",
    )
    parser.add_argument("--list", metavar="FILE", type=path_of, help="a file with one path a line; - reads stdin")
    parser.add_argument("--top", type=int, default=3, help="number of answers (3)")
    parser.add_argument("--batch_size", type=int, default=32, help="images that the net takes at once (32)")
    parser.add_argument("--out", type=path_of, metavar="FILE", help="write the answers to a .csv or .json file")
    parser.add_argument("--overwrite", action="store_true", help="replace the file in --out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(args)
    problems = [
        f"--{name} is {getattr(options, name)}: expected at least 1"
        for name in ("top", "batch_size")
        if getattr(options, name) < 1
    ]
    if not options.images and options.list is None:
        problems.append("no image was given: expected IMAGE, a file or a folder, or --list FILE")
    if options.out is not None:
        problems += check_new_file(options.out, SUFFIXES, options.overwrite)
    raise_together(problems, "options cannot be used")
    return options


def paths_in(file: Path) -> list[Path]:
    """Returns the paths in a list, one a line. Empty lines are passed over.

    Args:
        file: The list; - is stdin.

    Raises:
        UserError: If it cannot be read, or names nothing.
    """
    try:
        content = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        raise UserError(f"--list is {file}: it cannot be read ({error.strerror or reason_of(error)})") from error
    if b"\0" in content:
        raise UserError(f"--list is {file}: it is no text; expected one path a line")
    # Windows' editors write a mark before UTF-8.
    lines = [os.fsdecode(line) for line in content.removeprefix(codecs.BOM_UTF8).splitlines() if line.strip()]
    if not lines:
        raise UserError(f"--list is {file}: it names no image; expected one path a line")
    return [expanded(Path(line)) for line in lines]


def answers_of(options: Namespace, file: Path, listed: Sequence[Path]) -> list[Answer]:
    """Returns an answer for each image, with a bar on a terminal."""
    prepare_to_compute()
    images = image_files([*options.images, *listed])
    found = predict(file, images, options.top, options.batch_size)
    return list(tqdm(found, total=len(images), unit=" images", disable=None, leave=False))


def table_of(answers: Sequence[Answer]) -> str:
    """Returns the answers as a table for the terminal."""
    rows = [
        (str(answer.image), guess.breed, guess.class_name, f"{guess.probability:.3f}")
        for answer in answers
        for guess in answer.top
    ]
    return text_table(("image", "name", "class", "probability"), rows)


def json_of(answers: Sequence[Answer]) -> str:
    """Returns the answers as JSON."""
    return json.dumps([answer.as_dict() for answer in answers], indent=2) + "\n"


def csv_of(answers: Sequence[Answer]) -> str:
    """Returns the answers as CSV: a row for each class of an image, or one with the problem."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for answer in answers:
        for rank, guess in enumerate(answer.top, start=1):
            writer.writerow((answer.image, rank, guess.breed, guess.class_name, guess.probability, ""))
        if answer.problem is not None:
            writer.writerow((answer.image, "", "", "", "", answer.problem))
    return text.getvalue()
