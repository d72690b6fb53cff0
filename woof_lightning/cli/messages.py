"""Messages for users: how a run was stopped, what to do about an error, what a parser found wrong."""

from __future__ import annotations

import difflib
import errno
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

from woof_lightning.cli.options import SEED_KEYS
from woof_lightning.errors import StoppedBySignal, UserError, is_disk_error

# What jsonargparse writes about a class among the settings: the class, then the reason up to the next item of its list.
CLASS_PROBLEM = re.compile(r"Problem with given class_path '([^']+)':\s*(.+?)\n(?=\s*-|\s*Given|\s*$)", re.DOTALL)
# As difflib counts similarity: max_epoch and max_epochs have 0.95, weights and weight_decay 0.63.
CLOSE = 0.8
RESUMES = "resume the run from its last checkpoint with --resume"
# What to do after a verb was interrupted.
AFTER = {
    "fit": RESUMES,
    "loop": RESUMES,
    "cost": "continue the measurement with --resume",
    "lr-find": "nothing was kept; run the sweep again",
}
AGAIN = "run the command again"


def interrupted(verb: str) -> str:
    """Returns that Ctrl-C ended a verb, and what to do then."""
    return f"interrupted; {AFTER.get(verb, AGAIN)}"


def stopped(error: StoppedBySignal, verb: str) -> str:
    """Returns how a signal ended a verb, and what to do then."""
    name = signal.Signals(error.signum).name
    if error.saved:
        return f"stopped by {name} after a whole step, which is saved; resume with --resume"
    whom = "" if error.process is None else f"process {error.process} was "
    return f"{whom}stopped by {name}; {AFTER.get(verb, AGAIN)}"


def fixable(error: Exception) -> UserError | None:
    """Returns what the user can do about an error of files, disk, packages or loading processes; None for others."""
    from woof_lightning.data.workers import worker_problem
    from woof_lightning.runs.folder import exists, read_problem, write_problem

    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("woof_lightning"):
        return UserError(f"a package is missing: {str(error).strip()}")
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
        r"unrecognized arguments: -*(\S+?)(?:=|\s|$)|(?:does not accept (?:option|nested key)|^Option) '(\S+)'",
        complaint,
    )
    if strange:
        return unknown_key(strange[1] or strange[2], known, verb)
    by_class = CLASS_PROBLEM.search(f"{complaint}\n")
    if by_class:
        named = re.match(r'Parser key "([^"]+)"', complaint)
        return f"{named[1] if named else 'trainer.*'} is {by_class[1]}: {' '.join(by_class[2].split())}"
    wrong = re.match(r'Parser key "([^"]+)":\s*(.*)', complaint, re.DOTALL)
    if wrong and "Expected a" in wrong[2]:
        key, detail = wrong.groups()
        key = "seed_everything" if key in SEED_KEYS else key
        value = re.search(r"(?:Got value|Given value): (.*)", detail)
        expected = dict.fromkeys(
            _type_name(t) for t in re.findall(r"Expected an? (.*?)(?:\. Got value.*)?$", detail, re.M)
        )
        return f"{key} is {value[1] if value else 'of the wrong type'}: expected {' or '.join(expected)}"
    plain = complaint.replace('Parser key "', "").replace('":', ":", 1)
    return re.sub(r"(arguments are required: )(?:fit|lr_find)\.", r"\1", plain)


def unknown_key(key: str, known: Sequence[str], verb: str) -> str:
    """Returns a message about a key that a verb does not take, with the key that was probably meant.

    Args:
        key: The key, dotted.
        known: All keys that the verb takes, dotted.
        verb: The verb whose help the message points to.
    """
    near = nearest_key(key, known)
    return f"{key} is no known setting; {f'did you mean {near}?' if near else f'see woof {verb} --help'}"


def nearest_key(key: str, known: Sequence[str]) -> str | None:
    """Returns the known key that differs from a key by a slip of the finger or a left-out word; None if none does.

    A key that is merely similar, as label_noise is to label_smoothing, may mean something else.

    Args:
        key: The key, dotted.
        known: The known keys, dotted.
    """
    group, _, name = key.rpartition(".")
    for strict in (True, False):  # First within the same group, so that model.lr is not taken for another's.
        found = [other for other in known if not strict or other.rpartition(".")[0] == group]
        names = {other.rpartition(".")[2]: other for other in reversed(found)}
        if near := difflib.get_close_matches(name, names, n=1, cutoff=CLOSE):
            return names[near[0]]
        words = set(name.split("_"))
        if len(longer := [other for other in names if words < set(other.split("_"))]) == 1:
            return names[longer[0]]
    return None


def _type_name(annotation: str) -> str:
    literal = re.match(r"typing\.Literal\[(.*)\]", annotation)
    if literal:
        return literal[1].replace("'", "")
    names = {"NoneType": "null", "float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
    bare = re.sub(r"<class '([^']+)'>", r"\1", annotation)
    return names.get(bare, bare)
