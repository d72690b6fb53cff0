"""Runs measurements in fresh processes, interleaved, and keeps their raw rows."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from woof_lightning.cost.machine import MOST_OTHERS_SHARE, cpu_times
from woof_lightning.cost.plan import Case
from woof_lightning.cost.worker import Job
from woof_lightning.errors import UserError

# The unit of each measure.
UNITS = {
    "step_us": "us",
    "peak_rss_mb": "MB",
    "peak_gpu_mb": "MB",
    "first_step_s": "s",
    "trained_s": "s",
    "import_s": "s",
    "modules": "modules",
    "packages": "packages",
    "installed_mb": "MB",
    "others_share": "cores",
    "calls": "calls",
    "framework_files": "files",
    "frames_to_step": "frames",
    "frames_to_optimizer": "frames",
    "traceback_frames": "frames",
    "traceback_user_frames": "frames",
    "logical_lines": "lines",
    "framework_names": "names",
}
WAIT_AT_MOST_S = 600


@dataclass(frozen=True)
class Row:
    """One measured value."""

    arm: str
    measure: str
    condition: str
    repeat: int
    value: float
    unit: str


HEADER = tuple(Row.__dataclass_fields__)


class RowsFile:
    """The rows of rows.csv; a block of them is written at once.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Row]:
        """The rows so far."""
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return [
                Row(r["arm"], r["measure"], r["condition"], int(r["repeat"]), float(r["value"]), r["unit"])
                for r in csv.DictReader(file)
            ]

    def append(self, rows: Sequence[Row]) -> None:
        """Adds rows."""
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([HEADER] if new else [])
            writer.writerows([*astuple(row)[:4], f"{row.value:.6g}", row.unit] for row in rows)


def rows_of(case: Case, repeat: int, values: dict[str, float]) -> list[Row]:
    """Values as rows."""
    return [Row(case.arm, name, case.condition, repeat, value, UNITS[name]) for name, value in values.items()]


def measure_block(cases: Sequence[Case], repeat: int, told: Callable[[str], None]) -> list[Row]:
    """Measures every case once, in an order that the repeat's number shuffles."""
    rows = []
    for case in random.Random(repeat).sample(list(cases), len(cases)):
        values = run_job(case.job, terminal=case.terminal)
        told(f"{case.arm:<24}{case.condition:<20}" + "  ".join(f"{n} {v:.4g}" for n, v in values.items()))
        rows += rows_of(case, repeat, values)
    return rows


def run_job(job: Job, *, terminal: bool = False, python: Path | None = None) -> dict[str, float]:
    """Does a job in a process of its own.

    Args:
        job: The job.
        terminal: Whether the process is given a terminal, whose output is thrown away.
        python: The interpreter; by default this one.

    Returns:
        The worker's values, and `others_share`: the share of one core that was used by others or stolen meanwhile.

    Raises:
        RuntimeError: When the worker fails; its output is in the message.
    """
    with TemporaryDirectory(prefix="woof-job-") as place:
        job_file, result_file = Path(place, "job.json"), Path(place, "result.json")
        before, own_before_s = cpu_times(), sum(os.times()[:2])
        job_file.write_text(json.dumps(asdict(replace(job, started_s=time.perf_counter()))))
        command = [str(python or sys.executable), "-m", "woof_lightning.cost.worker", str(job_file), str(result_file)]
        code, output, child_s = run_apart(command, terminal)
        if code != 0:
            raise RuntimeError(f"the measurement of {job.arm} ended with exit code {code}:\n{output}")
        values: dict[str, float] = json.loads(result_file.read_text())
        after = cpu_times()
        if before is not None and after is not None:
            own_s = child_s + sum(os.times()[:2]) - own_before_s
            values["others_share"] = before.others_share(after, own_s)
        return values


def run_apart(command: Sequence[str], terminal: bool) -> tuple[int, str, float]:
    """Runs a command.

    Returns:
        Its exit code, the end of its output, and the processor time that it and its children used, in seconds.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *_python_path()])}
    reading, writing = pty.openpty() if terminal else os.pipe()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, env=environment, close_fds=True
    )
    os.close(writing)
    output = bytearray()
    with os.fdopen(reading, "rb", buffering=0) as stream:
        reader = threading.Thread(target=_drain, args=(stream, output))
        reader.start()
        timer = threading.Timer(WAIT_AT_MOST_S, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        reader.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, output[-4000:].decode(errors="replace"), usage.ru_utime + usage.ru_stime


def busy_share(rows: Sequence[Row]) -> float:
    """The share of the measurements during which others used more of the machine than is allowed."""
    shares = [row.value for row in rows if row.measure == "others_share"]
    return sum(share > MOST_OTHERS_SHARE for share in shares) / len(shares) if shares else 0.0


def pinned(cases: Sequence[Case], threads: int) -> list[Case]:
    """The cases with so many threads, on cores of their own where the system can do that."""
    if threads < 1:
        raise UserError(f"--threads is {threads}: expected at least 1")
    cores: tuple[int, ...] = ()
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = tuple(sorted(os.sched_getaffinity(0)))[-threads:]
        if len(cores) < threads:
            raise UserError(f"--threads is {threads}: this process may use {len(cores)} cores")
    return [replace(case, job=replace(case.job, threads=threads, cores=cores)) for case in cases]


def _python_path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _drain(stream: IO[bytes], output: bytearray) -> None:
    # A terminal whose other end was closed reads as an error, not as an end.
    with contextlib.suppress(OSError):
        while chunk := stream.read(65536):
            output += chunk
