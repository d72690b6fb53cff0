"""A run's folder: who may take it, what lies in it, and writes that a kill cannot tear."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from woof_lightning.errors import UserError
from woof_lightning.locks import is_locked, locked

TEMPORARY_PREFIX = ".writing-"


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
        """The files of a run that lie in this folder, and no others."""
        known = [self.config, self.metrics, self.result, self.best, self.last]
        patterns = (
            "events.out.tfevents.*",
            "checkpoints/epoch_*",  # The hand-rolled loop's.
            f"{TEMPORARY_PREFIX}*",
            f"checkpoints/{TEMPORARY_PREFIX}*",
        )
        found = [file for pattern in patterns for file in self.path.glob(pattern)]
        return [file for file in known if file.is_file()] + found

    def check_free(self) -> None:
        """Raises a UserError when the folder already holds a run."""
        self.check_can_be_made()
        # A run that was killed while it wrote its first file has left nothing to go on with.
        if any(not file.name.startswith(TEMPORARY_PREFIX) for file in self.files()):
            raise UserError(
                f"{self.path} already holds a run: go on with it (--resume), keep it and choose another name "
                "(--name NAME), or replace it (--overwrite)"
            )

    def check_can_be_made(self) -> None:
        """Raises a UserError when something else than a folder is in the way."""
        there = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        if not there.is_dir():
            raise UserError(
                f"{there} is a file: expected a folder for the run; choose another with --name or --runs_dir"
            )

    def check_no_sweep(self) -> None:
        """Raises a UserError when the folder already holds a learning-rate sweep."""
        self.check_can_be_made()
        if self.lr_find.exists():
            raise UserError(
                f"{self.lr_find} already holds a sweep: keep it and choose another name (--name NAME), or replace it "
                "(--overwrite)"
            )

    def create(self) -> None:
        """Makes the folder.

        Raises:
            UserError: When it cannot be written to.
        """
        make_folder(self.checkpoints, "--runs_dir")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, no other process takes this folder for a run; it must exist.

        Raises:
            UserError: When another process has it.
        """
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.lock_file, wait=False))
            except OSError as error:
                raise UserError(
                    f"{self.path} is in use: another process trains in it; wait for its end, or choose another --name"
                ) from error
            yield

    def is_locked(self) -> bool:
        """Whether another process trains in this folder now."""
        return is_locked(self.lock_file)

    def check_there(self) -> None:
        """Raises a UserError when the folder has gone while its run goes on."""
        if not self.path.is_dir():
            raise UserError(f"the run's folder {self.path} has vanished: nothing can be saved; start the run anew")

    def clear(self) -> None:
        """Removes the files of a run and leaves whatever else lies in the folder."""
        for file in self.files():
            file.unlink()

    def clear_leftovers(self) -> None:
        """Removes temporary files of a writer that was killed."""
        for file in self.files():
            if file.name.startswith(TEMPORARY_PREFIX):
                file.unlink()

    def last_good_checkpoint(self) -> Path | None:
        """The checkpoint to go on from: last.ckpt, or best.ckpt where last is damaged; None before the first.

        A damaged one is named on stderr.

        Raises:
            UserError: When there are checkpoints and none of them is whole.
        """
        there = [file for file in (self.last, self.best) if file.is_file()]
        problems = {file: zip_problem(file) for file in there}
        for file in there:
            if problems[file] is None:
                return file
            print(f"{file} cannot be used: {problems[file]}", file=sys.stderr)
        if there:
            listed = "; ".join(f"{file}: {problem}" for file, problem in problems.items())
            raise UserError(f"no checkpoint of this run is whole ({listed}): start anew with --overwrite or --name")
        return None

    def saved_at_ns(self) -> int | None:
        """When last.ckpt was written; None where there is none."""
        return self.last.stat().st_mtime_ns if self.last.is_file() else None

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes result.json."""
        write_text_durably(self.result, json.dumps(result, indent=2) + "\n")


def make_folder(folder: Path, option: str) -> None:
    """Makes a folder and those above it.

    Args:
        folder: The folder.
        option: The option that names another.

    Raises:
        UserError: When it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {folder} cannot be made ({error.strerror}): choose another with {option}"
        ) from error


def exists(place: Path) -> bool:
    """Whether something lies at a path; not where the path is too long, of which Path.exists makes an error."""
    return os.path.exists(place)  # noqa: PTH110


@contextmanager
def made_folder(folder: Path, option: str) -> Iterator[None]:
    """A folder for what the block writes; a block that fails leaves no empty folder that was not there before.

    Args:
        folder: The folder.
        option: The option that names another.

    Raises:
        UserError: When it cannot be made or written to.
    """
    made = [place for place in (folder, *folder.parents) if not exists(place)]
    make_folder(folder, option)
    try:
        yield
    except BaseException as error:
        with suppress(OSError):  # Not empty: something was written.
            for place in made:
                place.rmdir()
        if isinstance(error, OSError) and Path(os.fsdecode(error.filename or "")).is_relative_to(folder):
            raise UserError(
                f"nothing can be written into the folder {folder} ({error.strerror}): choose another with {option}"
            ) from error
        raise


def checkpoint_file(run_or_file: Path) -> Path:
    """The checkpoint that a person means: a file, or a run's best.ckpt.

    Raises:
        UserError: When there is none, or it is not whole.
    """
    file = RunFolder(run_or_file).best if run_or_file.is_dir() else run_or_file
    if not file.is_file():
        raise UserError(
            f"--ckpt is {run_or_file}: there is no {'checkpoint in it' if run_or_file.is_dir() else 'such file'}; "
            "expected a run's folder or a .ckpt file"
        )
    problem = zip_problem(file)
    if problem is not None:
        raise UserError(f"--ckpt is {file}: {problem}; take another checkpoint")
    return file


def zip_problem(file: Path) -> str | None:
    """What is wrong with a checkpoint file, or None when every one of its checksums holds.

    torch.save writes a zip archive with a CRC-32 per tensor, which torch.load does not look at.
    """
    if file.stat().st_size == 0:
        return "the file is empty"
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return f"it is truncated or no checkpoint ({error})"
    return f"it is damaged (the checksum of {damaged} does not hold)" if damaged else None


def read_problem(file: Path, error: OSError) -> str:
    """Why a file that is there could not be read, and what to do about it."""
    return f"{file} cannot be read ({error.strerror}): make it readable for this user"


GO_ON = "go on with --resume, or choose another place with --runs_dir"


def write_problem(target: Path, error: BaseException, then: str = GO_ON) -> str:
    """Why a file could not be written, and what to do about it.

    Args:
        target: The file.
        error: What was raised.
        then: What to do once there is room.
    """
    causes = [error, error.__context__, error.__cause__]
    reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), str(error))
    return (
        f"{target} could not be written ({reason}). What was written before is whole; make room or make the folder "
        f"writable, then {then}"
    )


@contextmanager
def writing_durably(target: Path) -> Iterator[IO[bytes]]:
    """A file that becomes `target` when the block ends, or leaves the old target when it fails.

    The temporary file lies beside the target and both it and the folder are flushed to the disk, so
    that after a kill or a power cut there is either the old file or the new one.
    """
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{target.name}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_durably(target: Path, text: str) -> None:
    """Replaces a text file as a whole."""
    with writing_durably(target) as file:
        file.write(text.encode())


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows knows no folder handles.
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
