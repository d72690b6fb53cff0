"""`woof cost`: measures what each way to train costs, and says so."""

from __future__ import annotations

import functools
import json
import shlex
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from woof_lightning.cost.arms import ARMS
from woof_lightning.cost.code import code
from woof_lightning.cost.draw import draw_figures
from woof_lightning.cost.environments import make_environments
from woof_lightning.cost.machine import MOST_OTHERS_SHARE, CPUTimes, cpu_times
from woof_lightning.cost.measure import ALL, Row, RowsFile, Told, measure_alone, measure_in_turns, pinned, rows_of
from woof_lightning.cost.plan import GROUPS, START, STARTED, Case, indirection_cases, on_cuda, quick_cases
from woof_lightning.cost.summary import FEWEST_REPEATS, STEP, summary
from woof_lightning.errors import UserError, raise_together
from woof_lightning.runs.command_line import Parser
from woof_lightning.runs.folder import write_text_durably
from woof_lightning.runs.record import machine, versions

QUICK_REPEATS = 3
FRAMEWORKS = ("lightning", "fastai", "pytorch-ignite", "accelerate", "pytorch-nn-tools")
# Counted, not timed: once is enough.
COUNTED, INSTALLED = "counted", "installed"
# Nothing else should run; a moment's watching tells before an hour is spent.
WATCH_S = 3.0
# A block is measured so often until nothing else ran meanwhile; then it is kept, and tells on the whole.
MOST_TRIES = 3


@dataclass(frozen=True)
class Measurement:
    """What a call of `woof cost` measures.

    Args:
        groups: The timed groups, by name.
        counted: The cases whose calls are counted.
        repeats: Blocks of each group.
    """

    groups: dict[str, list[Case]]
    counted: list[Case]
    repeats: int


def cost(args: Sequence[str]) -> None:
    """Runs `woof cost`.

    Args:
        args: The options.

    Raises:
        UserError: When an option cannot be used, or the machine was not free.
    """
    options = parse(args)
    rows_file = RowsFile(options.out / "rows.csv")
    if not options.summarise:
        measurement = planned(options)
        if options.resume:
            check_same_blocks(measurement, rows_file)
        prepare(options, rows_file)
        measure(measurement, rows_file, options)
    summarise(options.out, allow_busy=options.allow_busy)


def parse(args: Sequence[str]) -> Namespace:
    """The options, checked."""
    parser = Parser(prog="woof cost", description="Measure what each way to train costs.", allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("cost"), help="folder for rows.csv and summary.json (cost)")
    parser.add_argument("--quick", action="store_true", help="fixed cost, indirection and code only, 3 repeats")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, help="the timed groups (all)")
    parser.add_argument("--repeats", type=int, help=f"fresh processes of each case ({FEWEST_REPEATS})")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, each on a core of its own (1)")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--environments", type=Path, help="where the start-up's environments are made and kept")
    parser.add_argument("--resume", action="store_true", help="go on with the rows that are there")
    parser.add_argument("--overwrite", action="store_true", help="replace the rows that are there")
    parser.add_argument("--summarise", action="store_true", help="measure nothing: summary and figures from the rows")
    parser.add_argument("--allow_busy", action="store_true", help="summarise even when the machine was not free")
    options = parser.parse_args(list(args))
    problems = []
    if options.repeats is not None and options.repeats < 1:
        problems.append(f"--repeats is {options.repeats}: expected at least 1")
    if options.quick and options.groups:
        problems.append("--quick and --groups were both given: expected one of them")
    if options.resume and options.overwrite:
        problems.append("--resume and --overwrite were both given: expected one of them")
    if options.accelerator == "cuda" and not cuda_is_there():
        problems.append("--accelerator is cuda, but this machine has none that torch can use: expected cpu")
    raise_together(problems)
    return options


def planned(options: Namespace) -> Measurement:
    """What the options ask for."""
    groups = {"fixed": quick_cases()} if options.quick else {name: GROUPS[name]() for name in options.groups or GROUPS}
    if options.accelerator == "cuda":
        # A start-up has no device to wait for.
        groups = {name: cases if name == START else on_cuda(cases) for name, cases in groups.items()}
    return Measurement(
        {name: pinned(cases, options.threads) for name, cases in groups.items()},
        pinned(indirection_cases(), 1),
        options.repeats or (QUICK_REPEATS if options.quick else FEWEST_REPEATS),
    )


def prepare(options: Namespace, rows_file: RowsFile) -> None:
    """Takes the folder and notes the conditions.

    Raises:
        UserError: When it holds rows of another measurement, or the machine is busy now.
    """
    conditions_file, conditions = options.out / "conditions.json", conditions_of(options)
    if rows_file.path.exists() and not options.overwrite:
        if not options.resume:
            raise UserError(
                f"{rows_file.path} is there: go on with --resume, replace it with --overwrite, or choose another --out"
            )
        before = json.loads(conditions_file.read_text())
        differing = [key for key in ("versions", "machine", "threads", "accelerator") if before[key] != conditions[key]]
        if differing:
            raise UserError(f"{options.out} was measured with other {', '.join(differing)}: choose another --out")
        conditions = before | {"calls": [*before["calls"], *conditions["calls"]]}
    if not options.allow_busy:
        check_free()
    if options.overwrite:
        rows_file.path.unlink(missing_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    write_text_durably(conditions_file, json.dumps(conditions, indent=2) + "\n")


def check_same_blocks(measurement: Measurement, rows_file: RowsFile) -> None:
    """Makes sure that the blocks which are there hold every case of the measurement.

    Raises:
        UserError: When one does not: what is compared lies in one block.
    """
    rows = rows_file.read()
    there = {(row.arm, row.condition, row.repeat) for row in rows}
    for name, cases in measurement.groups.items():
        for repeat in range(measurement.repeats):
            lacking = [case for case in cases if (case.arm, case.condition, repeat) not in there]
            if lacking and (ALL, name, repeat) in there:
                raise UserError(
                    f"{rows_file.path} holds repeat {repeat + 1} of the group {name} without {lacking[0].arm} "
                    f"({lacking[0].condition}), as --quick measures it: choose another --out, or go on with --quick"
                )


def conditions_of(options: Namespace) -> dict[str, Any]:
    """Where and how is measured."""
    words = ["woof", "cost", *(["--quick"] if options.quick else [])]
    words += ["--groups", *options.groups] if options.groups else []
    words += [f"--repeats={options.repeats}"] if options.repeats else []
    words += [f"--threads={options.threads}", f"--accelerator={options.accelerator}"]
    words += ["--resume"] if options.resume else []
    return {
        "calls": [{"date": datetime.now(timezone.utc).strftime("%Y-%m-%d"), "command": shlex.join(words)}],
        "accelerator": options.accelerator,
        "threads": options.threads,
        "machine": machine(options.threads),
        "versions": versions(FRAMEWORKS),
    }


def check_free(readings: Callable[[], CPUTimes | None] = cpu_times, watch_s: float = WATCH_S) -> None:
    """Watches the machine for a moment.

    Raises:
        UserError: When others use it.
    """
    before, own_s = readings(), time.process_time()
    time.sleep(watch_s)
    after = readings()
    if before is None or after is None:
        return
    share = before.others_share(after, time.process_time() - own_s)
    if share > MOST_OTHERS_SHARE:
        raise UserError(
            f"the machine is busy: in the last {watch_s:.0f} s others used {share:.0%} of a core (/proc/stat); end "
            "what else runs, or measure for yourself with --allow_busy"
        )


def measure(measurement: Measurement, rows_file: RowsFile, options: Namespace) -> None:
    """Measures what the rows do not hold yet, a block at a time."""
    say = functools.partial(print, flush=True)
    done = {(row.condition, row.repeat) for row in rows_file.read()}
    if (COUNTED, 0) not in done:
        rows_file.append([row for arm in STARTED for row in rows_of(arm, COUNTED, 0, code(ARMS[arm]))])
    if (measurement.counted[0].condition, 0) not in done:
        rows_file.append(measure_alone(measurement.counted, 0, say))
    with TemporaryDirectory(prefix="woof-environments-") as temporary:
        pythons = {}
        if START in measurement.groups:
            made = make_environments(options.environments or Path(temporary), STARTED, say)
            pythons = {arm: environment.python for arm, environment in made.items()}
            if (INSTALLED, 0) not in done:
                rows_file.append([row for arm in made for row in rows_of(arm, INSTALLED, 0, made[arm].values())])
            # The first start reads files that later ones find in memory.
            measure_alone(measurement.groups[START], 0, say, pythons)
        for name, cases in measurement.groups.items():
            for repeat in range(measurement.repeats):
                if (name, repeat) in done:
                    continue
                say(f"{name}: repeat {repeat + 1} of {measurement.repeats}")
                block = (
                    functools.partial(measure_alone, cases, repeat, say, pythons)
                    if name == START
                    else functools.partial(measure_in_turns, cases, name, repeat, say)
                )
                rows_file.append(block() if options.allow_busy else undisturbed(block, say))


def undisturbed(block: Callable[[], list[Row]], told: Told) -> list[Row]:
    """The rows of a block, which is measured again when others used the machine meanwhile, a few times at most."""
    rows = block()
    for _ in range(MOST_TRIES - 1):
        share = max((row.value for row in rows if row.measure == "others_share"), default=0.0)
        if share <= MOST_OTHERS_SHARE:
            break
        told(f"disturbed: others used {share:.0%} of a core; this block is measured again")
        rows = block()
    return rows


def summarise(out: Path, *, allow_busy: bool) -> None:
    """Writes summary.json and the figures from the rows, and says what they hold.

    Raises:
        UserError: When there are no rows, or the machine was not free.
    """
    rows = RowsFile(out / "rows.csv").read()
    if not rows:
        raise UserError(f"{out} has no rows.csv: expected the folder of a measurement")
    found = summary(rows, json.loads((out / "conditions.json").read_text()))
    print(table_of(found))
    if found["refusals"] and not allow_busy:
        raise UserError(
            "nothing is published: "
            + "; ".join(found["refusals"])
            + f". The rows are in {out}; measure again when the "
            "machine is free (--overwrite), or look at them with --summarise --allow_busy"
        )
    write_text_durably(out / "summary.json", json.dumps(found, indent=1) + "\n")
    figures = draw_figures(found, out)
    print(f"rows, summary{' and figures' if figures else ''}: {out}")


def table_of(found: dict[str, Any]) -> str:
    """The timed estimates and the bounds, for a terminal."""
    lines = []
    for estimate in found["estimates"]:
        if estimate["measure"] == STEP:
            told = f"{estimate['arm']:<30}{estimate['condition']:<18}{estimate['median']:9.4g} us"
            over = estimate["over"]
            if over is not None:
                told += f"  {over['median']:+9.4g} ({over['low']:+.4g} to {over['high']:+.4g}) us: {over['verdict']}"
                told += f", {over['arm']} {over['condition']} taken off"
            lines.append(told)
    for bound in found["bounds"]:
        value = bound["value"]
        lines.append(
            f"{bound['verdict']}: {bound['promise']}: {value['median']:.3g} ({value['low']:.3g} to {value['high']:.3g})"
        )
    return "\n".join([*lines, *(f"note: {note}" for note in found["notes"])])


def cuda_is_there() -> bool:
    """Whether torch can use a CUDA device."""
    import torch

    return torch.cuda.is_available()
