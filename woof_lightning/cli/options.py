"""What the verbs' command lines share: parsers, keys of one call, a run's default name, checks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from woof_lightning.data.config import data_problems
from woof_lightning.errors import UserError
from woof_lightning.recipe.config import model_problems

SEED_KEYS = ("model.seed", "data.seed")  # Linked to seed_everything; nobody sets them.
# Keys of one call, not of the experiment: a config.yaml that held them would collide or resume by itself.
CALL_KEYS = ("config", "name", "runs_dir", "overwrite")
NOT_SAVED = (*CALL_KEYS, "resume", "json", "save_every", "allow_nan")
MOST_SEED = 2**32 - 1  # NumPy's bound, and so Lightning's.
DATA_PLACES = {
    "root": "folder in which data sets lie",
    "folder": "a folder with train/ and val/, instead of a data set in root",
    "archive": "a local archive to unpack into root",
}


class Parser(argparse.ArgumentParser):
    """An argument parser that raises its complaints as a UserError."""

    def error(self, message: str) -> NoReturn:
        """Raises a UserError that names the help."""
        raise UserError(f"{message}; see {self.prog} --help")


def small_parser(verb: str, description: str) -> Parser:
    """The parser of a verb with few options."""
    return Parser(prog=f"woof {verb}", description=description, allow_abbrev=False)


def add_checkpoint(parser: Parser) -> None:
    """Adds --ckpt."""
    parser.add_argument(
        "--ckpt", type=Path, required=True, metavar="RUN_OR_FILE", help="a run's folder (its best.ckpt) or a .ckpt file"
    )


def add_data_places(parser: Parser) -> None:
    """Adds --root, --folder and --archive, which `woof fit` calls --data.root and so on."""
    for name, text in DATA_PLACES.items():
        parser.add_argument(f"--{name}", f"--data.{name}", type=Path, help=text)


def check_one_place(options: argparse.Namespace, *others: str) -> None:
    """Raises a UserError if --folder was given together with another place of data."""
    given = [name for name in others if getattr(options, name) is not None]
    if options.folder is not None and given:
        raise UserError(f"--folder is {options.folder}, and --{given[0]} was given too: expected one of them")


def both_given(options: Any, one: str, other: str) -> list[str]:
    """A sentence if two options that exclude each other were given; nothing if not."""
    if getattr(options, one, None) and getattr(options, other, None):
        return [f"--{one} and --{other} were both given: expected one of them"]
    return []


def default_name(configs: Sequence[Any] | None) -> str:
    """The first config's stem; for a run's own config.yaml the run's name."""
    if not configs:
        return "fit"
    first = Path(str(configs[0]))
    return first.resolve().parent.name if first.name == "config.yaml" else first.stem


def experiment_problems(options: Any) -> list[str]:
    """What cannot be used in the settings that `fit`, `lr-find` and `loop` share, one sentence each."""
    seed = options.seed_everything
    problems = []
    if isinstance(seed, bool) or not 0 <= seed <= MOST_SEED:
        problems.append(f"seed_everything is {seed}: expected a whole number from 0 to {MOST_SEED}")
    problems += both_given(options, "resume", "overwrite")
    return [*problems, *model_problems(options.model), *data_problems(options.data)]


def dotted_keys(groups: Mapping[str, type]) -> list[str]:
    """The keys of settings classes, such as model.lr."""
    return [f"{group}.{field.name}" for group, settings in groups.items() for field in fields(settings)]
