"""Compares all ways with the bare loop on a device, where sums have a fixed order: to the bit, or by how much.

python -m docs.results.gpu.parity ROWS.csv --accelerator cuda --data_root DATA --precision 32-true [--resumed]

It is what `woof loop --check` does on a CPU. A row is written as soon as it is there, and not made again.
--any_algorithm lets cuDNN and cuBLAS choose their algorithms as in a user's training.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from woof_lightning.cli.loop import verbs
from woof_lightning.errors import UserError
from woof_lightning.lit.quiet import quieten_libraries
from woof_lightning.loops.ways import REFERENCE, WAYS
from woof_lightning.parity import (
    EXPERIMENTS,
    WITHOUT_METRICS_FILE,
    Case,
    first_difference,
    known_reason,
    small_training,
    trained,
)
from woof_lightning.recipe.checkpoint import read_checkpoint
from woof_lightning.resources import prepare_to_compute
from woof_lightning.runs.folder import RunFolder

EQUAL, DIFFERS, KNOWN, REFUSED, FAILED = "equal", "differs", "known", "refused", "failed"
NOT_DETERMINISTIC = "does not have a deterministic implementation"


@dataclass(frozen=True)
class Row:
    """How a way compares with the bare loop.

    Args:
        accelerator: cpu or cuda.
        precision: 32-true or bf16-mixed.
        experiment: The experiment.
        resumed: Whether the run was cut and resumed, with loading processes.
        algorithms: "fixed order", or "any".
        way: The way.
        verdict: EQUAL, DIFFERS, KNOWN, REFUSED or FAILED.
        largest_difference: The largest difference between two weights after the last step.
        what: The first difference, or the error.
        not_deterministic: The operations that PyTorch cannot do in a fixed order.
        seconds: How long the training took.
    """

    accelerator: str
    precision: str
    experiment: str
    resumed: bool
    algorithms: str
    way: str
    verdict: str = EQUAL
    largest_difference: float | None = 0.0
    what: str = ""
    not_deterministic: str = ""
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, ...]:
        """What it is about."""
        return (self.accelerator, self.precision, self.experiment, str(self.resumed), self.algorithms, self.way)


COLUMNS = tuple(Row.__dataclass_fields__)


def main() -> int:
    """Compares what has no row yet, and returns 1 if a way differs for no known reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--data_root", type=Path, required=True, help="folder of the drawn images, made if needed")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--resumed", action="store_true", help="with 2 loading processes, cut and resumed")
    parser.add_argument("--any_algorithm", action="store_true")
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=["adamw_onecycle", "sgd_step"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--image_size", type=int, default=64)
    args = parser.parse_args()
    # cuBLAS sums in a fixed order only with it, and reads it when CUDA is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    prepare_to_compute()
    quieten_libraries()
    algorithms = "any" if args.any_algorithm else "fixed order"
    # small_training says cpu; what comes later wins.
    options = (*small_training(args.data_root, args.arch, args.image_size), "--trainer.accelerator", args.accelerator)
    done = {tuple(row[name] for name in COLUMNS[:6]): row["verdict"] for row in rows_in(args.rows)}
    for experiment in args.experiments:
        case = Case(experiment, 2 if args.resumed else 0, args.precision, 1 if args.resumed else None, options)
        wanted = [Row(args.accelerator, args.precision, experiment, args.resumed, algorithms, way) for way in args.ways]
        for row in compared(case, [row for row in wanted if row.key not in done]):
            add(args.rows, row)
            done[row.key] = row.verdict
            print(row.precision, row.experiment, row.way, row.verdict, row.what, flush=True)
    bad = [" ".join(key) for key, verdict in done.items() if verdict in (DIFFERS, FAILED)]
    print(f"differ or failed: {len(bad)} of {len(done)}: {'; '.join(bad)}" if bad else "all agree")
    return 1 if bad else 0


def compared(case: Case, rows: Sequence[Row]) -> Iterator[Row]:
    """Trains in the ways of some rows, and yields the rows with their verdicts."""
    if not rows:
        return
    with TemporaryDirectory(prefix="woof-parity-") as place:
        with algorithms_of(rows[0]):
            straight = replace(case, workers=0, cut_before=None)
            reference = trained(straight, Path(place) / "reference", verbs()[REFERENCE])
        for row in rows:
            start_s = time.perf_counter()
            with algorithms_of(row) as warned:
                found = verdict(case, reference, Path(place) / row.way, row)
            seconds = round(time.perf_counter() - start_s, 2)
            yield replace(found, not_deterministic=", ".join(sorted(set(warned))), seconds=seconds)


def verdict(case: Case, reference: RunFolder, folder: Path, row: Row) -> Row:
    """Trains in a way and returns its row with what was found."""
    try:
        run = trained(case, folder, verbs()[row.way])
        difference = first_difference(reference, run, with_metrics=row.way not in WITHOUT_METRICS_FILE)
        largest = largest_difference(reference, run)
    except UserError as error:
        return replace(row, verdict=REFUSED, what=str(error).splitlines()[0], largest_difference=None)
    except Exception as error:  # A way that fails on this device must not hide the others.
        lines = str(error).strip().splitlines() or [""]
        return replace(row, verdict=FAILED, what=f"{type(error).__name__}: {lines[-1]}", largest_difference=None)
    if difference is None:
        return replace(row, largest_difference=largest)
    reason = known_reason(row.way, case, difference)
    return replace(row, verdict=KNOWN if reason else DIFFERS, what=difference, largest_difference=largest)


def largest_difference(one: RunFolder, other: RunFolder) -> float:
    """Returns the largest difference between two weights of two runs' last checkpoints."""
    first, second = (read_checkpoint(run.last)["state_dict"] for run in (one, other))
    pairs: list[tuple[Tensor, Tensor]] = [(first[name], second[name]) for name in first if name in second]
    return max(float((left.double() - right.double()).abs().max()) for left, right in pairs)


@contextmanager
def algorithms_of(row: Row) -> Iterator[list[str]]:
    """Fixes the order of sums within the block, and yields the operations for which PyTorch cannot do that."""
    fixed = row.algorithms != "any"
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(fixed, warn_only=True)
    warned: list[str] = []
    shown = warnings.showwarning

    def noted(message: Warning | str, *arguments: object, **options: object) -> None:
        if NOT_DETERMINISTIC in str(message):
            warned.append(str(message).split()[0])
        else:
            shown(message, *arguments, **options)  # type: ignore[arg-type]

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=f".*{NOT_DETERMINISTIC}")
        warnings.showwarning = noted
        try:
            yield warned
        finally:
            torch.use_deterministic_algorithms(False)


def rows_in(file: Path) -> list[dict[str, str]]:
    """Returns the rows of a file; none if it is not there."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def add(file: Path, row: Row) -> None:
    """Appends a row."""
    new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerows([COLUMNS] if new else [])
        writer.writerow([getattr(row, name) for name in COLUMNS])


if __name__ == "__main__":
    raise SystemExit(main())
