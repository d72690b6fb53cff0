"""What the command lines of the verbs share: parsers, options, default names, checks."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, NoReturn, get_args

from woof_lightning.data.config import data_problems, expanded
from woof_lightning.errors import UserError
from woof_lightning.recipe.config import model_problems
from woof_lightning.runs.folder import exists

# A verb is the function `run` of the module with its name.
VERBS = {
    "fit": "Train with Lightning",
    "lr-find": "Sweep the learning rate and suggest one",
    "loop": "Train the same experiment in another loop",
    "cost": "Measure what each way to train costs",
    "change": "Show what a change costs: the same change in every way to train",
    "profile": "Show where a training step of your LightningModule spends its time",
    "compare": "Compare runs: a table, the settings that differ, figures, a page",
    "validate": "Validate a run: top-1, top-5, per class, confusion matrix",
    "predict": "Name the breed or class of images",
    "export": "Write a trained net for programs without this package",
    "data": "Get and check a data set, or list those on the disk",
}
SEED_KEYS = ("model.seed", "data.seed")  # Linked to seed_everything; users do not set them.
# Keys of a call, not of the experiment. A config.yaml with these keys would reuse the name or resume by itself.
CALL_KEYS = ("config", "name", "runs_dir", "overwrite")
NOT_SAVED = (*CALL_KEYS, "resume", "json", "save_every", "allow_nan")
MOST_SEED = 2**32 - 1  # NumPy's bound, and so Lightning's.
DATA_PLACES = {
    "root": "folder that contains the data sets",
    "folder": "a folder with train/ and val/, or with a folder for each class, used instead of a data set in root",
    "archive": "a local archive to unpack into root",
}


class Parser(argparse.ArgumentParser):
    """An argument parser that raises its errors as a UserError."""

    def error(self, message: str) -> NoReturn:
        """Raises the message as a UserError that points to --help."""
        raise UserError(f"{message}; see {self.prog} --help")


def small_parser(verb: str) -> Parser:
    """Returns a parser for a verb without settings."""
    return Parser(prog=f"woof {verb}", description=VERBS[verb], allow_abbrev=False)


def path_of(text: str) -> Path:
    """Returns the path that an option names, with ~ expanded, which shells leave as it is in --out=~/there."""
    return expanded(Path(text))


def with_expanded_paths(options: Any) -> None:
    """Expands ~ at the beginning of every text and path among parsed options, and in what they contain.

    Args:
        options: The options of a parser of jsonargparse; they are changed.
    """
    for key, value in list(options.items()):
        if isinstance(value, Path) or (isinstance(value, str) and value.startswith("~")):
            options[key] = type(value)(expanded(Path(value)))


def add_checkpoint(parser: Parser) -> None:
    """Adds --ckpt."""
    parser.add_argument(
        "--ckpt",
        type=path_of,
        required=True,
        metavar="RUN_OR_FILE",
        help="a run's folder (its best.ckpt, else last.ckpt) or a .ckpt file",
    )


def add_data_places(parser: Parser) -> None:
    """Adds --root, --folder and --archive, which can also be written as in `woof fit`: --data.root and so on."""
    for name, text in DATA_PLACES.items():
        parser.add_argument(f"--{name}", f"--data.{name}", type=path_of, help=text)


def check_one_place(options: argparse.Namespace, *others: str) -> None:
    """Raises a UserError if --folder was given together with another option for the place of the data.

    Args:
        options: The parsed options.
        others: The names of the other options.
    """
    given = [name for name in others if getattr(options, name) is not None]
    if options.folder is not None and given:
        raise UserError(f"--folder is {options.folder}, and --{given[0]} was given too: expected one of them")


def check_new_file(file: Path, suffixes: Sequence[str], overwrite: bool) -> list[str]:
    """Returns one sentence for each reason why --out cannot be written; nothing if it can.

    Args:
        file: The value of --out.
        suffixes: How its name may end.
        overwrite: Whether a file that is there is replaced.
    """
    if os.path.isdir(file):  # noqa: PTH112  Path.is_dir raises an error for a name that is too long.
        return [f"--out is {file}: that is a folder; expected a file that ends with {' or '.join(suffixes)}"]
    if file.suffix.lower() not in suffixes:
        return [f"--out is {file}: expected a file that ends with {' or '.join(suffixes)}"]
    if exists(file) and not overwrite:
        return [f"--out: {file} is there already; replace it with --overwrite"]
    if exists(file.parent) and not os.access(file.parent, os.W_OK):  # Before the work, not after it.
        return [f"--out is {file}: nothing can be written into {file.parent}; choose another folder"]
    return []


def both_given(options: Any, one: str, other: str) -> list[str]:
    """Returns one sentence if two options that exclude each other were both given; otherwise nothing."""
    if getattr(options, one, None) and getattr(options, other, None):
        return [f"--{one} and --{other} were both given: expected one of them"]
    return []


def keep_whole_numbers(parser: Any) -> None:
    """Makes every option that takes a number of batches or a share of them read 1 as one and 1.0 as all.

    jsonargparse tries the types of a union in their order. It wraps a type in Optional, for which typing returns an
    equal union that was made earlier, in the order of that one (tests/upstream/test_jsonargparse.py).

    Args:
        parser: A parser of jsonargparse with all its options.
    """
    for action in parser._actions:
        kinds = list(get_args(getattr(action, "_typehint", None)))
        if int in kinds and float in kinds and kinds.index(float) < kinds.index(int):
            first, second = kinds.index(float), kinds.index(int)  # The others, such as text, stay in their places.
            kinds[first], kinds[second] = int, float
            action._typehint = reduce(or_, kinds)


def default_name(configs: Sequence[Any] | None) -> str:
    """Returns the default name of a run: the first config's stem, or for the config.yaml of a run that run's name."""
    if not configs:
        return "fit"
    first = Path(str(configs[0]))
    return first.resolve().parent.name if first.name == "config.yaml" else first.stem


def experiment_problems(options: Any) -> list[str]:
    """Returns one sentence for each setting that cannot be used, among those that `fit`, `lr-find` and `loop` share."""
    seed = options.seed_everything
    problems = []
    if isinstance(seed, bool) or not 0 <= seed <= MOST_SEED:
        problems.append(f"seed_everything is {seed}: expected a whole number from 0 to {MOST_SEED}")
    problems += both_given(options, "resume", "overwrite")
    return [*problems, *model_problems(options.model), *data_problems(options.data)]


def dotted_keys(groups: Mapping[str, type]) -> list[str]:
    """Returns the dotted keys of settings classes, such as model.lr.

    Args:
        groups: The classes by the first part of their keys.
    """
    return [f"{group}.{field.name}" for group, settings in groups.items() for field in fields(settings)]
