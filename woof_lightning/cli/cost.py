"""`woof cost`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from woof_lightning.cli.options import both_given, path_of, small_parser
from woof_lightning.cost.measurement import (
    check_installed,
    check_same_blocks,
    measure,
    planned,
    prepare,
    publish,
    summarised,
)
from woof_lightning.cost.plan import GROUPS, GROUPS_ON_CUDA
from woof_lightning.cost.rows import STEP, RowsFile
from woof_lightning.cost.summary import FEWEST_REPEATS
from woof_lightning.errors import raise_together
from woof_lightning.measure.process import check_system


def run(args: Sequence[str]) -> None:
    """Measures what each way to train costs.

    Args:
        args: The options.

    Raises:
        UserError: If an option cannot be used, the machine is busy, or its system cannot be measured on.
    """
    options = parse(args)
    rows_file = RowsFile(options.out / "rows.csv")
    if not options.summarise:
        check_system()
        measurement = planned(options)
        check_installed(measurement)
        if options.resume:
            check_same_blocks(measurement, rows_file)
        prepare(options, rows_file)
        measure(measurement, rows_file, options)
    found = summarised(options.out)
    print(table_of(found))
    figures = publish(found, options.out, allow_busy=options.allow_busy)
    print(f"rows, summary{' and figures' if figures else ''}: {options.out}")


def parse(args: Sequence[str]) -> Namespace:
    """Returns the options after checking them all.

    Raises:
        UserError: If options cannot be used. The error lists all of them.
    """
    parser = small_parser("cost")
    parser.add_argument("--out", type=path_of, default=Path("cost"), help="folder for rows.csv and summary.json (cost)")
    parser.add_argument("--quick", action="store_true", help="only the fixed cost of every way, 2 repeats")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, help="the timed groups (all)")
    parser.add_argument("--repeats", type=int, help=f"fresh processes per case ({FEWEST_REPEATS})")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, each on its own core (1)")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dry_run", action="store_true", help="try a measurement on cuda with the CPU standing in")
    parser.add_argument("--environments", type=path_of, help="folder for the environments of the group start, kept")
    parser.add_argument(
        "--resume", action="store_true", help="continue the measurement in --out, or add this machine's"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the measurement in --out")
    parser.add_argument(
        "--summarise", action="store_true", help="measure nothing, make summary and figures from the rows"
    )
    parser.add_argument("--allow_busy", action="store_true", help="measure and summarise even if the machine is busy")
    options = parser.parse_args(list(args))
    problems = both_given(options, "quick", "groups") + both_given(options, "resume", "overwrite")
    if options.repeats is not None and options.repeats < 1:
        problems.append(f"--repeats is {options.repeats}: expected at least 1")
    if options.accelerator == "cuda" and not options.dry_run and not cuda_is_there():
        problems.append(
            "--accelerator is cuda, but this machine has none that torch can use: expected cpu, or --dry_run"
        )
    if options.dry_run and options.accelerator != "cuda":
        problems.append("--dry_run is for --accelerator cuda: leave one of them out")
    on_cuda = set(options.groups or ()) - set(GROUPS_ON_CUDA)
    if options.accelerator == "cuda" and on_cuda:
        problems.append(f"--groups is {', '.join(sorted(on_cuda))}: on cuda expected {' or '.join(GROUPS_ON_CUDA)}")
    raise_together(problems)
    return options


def table_of(found: dict[str, Any]) -> str:
    """Returns the step times, the bounds and the notes of a summary as text for the terminal."""
    lines = []
    for estimate in found["estimates"]:
        if estimate["measure"] == STEP:
            line = f"{estimate['way']:<30}{estimate['condition']:<18}{estimate['median']:9.4g} us"
            over = estimate["over"]
            if over is not None:
                line += f"  {over['median']:+9.4g} ({over['low']:+.4g} to {over['high']:+.4g}) us"
                line += f" over {over['way']} {over['condition']}: {over['verdict']}"
            lines.append(line)
    for bound in found["bounds"]:
        lines.append(f"{bound['verdict']}: {bound['promise']}: {with_interval(bound['value'])}")
    for training in found["trainings"]:
        value = training["parts"]["all"]
        lines.append(f"{training['way']:<30}the post's training over bare, without its start: {with_interval(value)} s")
    for check in found["predictions"]:
        lines.append(
            f"{check['way']:<30}a small training: {check['measured_s']['median']:.3g} s, predicted over measured "
            f"{with_interval(check['ratio'])}"
        )
    return "\n".join([*lines, *(f"note: {note}" for note in found["notes"])])


def with_interval(value: dict[str, Any]) -> str:
    """Returns an estimate as text."""
    return f"{value['median']:.3g} ({value['low']:.3g} to {value['high']:.3g})"


def cuda_is_there() -> bool:
    """Returns whether torch can use a CUDA device."""
    import torch

    return torch.cuda.is_available()
