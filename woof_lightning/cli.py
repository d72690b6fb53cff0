"""The command `woof`: its verbs, their small parsers, and its exit codes."""

from __future__ import annotations

import argparse
import difflib
import errno
import io
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from woof_lightning.compare.tables import text_table
from woof_lightning.errors import (
    INTERRUPTED_EXIT_CODE,
    NO_READER_EXIT_CODE,
    NON_FINITE_EXIT_CODE,
    USER_ERROR_EXIT_CODE,
    NonFiniteLossError,
    StoppedBySignal,
    UserError,
    is_disk_error,
    user_message,
)
from woof_lightning.runs.command_line import Parser

# torch and Lightning take seconds to import, so each verb imports what it needs when it is called.


def main(args: Sequence[str] | None = None) -> int:
    """Runs `woof`.

    Args:
        args: The command line without the program's name; by default the process's.

    Returns:
        0, or 2 when the user can mend what was wrong, 3 when a loss is NaN or infinite, 128 and the number of a
        signal that stopped the run (130 after Ctrl-C), or 141 when nobody reads the output any more. Faults of the
        program itself are raised.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # A name that the terminal's encoding has not is no fault.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if args is None else args)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if arguments[0] == "--version":
        print(metadata.version("woof-lightning"))
        return 0
    try:
        _verb(arguments[0])(arguments[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        if not has_no_reader():
            raise
        return NO_READER_EXIT_CODE
    except UserError as error:
        print(f"woof: error: {user_message(error)}", file=sys.stderr)
        return USER_ERROR_EXIT_CODE
    except NonFiniteLossError as error:
        print(f"woof: {error}", file=sys.stderr)
        return NON_FINITE_EXIT_CODE
    except StoppedBySignal as stopped:
        name = signal.Signals(stopped.signum).name
        saved = " after a whole step and saved; go on" if stopped.saved else "; a run goes on from its last checkpoint"
        print(f"\nwoof: stopped by {name}{saved} with --resume", file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("\nwoof: interrupted; a run goes on from its last checkpoint with --resume", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    except (OSError, RuntimeError) as error:
        problem = mendable(error)
        if problem is None:
            raise
        print(f"woof: error: {problem}", file=sys.stderr)
        return USER_ERROR_EXIT_CODE
    except SystemExit as error:  # argparse has printed its help or its complaint.
        return error.code if isinstance(error.code, int) else USER_ERROR_EXIT_CODE
    return 0


def has_no_reader() -> bool:
    """Whether the output cannot be written because what read it has ended, as `head` does."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not poll.poll(0):
        return False
    # Python flushes once more when it ends, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def mendable(error: OSError | RuntimeError) -> UserError | None:
    """What the user can do about files, a full disk or loading processes; None for other errors."""
    from woof_lightning.data.workers import worker_problem
    from woof_lightning.runs.folder import exists, read_problem, write_problem

    if isinstance(error, OSError):
        file = Path(os.fsdecode(error.filename or "a file of the run"))
        if error.errno == errno.EACCES and exists(file) and not os.access(file, os.R_OK):
            return UserError(read_problem(file, error))
        vanished = error.errno == errno.ENOENT and not file.parent.exists()
        if vanished or is_disk_error(error):
            return UserError(write_problem(file, error, "run the command again (a run goes on with --resume)"))
    return worker_problem(error)


def fit(args: Sequence[str]) -> None:
    """Train, the Lightning way."""
    from woof_lightning.lit.cli import fit as lightning_fit

    lightning_fit(args)


def lr_find(args: Sequence[str]) -> None:
    """Sweep the learning rate and suggest one."""
    from woof_lightning.lit.cli import lr_find as lightning_lr_find

    lightning_lr_find(args)


def loop(args: Sequence[str]) -> None:
    """Train the same experiment under another loop."""
    if args and args[0] == "--check":
        from woof_lightning.cost.parity import check

        check(args[1:])
        return
    from woof_lightning.loops.verb import loop as run_loop

    run_loop(args)


def cost(args: Sequence[str]) -> None:
    """Measure what each way to train costs."""
    from woof_lightning.cost.verb import cost as measure_cost

    measure_cost(args)


def validate(args: Sequence[str]) -> None:
    """Validate a run: top-1, top-5, per class, confusion matrix."""
    parser = _parser("validate", validate)
    _add_checkpoint(parser)
    _add_data(parser, "root", "folder", "archive")
    parser.add_argument("--num_workers", "--data.num_workers", type=int, help="loading processes")
    parser.add_argument("--accelerator", default="auto", help="Lightning's: auto, cpu, gpu, …")
    parser.add_argument("--out", type=Path, help="folder for result.json and confusion.png (RUN/validate)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(args)

    _check_one_place(options, "root", "archive")

    from woof_lightning.runs.folder import checkpoint_file

    file = checkpoint_file(options.ckpt)
    data = {name: getattr(options, name) for name in ("root", "folder", "archive", "num_workers")}

    from woof_lightning.compare.draw import draw_confusion
    from woof_lightning.lit.validate import validate as lightning_validate
    from woof_lightning.runs.folder import made_folder, write_text_durably

    out = options.out or (file.parent.parent if file.parent.name == "checkpoints" else file.parent) / "validate"
    with made_folder(out, "--out"):
        found = lightning_validate(file, options.accelerator, **{k: v for k, v in data.items() if v is not None})
        text = json.dumps({"checkpoint": str(file), **found.as_dict()}, indent=2)
        write_text_durably(out / "result.json", text + "\n")
        draw_confusion(found.confusion, found.breeds, out / "confusion.png")
    if options.json:
        print(text)
        return
    print("  ".join(f"{name} {value:.6g}" for name, value in found.metrics.items()))
    _print_table(
        ("breed", "class", "images", "top-1"),
        (
            (breed, name, str(sum(row)), f"{accuracy:.3f}")
            for breed, name, row, accuracy in zip(
                found.breeds, found.classes, found.confusion, found.class_accuracy(), strict=True
            )
        ),
    )
    print(f"confusion matrix: {out / 'confusion.png'}")


def predict(args: Sequence[str]) -> None:
    """Name the breed on images."""
    parser = _parser("predict", predict)
    _add_checkpoint(parser)
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    parser.add_argument("--top", type=int, default=3, help="how many breeds to name (3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(args)
    if options.top < 1:
        raise UserError(f"--top is {options.top}: expected at least 1")

    from woof_lightning.runs.folder import checkpoint_file

    file = checkpoint_file(options.ckpt)

    from woof_lightning.recipe.prediction import predict as predict_images

    found = list(predict_images(file, options.images, options.top))
    if options.json:
        print(json.dumps([{"image": str(i), "top": [asdict(g) for g in guesses]} for i, guesses in found], indent=2))
        return
    rows = ((str(i), g.breed, g.class_name, f"{g.probability:.3f}") for i, guesses in found for g in guesses)
    _print_table(("image", "breed", "class", "probability"), rows)


def compare(args: Sequence[str]) -> None:
    """Look at runs beside each other: table, settings that differ, figures, a page."""
    parser = _parser("compare", compare)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="a run's folder, or one that holds runs")
    parser.add_argument("--out", type=Path, help="folder for tables, figures and index.html")
    options = parser.parse_args(args)

    from woof_lightning.compare.comparison import compare as compare_runs

    found = compare_runs(options.runs, options.out)
    print("\n\n".join(found.lines()))
    if options.out is not None:
        print(f"page, tables and figures: {options.out / 'index.html'}")


def data(args: Sequence[str]) -> None:
    """Get a data set, check it, say what is on disk."""
    parser = _parser("data", data)
    _add_data(parser, "root", "folder", "archive")
    parser.add_argument("--variant", "--data.variant", help="full, 320px, 160px or synthetic: get and check it")
    parser.add_argument("--noisy_labels", "--data.noisy_labels", type=int, default=0, help="percent of wrong labels")
    parser.add_argument("--no_download", action="store_true", help="do not fetch an archive")
    options = parser.parse_args(args)
    _check_one_place(options, "root", "archive", "variant")
    root = options.root or Path("data")

    from woof_lightning.data.config import VARIANTS, DataConfig
    from woof_lightning.data.images import check_images, class_counts
    from woof_lightning.data.imagewoof import data_folder, prepare_data

    if options.variant is None and options.folder is None:
        if options.archive is not None:
            raise UserError(f"--archive is {options.archive}: say which --variant it holds")
        places = {variant: data_folder(DataConfig(root=root, variant=variant)) for variant in VARIANTS}
        _print_table(
            ("variant", "folder", "on disk"),
            ((variant, str(place), "yes" if place.is_dir() else "no") for variant, place in places.items()),
        )
        print("get one with: woof data --variant NAME [--archive FILE]")
        return
    index = prepare_data(
        DataConfig(
            root=root,
            variant=options.variant or "synthetic",
            folder=options.folder,
            archive=options.archive,
            download=not options.no_download,
            noisy_labels=options.noisy_labels,
        )
    )
    longest_side_px = check_images(index)
    counts = {split: class_counts(getattr(index, split), index.classes) for split in ("train", "val")}
    rows = [
        (breed, name, str(counts["train"][name]), str(counts["val"][name]))
        for breed, name in zip(index.breeds, index.classes, strict=True)
    ]
    _print_table(("breed", "class", "train", "val"), [*rows, ("all", "", str(len(index.train)), str(len(index.val)))])
    print(f"{index.root}: every image can be read, the longest side is {longest_side_px} px")
    print(f"fingerprint {index.fingerprint}")


VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "fit": fit,
    "lr-find": lr_find,
    "loop": loop,
    "cost": cost,
    "compare": compare,
    "validate": validate,
    "predict": predict,
    "data": data,
}


def _usage() -> str:
    verbs = "\n".join(f"  {name:<10}{_summary(verb)}" for name, verb in VERBS.items())
    return (
        f"usage: woof VERB [options]\n\n{verbs}\n\n"
        "woof VERB --help tells a verb's options, woof --version the version.\n"
        "Exit codes: 0 done, 2 something you can mend, 3 a loss that is NaN or infinite, 130 Ctrl-C, 143 SIGTERM,\n"
        "138 SIGUSR1, 141 an output that nobody reads, 1 a fault of the program."
    )


def _verb(name: str) -> Callable[[Sequence[str]], None]:
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1)
        raise UserError(f"{name} is no verb; {f'did you mean {near[0]}?' if near else 'woof --help lists them'}")
    return VERBS[name]


def _summary(verb: Callable[[Sequence[str]], None]) -> str:
    return (verb.__doc__ or "").rstrip(".")


def _parser(name: str, verb: Callable[[Sequence[str]], None]) -> argparse.ArgumentParser:
    return Parser(prog=f"woof {name}", description=_summary(verb), allow_abbrev=False)


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ckpt", type=Path, required=True, metavar="RUN_OR_FILE", help="a run's folder (its best.ckpt) or a .ckpt file"
    )


def _add_data(parser: argparse.ArgumentParser, *names: str) -> None:
    texts = {
        "root": "folder in which data sets lie",
        "folder": "a folder with train/ and val/, instead of a data set in root",
        "archive": "a local archive to unpack into root",
    }
    for name in names:
        parser.add_argument(f"--{name}", f"--data.{name}", type=Path, help=texts[name])


def _check_one_place(options: argparse.Namespace, *others: str) -> None:
    given = [f"--{name}" for name in others if getattr(options, name) is not None]
    if options.folder is not None and given:
        raise UserError(f"--folder is {options.folder}, and {given[0]} was given too: expected one of them")


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(text_table(header, list(rows)))
