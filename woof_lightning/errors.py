"""What the user did wrong: one clear message and an exit code, never a traceback."""

from __future__ import annotations

import errno
from collections.abc import Sequence

USER_ERROR_EXIT_CODE = 2
NON_FINITE_EXIT_CODE = 3
INTERRUPTED_EXIT_CODE = 130
# What shells give where what reads the output has ended: 128 and SIGPIPE.
NO_READER_EXIT_CODE = 141
# What shells add to a signal's number.
SIGNAL_EXIT_CODE = 128
# A full disk, a quota, a file-size limit, a read-only file system, a folder that may not be written to.
DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


class UserError(Exception):
    """A mistake that the user can mend: bad input, missing data, a taken run folder.

    The message names the argument, its value, what was expected and the way out.
    `woof` prints it on stderr and ends with exit code 2.
    """


class NonFiniteLossError(Exception):
    """A training whose loss or weights are NaN or infinite; `woof` ends with exit code 3."""


class StoppedBySignal(Exception):  # noqa: N818  Not an error: somebody wished it.
    """A training that a signal ended.

    Args:
        signum: The signal; `woof` ends with 128 and its number, as shells have it.
        saved: Whether the step was finished and saved first.
    """

    def __init__(self, signum: int, saved: bool = True) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum
        self.saved = saved

    @property
    def exit_code(self) -> int:
        """143 for SIGTERM, 138 for SIGUSR1, 130 for Ctrl-C."""
        return SIGNAL_EXIT_CODE + self.signum


class UnreadableImageError(UserError):
    """An image file that cannot be decoded; the message starts with its path."""


def is_disk_error(error: BaseException) -> bool:
    """Whether the place is at fault and not what was written: a full disk, or one that cannot be written."""
    return isinstance(error, OSError) and error.errno in DISK_ERRNOS


def raise_together(problems: Sequence[str], what: str = "settings cannot be used") -> None:
    """Raises all problems as one error, or returns when there is none.

    Args:
        problems: A sentence each.
        what: What several of them have in common.

    Raises:
        UserError: With one line per problem.
    """
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise UserError(f"{len(problems)} {what}:\n{lines}")


def user_message(error: UserError) -> str:
    """The message as the user should read it.

    A DataLoader re-raises a worker's error with the worker's traceback as its text;
    what the user needs is the original message at its end.
    """
    text = str(error)
    if text.startswith("Caught ") and "Original Traceback" in text:
        return text.rpartition("Error: ")[2].strip()
    return text
