"""Errors that end a command with one clear message and an exit code instead of a traceback."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence
from typing import TypeGuard

USER_ERROR_EXIT_CODE = 2
NON_FINITE_EXIT_CODE = 3
INTERRUPTED_EXIT_CODE = 130
# The exit code in shells if the reader closed the pipe: 128 plus the number of SIGPIPE.
NO_READER_EXIT_CODE = 141
# Shells add this to the number of the signal that ended a process.
SIGNAL_EXIT_CODE = 128
# A full disk, a quota, a file-size limit, a read-only file system, a folder without write permission.
DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


class UserError(Exception):
    """An error that the user can fix, such as a wrong setting, missing data, or a run folder that is in use.

    The message names the argument, its value, what was expected and the way out. `woof` prints it on stderr and ends
    with exit code 2.
    """


class CommonError(UserError):
    """An error that all processes of a training raise together. The first one alone prints its message."""


class ProcessGoneError(CommonError):
    """Raised in the processes of a training that are left after one of them has ended."""


class NonFiniteLossError(Exception):
    """Raised if the loss or the weights become NaN or infinite. `woof` ends with exit code 3."""


class StoppedBySignal(Exception):  # noqa: N818  It is no error: somebody sent the signal on purpose.
    """Raised after a signal ended a training.

    Args:
        signum: The signal. `woof` ends with 128 plus its number, as shells do.
        saved: Whether the current step was finished and saved first.
        process: The number of the process that it ended, if it was sent to one of several; None if to all.
    """

    def __init__(self, signum: int, saved: bool = True, process: int | None = None) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum
        self.saved = saved
        self.process = process

    @property
    def exit_code(self) -> int:
        """The exit code: 143 for SIGTERM, 138 for SIGUSR1, 130 for Ctrl-C."""
        return SIGNAL_EXIT_CODE + self.signum


class UnreadableImageError(UserError):
    """Raised if an image file cannot be decoded. The message starts with its path."""


class DamagedCacheError(UserError):
    """Raised if a file of decoded images is damaged. The message names it."""


def is_disk_error(error: BaseException) -> TypeGuard[OSError]:
    """Returns whether an error comes from the disk: it is full or cannot be written to."""
    return isinstance(error, OSError) and error.errno in DISK_ERRNOS


def reason_of(error: Exception) -> str:
    """Returns the first line of an error's text, or the error's name if it has none."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def raise_together(problems: Sequence[str], what: str = "settings cannot be used") -> None:
    """Raises all problems as one error; does nothing if there are none.

    Args:
        problems: One sentence per problem.
        what: What the problems have in common, for the first line if there are several.

    Raises:
        UserError: If there are problems. The message has one line per problem.
    """
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise UserError(f"{len(problems)} {what}:\n{lines}")


def did_you_mean(name: str, known: Iterable[str], otherwise: str, cutoff: float = 0.6) -> str:
    """Returns a question that suggests the nearest known name.

    Args:
        name: What the user wrote.
        known: The known names.
        otherwise: What is returned if none of them is near.
        cutoff: How similar a name must be, from 0 to 1, as difflib counts it.
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else otherwise


def user_message(error: UserError) -> str:
    """Returns the message of an error without a traceback.

    A DataLoader re-raises an error of a worker with the worker's traceback as its text. The original message is at the
    end of it.
    """
    text = str(error)
    if text.startswith("Caught ") and "Original Traceback" in text:
        return text.rpartition("Error: ")[2].strip()
    return text
