"""`woof VERB`: finds the verb, runs it, and turns errors into a message and an exit code."""

from __future__ import annotations

import importlib
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from types import FrameType

from woof_lightning.cli.configs import shipped_configs
from woof_lightning.cli.environment import origin_of, variables_of, with_environment
from woof_lightning.cli.messages import fixable, interrupted, stopped
from woof_lightning.cli.options import VERBS
from woof_lightning.errors import (
    INTERRUPTED_EXIT_CODE,
    NO_READER_EXIT_CODE,
    NON_FINITE_EXIT_CODE,
    USER_ERROR_EXIT_CODE,
    CommonError,
    NonFiniteLossError,
    StoppedBySignal,
    UserError,
    did_you_mean,
    user_message,
)
from woof_lightning.runs.alone import number

Verb = Callable[[Sequence[str]], None]


def main(args: Sequence[str] | None = None) -> int:
    """Runs `woof`.

    Args:
        args: The command line without the program's name; by default that of the process.

    Returns:
        The exit code: 0, or 2 for an error that the user can fix, 3 if a loss is NaN or infinite, 128 plus the number
        of the signal that stopped the run (130 after Ctrl-C), or 141 if the reader closed the pipe. Faults of the
        program itself are raised.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # A name may have characters that the terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if args is None else args)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(metadata.version("woof-lightning"))
        return 0
    # Figures are files. A notebook's shell cells name a backend that only the notebook has.
    os.environ["MPLBACKEND"] = "agg"
    verb = arguments[0]
    try:
        with tidy_on_sigterm(verb):
            run = find_verb(verb)
            tell_variables(verb)
            run(with_environment(verb, arguments[1:]))
            sys.stdout.flush()
    except BrokenPipeError:
        if not reader_is_gone():
            raise
        return NO_READER_EXIT_CODE
    except UserError as error:
        common = isinstance(error, CommonError)
        message = user_message(error)
        origin = origin_of(message, verb, arguments[1:])
        return ended(f"error: {message}{origin}", USER_ERROR_EXIT_CODE, all_know=common)
    except NonFiniteLossError as error:
        return ended(str(error), NON_FINITE_EXIT_CODE, all_know=True)
    except StoppedBySignal as error:
        return ended(stopped(error, verb), error.exit_code, all_know=True, after_a_bar=True)
    except KeyboardInterrupt:
        return ended(interrupted(verb), INTERRUPTED_EXIT_CODE, all_know=True, after_a_bar=True)
    except (OSError, EOFError, RuntimeError, ModuleNotFoundError) as error:
        problem = fixable(error)
        if problem is None:
            raise
        return ended(f"error: {problem}", USER_ERROR_EXIT_CODE)
    except SystemExit as error:  # argparse has printed its help or an error.
        return error.code if isinstance(error.code, int) else USER_ERROR_EXIT_CODE
    return 0


def tell_variables(verb: str) -> None:
    """Prints on stderr which environment variables set options, since nobody sees them on the command line."""
    if (names := variables_of(verb).values()) and number() == 0:
        print(f"note: options are set by the environment: {', '.join(names)}", file=sys.stderr)


def ended(message: str, exit_code: int, *, all_know: bool = False, after_a_bar: bool = False) -> int:
    """Prints on stderr why the command ended, and returns its exit code.

    Args:
        message: Why.
        exit_code: The exit code.
        all_know: Whether all processes of the training end for that reason. The first one alone tells it then.
        after_a_bar: Whether a bar or ^C may stand on the line.
    """
    own = number()
    if own == 0 or not all_know:
        if after_a_bar:
            print(file=sys.stderr)
        print(f"woof: {f'process {own}: ' if own else ''}{message}", file=sys.stderr)
    return exit_code


@contextmanager
def tidy_on_sigterm(verb: str) -> Iterator[None]:
    """Ends the block with StoppedBySignal after SIGTERM, so that a verb removes what it has half made.

    Verbs that train or measure have their own way to stop.
    """
    if verb in ("fit", "loop", "cost") or not is_main_thread():
        yield
        return

    def stop(signum: int, _: FrameType | None) -> None:
        raise StoppedBySignal(signum, saved=False)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def reader_is_gone() -> bool:
    """Returns whether stdout has no reader any more, as after `head` has ended."""
    if hasattr(select, "poll"):  # Windows does not have it.
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        if not poll.poll(0):
            return False
    # Python flushes stdout again when it ends, which would print an error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def find_verb(name: str) -> Verb:
    """Returns the function of a verb.

    Raises:
        UserError: If there is no such verb.
    """
    if name not in VERBS:
        raise UserError(f"{name} is no verb; {did_you_mean(name, VERBS, 'woof --help lists them')}")
    # Imported now, since torch and Lightning take seconds to import.
    with ctrl_c_afterwards():
        run: Verb = importlib.import_module(f"woof_lightning.cli.{name.replace('-', '_')}").run
    return run


@contextmanager
def ctrl_c_afterwards() -> Iterator[None]:
    """Ends the block with KeyboardInterrupt at its end if Ctrl-C was pressed within it.

    Within the import of torch, KeyboardInterrupt can turn into another error, such as RecursionError.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not is_main_thread():
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda signum, _: pressed.append(signum))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt


def is_main_thread() -> bool:
    """Returns whether this is the thread that may set what signals do."""
    return threading.current_thread() is threading.main_thread()


def usage() -> str:
    """Returns the help of `woof`."""
    verbs = "\n".join(f"  {name:<10}{summary}" for name, summary in VERBS.items())
    return (
        f"usage: woof VERB [options]\n\n{verbs}\n\n"
        "woof VERB --help lists a verb's options, woof --version prints the version.\n"
        f"Shipped configs, for --config NAME: {', '.join(shipped_configs())}.\n"
        "Exit codes: 0 done, 2 something you can fix, 3 a loss that is NaN or infinite, 130 Ctrl-C, 143 SIGTERM,\n"
        "138 SIGUSR1, 141 the reader closed the pipe, 1 a fault of the program."
    )
