"""What the verbs' command lines share: keys of one call, a run's default name, complaints that can be read."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from woof_lightning.errors import UserError

SEED_KEYS = ("model.seed", "data.seed")  # Led there from seed_everything; nobody sets them.
# Keys of one call, not of the experiment: a config.yaml that held them would collide or resume by itself.
CALL_KEYS = ("config", "name", "runs_dir", "overwrite")
NOT_SAVED = (*CALL_KEYS, "resume", "json", "save_every", "allow_nan")

MOST_SEED = 2**32 - 1  # NumPy's bound, and so Lightning's.


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are a UserError."""

    def error(self, message: str) -> NoReturn:
        """Raises a UserError that names the help."""
        raise UserError(f"{message}; see {self.prog} --help")


def default_name(configs: Sequence[Any] | None) -> str:
    """The first config's stem; for a run's own config.yaml the run's name."""
    if not configs:
        return "fit"
    first = Path(str(configs[0]))
    return first.resolve().parent.name if first.name == "config.yaml" else first.stem


def call_problems(seed: int | bool, resume: bool, overwrite: bool) -> list[str]:
    """What in the seed and in the options of a call cannot be used, one sentence each."""
    problems = []
    if isinstance(seed, bool) or not 0 <= seed <= MOST_SEED:
        problems.append(f"seed_everything is {seed}: expected a whole number from 0 to {MOST_SEED}")
    if resume and overwrite:
        problems.append("--resume and --overwrite were both given: expected one of them")
    return problems


def readable(complaint: str, known: Sequence[str], verb: str) -> str:
    """A parser's complaint as one sentence with the key, its value, what was expected, and the way out.

    Args:
        complaint: jsonargparse's message.
        known: Every key that the verb takes, dotted.
        verb: Whose help to name.
    """
    unknown = re.search(
        r"unrecognized arguments: -*(\S+?)(?:=|\s|$)|does not accept (?:option|nested key) '(\S+)'", complaint
    )
    if unknown:
        key = unknown[1] or unknown[2]
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        return f"{key} is no known setting; {f'did you mean {near[0]}?' if near else f'see woof {verb} --help'}"
    wrong = re.match(r'Parser key "([^"]+)":\s*(.*)', complaint, re.DOTALL)
    if wrong and "Expected a" in wrong[2]:
        key, detail = wrong.groups()
        key = "seed_everything" if key in SEED_KEYS else key
        value = re.search(r"(?:Got value|Given value): (.*)", detail)
        expected = dict.fromkeys(
            _type_name(t) for t in re.findall(r"Expected an? (.*?)(?:\. Got value.*)?$", detail, re.M)
        )
        return f"{key} is {value[1] if value else 'of the wrong type'}: expected {' or '.join(expected)}"
    return complaint.replace('Parser key "', "").replace('":', ":", 1)


def _type_name(annotation: str) -> str:
    literal = re.match(r"typing\.Literal\[(.*)\]", annotation)
    if literal:
        return literal[1].replace("'", "")
    names = {"NoneType": "null", "float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
    bare = re.sub(r"<class '([^']+)'>", r"\1", annotation)
    return names.get(bare, bare)
