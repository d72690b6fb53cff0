"""A run's folder: its files, its lock, and writes that survive a kill at any moment."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from woof_lightning.checksums import zip_problem
from woof_lightning.errors import UserError
from woof_lightning.locks import is_locked, locked

TEMPORARY_PREFIX = ".writing-"
HAND_ROLLED_CHECKPOINTS = "checkpoints/epoch_*"
# Windows replaces no file that another program has open. A virus scanner or a reader is done after a moment.
REPLACE_WAITS_S = (0.05, 0.2, 1.0)


class RunFolder:
    """The folder `runs_dir/name` of one run.

    Args:
        path: The folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.csv"
        self.result = path / "result.json"
        self.lr_find = path / "lr_find"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.lock_file = path / ".lock"

    def files(self) -> list[Path]:
        """Returns the files in this folder that belong to a run, and no others."""
        known = [self.config, self.metrics, self.result, self.best, self.last]
        patterns = (
            "events.out.tfevents.*",
            HAND_ROLLED_CHECKPOINTS,
            f"{TEMPORARY_PREFIX}*",
            f"checkpoints/{TEMPORARY_PREFIX}*",
        )
        found = [file for pattern in patterns for file in self.path.glob(pattern)]
        return [file for file in known if file.is_file()] + found

    def has_trained(self) -> bool:
        """Returns whether the folder holds a run that trained: metrics, a checkpoint or a result.

        A run that died in its first steps has left nothing worth keeping.
        """
        left = (self.metrics, self.result, self.best, self.last, *self.path.glob(HAND_ROLLED_CHECKPOINTS))
        return any(file.is_file() for file in left)

    def check_free(self) -> None:
        """Raises a UserError if the folder already holds a run that trained."""
        self.check_can_be_made()
        if self.has_trained():
            raise UserError(
                f"{self.path} already holds a run: resume it (--resume), keep it and choose another name "
                "(--name NAME), or replace it (--overwrite)"
            )

    def check_can_be_made(self) -> None:
        """Raises a UserError if the path of the folder, or a part of it, is a file."""
        there = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        if not there.is_dir():
            raise UserError(
                f"{there} is a file: expected a folder for the run; choose another with --name or --runs_dir"
            )

    def check_no_sweep(self) -> None:
        """Raises a UserError if the folder already holds a learning-rate sweep."""
        self.check_can_be_made()
        if self.lr_find.is_dir() and any(self.lr_find.iterdir()):
            raise UserError(
                f"{self.lr_find} already holds a sweep: keep it and choose another name (--name NAME), or replace it "
                "(--overwrite)"
            )

    def create(self) -> None:
        """Creates the folder.

        Raises:
            UserError: If it cannot be created.
        """
        make_folder(self.checkpoints, "--runs_dir")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the folder during the block, so that no other process trains in it. The folder must exist.

        Raises:
            UserError: If another process has locked it.
        """
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.lock_file, wait=False))
            except OSError as error:
                raise UserError(
                    f"{self.path} is in use: another process trains in it; wait until it ends, or choose another --name"
                ) from error
            yield

    def is_locked(self) -> bool:
        """Returns whether another process is training in this folder."""
        return is_locked(self.lock_file)

    def check_there(self) -> None:
        """Raises a UserError if somebody removed the folder during the run."""
        if not self.path.is_dir():
            raise UserError(f"the run's folder {self.path} has vanished: nothing can be saved; start the run again")

    def clear(self) -> None:
        """Removes the files of a run and keeps all other files of the folder."""
        for file in self.files():
            file.unlink()

    def clear_leftovers(self) -> None:
        """Removes temporary files that a killed process left behind."""
        for file in self.files():
            if file.name.startswith(TEMPORARY_PREFIX):
                file.unlink()

    def last_good_checkpoint(self) -> Path | None:
        """Returns the checkpoint to resume from: last.ckpt, or best.ckpt if that one is damaged; None if there is none.

        Damaged checkpoints are reported on stderr.

        Raises:
            UserError: If all checkpoints are damaged.
        """
        there = [file for file in (self.last, self.best) if file.is_file()]
        problems = {file: zip_problem(file) for file in there}
        for file in there:
            if problems[file] is None:
                return file
            print(f"{file} cannot be used: {problems[file]}", file=sys.stderr)
        if there:
            listed = "; ".join(f"{file}: {problem}" for file, problem in problems.items())
            raise UserError(
                f"no checkpoint of this run is intact ({listed}): start the run again with --overwrite, or start "
                "another run with --name"
            )
        return None

    def saved_at_ns(self) -> int | None:
        """Returns when last.ckpt was written, in nanoseconds since the epoch; None if there is none."""
        return self.last.stat().st_mtime_ns if self.last.is_file() else None

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes result.json."""
        write_text_durably(self.result, json.dumps(result, indent=2) + "\n")


def make_folder(folder: Path, option: str) -> None:
    """Creates a folder and its parents.

    Args:
        folder: The folder.
        option: The command-line option that sets this folder, for the error message.

    Raises:
        UserError: If it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be made ({error.strerror}): choose another with {option}"
        ) from error


def exists(place: Path) -> bool:
    """Returns whether a path exists; False if it is too long, for which Path.exists raises an error."""
    return os.path.exists(place)  # noqa: PTH110


@contextmanager
def made_folder(folder: Path, option: str) -> Iterator[None]:
    """Creates a folder for the block to write to; if the block fails, empty folders that this created are removed.

    Args:
        folder: The folder.
        option: The command-line option that sets this folder, for the error message.

    Raises:
        UserError: If it cannot be created or written to.
    """
    made = [place for place in (folder, *folder.parents) if not exists(place)]
    make_folder(folder, option)
    try:
        yield
    except BaseException as error:
        with suppress(OSError):  # It is not empty if something was written.
            for place in made:
                place.rmdir()
        if isinstance(error, OSError) and Path(os.fsdecode(error.filename or "")).is_relative_to(folder):
            raise UserError(
                f"nothing can be written into the folder {folder} ({error.strerror}): choose another with {option}"
            ) from error
        raise


def checkpoint_file(run_or_file: Path) -> Path:
    """Returns the checkpoint file that --ckpt names: the file itself, or of a run's folder best.ckpt, else last.ckpt.

    Args:
        run_or_file: The value of --ckpt.

    Raises:
        UserError: If there is no such file, or it is damaged.
    """
    file = run_or_file
    if run_or_file.is_dir():
        run = RunFolder(run_or_file)
        file = next((there for there in (run.best, run.last) if there.is_file()), run.best)
    if not file.is_file():
        raise UserError(
            f"--ckpt is {run_or_file}: there is no {'checkpoint in it' if run_or_file.is_dir() else 'such file'}; "
            "expected a run's folder or a .ckpt file"
        )
    problem = zip_problem(file)
    if problem is not None:
        raise UserError(f"--ckpt is {file}: {problem}; take another checkpoint")
    return file


def folder_of(checkpoint: Path) -> Path:
    """Returns the run's folder of a checkpoint, or the folder of one that lies in no run.

    Args:
        checkpoint: The checkpoint file.
    """
    here = checkpoint.parent
    return here.parent if here == RunFolder(here.parent).checkpoints else here


def read_problem(file: Path, error: OSError) -> str:
    """Returns a message: why an existing file could not be read, and what to do about it."""
    return f"{file} cannot be read ({error.strerror}): make it readable for this user"


THEN_RESUME = "resume the run with --resume, or choose another folder with --runs_dir"


def write_problem(target: Path, error: BaseException, then: str = THEN_RESUME) -> str:
    """Returns a message: why a file could not be written, and what to do about it.

    Args:
        target: The file.
        error: The exception that writing it raised.
        then: What to do after making room.
    """
    causes = [error, error.__context__, error.__cause__]
    reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), str(error))
    return (
        f"{target} could not be written ({reason}). Everything written before is intact; make room or make the folder "
        f"writable, then {then}"
    )


@contextmanager
def writing_durably(target: Path) -> Iterator[IO[bytes]]:
    """Yields a binary file that replaces `target` when the block ends; if the block fails, `target` does not change.

    The block writes to a temporary file beside the target. That file and its folder are flushed to the disk, so after a
    kill or a power cut the target is either the old file or the new one.
    """
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{target.name}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_durably(target: Path, text: str) -> None:
    """Replaces a text file in one step, so that a kill or a power cut leaves either the old file or the new one."""
    with writing_durably(target) as file:
        file.write(text.encode())


def _replace(temporary: Path, target: Path) -> None:
    for wait_s in REPLACE_WAITS_S if sys.platform == "win32" else ():
        with suppress(PermissionError):
            temporary.replace(target)
            return
        time.sleep(wait_s)
    temporary.replace(target)


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open folders.
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
