"""The command `woof`: its verbs, their small parsers, and its exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata

from woof_lightning.errors import INTERRUPTED_EXIT_CODE, USER_ERROR_EXIT_CODE, UserError, user_message

# Where each verb lives: imported when it is called, since torch and Lightning take seconds.
VERBS = {
    "fit": ("woof_lightning.lit.cli:fit", "train, the Lightning way"),
    "validate": ("woof_lightning.lit.validate:main", "validate a run: top-1, top-5, per class, confusion matrix"),
    "predict": ("woof_lightning.predict:main", "name the breed on images"),
    "data": ("woof_lightning.data:main", "get a data set, check it, say what is on disk"),
}
USAGE = "usage: woof VERB [options]\n\n{verbs}\n\nwoof VERB --help tells the options of a verb; woof --version the version."


def main(args: Sequence[str] | None = None) -> int:
    """Runs `woof`.

    Args:
        args: The command line without the program's name; by default the process's.

    Returns:
        0, or 2 when the user can mend what was wrong, or 130 after Ctrl-C. Faults of the program
        itself are raised.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE.format(verbs="\n".join(f"  {verb:<10}{text}" for verb, (_, text) in VERBS.items())))
        return 0
    if arguments[0] == "--version":
        print(metadata.version("woof-lightning"))
        return 0
    try:
        _verb(arguments[0])(arguments[1:])
    except UserError as error:
        print(f"woof: error: {user_message(error)}", file=sys.stderr)
        return USER_ERROR_EXIT_CODE
    except KeyboardInterrupt:
        print("\nwoof: interrupted; --resume goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    except SystemExit as error:  # argparse has printed its help or its complaint.
        return error.code if isinstance(error.code, int) else USER_ERROR_EXIT_CODE
    return 0


def _verb(name: str) -> Callable[[Sequence[str]], object]:
    if name not in VERBS:
        import difflib

        near = difflib.get_close_matches(name, VERBS, n=1)
        raise UserError(f"{name} is no verb; {f'did you mean {near[0]}?' if near else 'woof --help lists them'}")
    module, _, function = VERBS[name][0].partition(":")
    verb: Callable[[Sequence[str]], object] = getattr(import_module(module), function)
    return verb
