"""Messages for users: how a run was stopped, what to do about an error, what a parser found wrong."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

from woof_lightning.cli.options import SEED_KEYS
from woof_lightning.errors import StoppedBySignal, UserError, did_you_mean, is_disk_error

# What jsonargparse writes about a class among the settings: the class, then the reason up to the next item of its list.
CLASS_PROBLEM = re.compile(r"Problem with given class_path '([^']+)':\s*(.+?)\n(?=\s*-|\s*Given|\s*$)", re.DOTALL)
INTERRUPTED = "interrupted; resume the run from its last checkpoint with --resume"


def stopped(error: StoppedBySignal) -> str:
    """Returns how a signal ended a run, and how to resume it."""
    name = signal.Signals(error.signum).name
    if error.saved:
        return f"stopped by {name} after a whole step, which is saved; resume with --resume"
    return f"stopped by {name}; resume the run from its last checkpoint with --resume"


def fixable(error: OSError | EOFError | RuntimeError) -> UserError | None:
    """Returns what the user can do about an error of files, the disk or loading processes; None for other errors."""
    from woof_lightning.data.workers import worker_problem
    from woof_lightning.runs.folder import exists, read_problem, write_problem

    if isinstance(error, OSError):
        file = Path(os.fsdecode(error.filename or "a file of the run"))
        if error.errno == errno.EACCES and exists(file) and not os.access(file, os.R_OK):
            return UserError(read_problem(file, error))
        vanished = error.errno == errno.ENOENT and not file.parent.exists()
        if vanished or is_disk_error(error):
            return UserError(write_problem(file, error, "run the command again (a run resumes with --resume)"))
    return worker_problem(error)


def readable(complaint: str, known: Sequence[str], verb: str) -> str:
    """Returns a parser's error as one sentence: the key, its value, what was expected, and the way out.

    jsonargparse 4.53 raises a single error class, so only the text says what is wrong.

    Args:
        complaint: The message of jsonargparse.
        known: All keys that the verb takes, dotted.
        verb: The verb whose help the message points to.
    """
    strange = re.search(
        r"unrecognized arguments: -*(\S+?)(?:=|\s|$)|does not accept (?:option|nested key) '(\S+)'", complaint
    )
    if strange:
        key = strange[1] or strange[2]
        return f"{key} is no known setting; {did_you_mean(key, known, f'see woof {verb} --help', cutoff=0.5)}"
    by_class = re.search(
        r"Problem with given class_path '([^']+)':\s*(.+?)\n(?:\s*-|\s*Given|\s*$)", f"{complaint}\n", re.DOTALL
    )
    if by_class:
        key = re.match(r'Parser key "([^"]+)"', complaint)
        reason = " ".join(by_class[2].split())
        return f"{key[1] if key else 'a setting'} is {by_class[1]}: {reason}"
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
