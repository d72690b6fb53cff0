"""The steps of `woof cost`: plan the measurement, prepare it, measure block by block, summarise, publish."""

from __future__ import annotations

import functools
import json
import shlex
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from woof_lightning.cost.draw import draw_figures
from woof_lightning.cost.environments import make_environments
from woof_lightning.cost.plan import GROUPS, START, STARTED, Case, indirection_cases, on_cuda, quick_cases
from woof_lightning.cost.rows import ALL, Row, RowsFile, rows_of
from woof_lightning.cost.summary import FEWEST_REPEATS, summary
from woof_lightning.cost.turns import Report, measure_alone, measure_in_turns, pinned
from woof_lightning.cost.ways import MEASURED, code_of
from woof_lightning.errors import UserError
from woof_lightning.measure.busy import MOST_OTHERS_SHARE, CPUTimes, cpu_times
from woof_lightning.runs.folder import write_text_durably
from woof_lightning.runs.record import machine, versions

QUICK_REPEATS = 3
FRAMEWORKS = ("fastai", "pytorch-ignite", "accelerate", "pytorch-nn-tools")
# Conditions of what is counted, not timed. Once is enough.
COUNTED, INSTALLED = "counted", "installed"
# How long to watch for other programs before a measurement that takes an hour.
WATCH_S = 3.0
# How often a disturbed block is measured at most. The last try is kept and counts as disturbed.
MOST_TRIES = 3


@dataclass(frozen=True)
class Measurement:
    """What a call of `woof cost` measures.

    Args:
        groups: The cases of the timed groups, by the group's name.
        counted: The cases whose calls are counted.
        repeats: Number of blocks per group.
    """

    groups: dict[str, list[Case]]
    counted: list[Case]
    repeats: int


def planned(options: Namespace) -> Measurement:
    """Returns the measurement that the options of the command ask for."""
    groups = {"fixed": quick_cases()} if options.quick else {name: GROUPS[name]() for name in options.groups or GROUPS}
    if options.accelerator == "cuda":
        # The start-up is measured without a device.
        groups = {name: cases if name == START else on_cuda(cases) for name, cases in groups.items()}
    return Measurement(
        {name: pinned(cases, options.threads) for name, cases in groups.items()},
        pinned(indirection_cases(), 1),
        options.repeats or (QUICK_REPEATS if options.quick else FEWEST_REPEATS),
    )


def prepare(options: Namespace, rows_file: RowsFile) -> None:
    """Prepares the folder of the measurement and writes conditions.json.

    Args:
        options: The options of the command.
        rows_file: The file of the rows.

    Raises:
        UserError: If the folder holds another measurement, or the machine is busy.
    """
    conditions_file, conditions = options.out / "conditions.json", conditions_of(options)
    if rows_file.path.exists() and not options.overwrite:
        if not options.resume:
            raise UserError(
                f"{rows_file.path} exists: continue it with --resume, replace it with --overwrite, or choose another "
                "--out"
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
    """Checks that the existing blocks contain every case of the measurement, because cases are compared within a block.

    Args:
        measurement: The measurement to continue.
        rows_file: The file of the rows.

    Raises:
        UserError: If a block lacks a case.
    """
    rows = rows_file.read()
    there = {(row.way, row.condition, row.repeat) for row in rows}
    for name, cases in measurement.groups.items():
        for repeat in range(measurement.repeats):
            lacking = [case for case in cases if (case.way, case.condition, repeat) not in there]
            if lacking and (ALL, name, repeat) in there:
                raise UserError(
                    f"{rows_file.path} holds repeat {repeat + 1} of the group {name} without {lacking[0].way} "
                    f"({lacking[0].condition}), as --quick measures it: choose another --out, or continue with --quick"
                )


def conditions_of(options: Namespace) -> dict[str, Any]:
    """Returns where and how the call measures, for conditions.json."""
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
    """Watches for a moment whether other programs use the machine. Does nothing on systems without /proc/stat.

    Args:
        readings: Returns a reading of the processor times.
        watch_s: How long to watch, in s.

    Raises:
        UserError: If others use it.
    """
    before, own_s = readings(), time.process_time()
    time.sleep(watch_s)
    after = readings()
    if before is None or after is None:
        return
    share = before.others_share(after, time.process_time() - own_s)
    if share > MOST_OTHERS_SHARE:
        raise UserError(
            f"the machine is busy: in the last {watch_s:.0f} s others used {share:.0%} of a core (/proc/stat); stop "
            "the other programs, or measure anyway with --allow_busy"
        )


def measure(measurement: Measurement, rows_file: RowsFile, options: Namespace) -> None:
    """Measures what the rows do not contain yet, and appends each block to them."""
    report = functools.partial(print, flush=True)
    done = {(row.condition, row.repeat) for row in rows_file.read()}
    if (COUNTED, 0) not in done:
        rows_file.append([row for way in STARTED for row in rows_of(way, COUNTED, 0, code_of(MEASURED[way].way))])
    if (measurement.counted[0].condition, 0) not in done:
        rows_file.append(measure_alone(measurement.counted, 0, report))
    with TemporaryDirectory(prefix="woof-environments-") as temporary:
        pythons = {}
        if START in measurement.groups:
            made = make_environments(options.environments or Path(temporary), STARTED, report)
            pythons = {way: environment.python for way, environment in made.items()}
            if (INSTALLED, 0) not in done:
                rows_file.append([row for way in made for row in rows_of(way, INSTALLED, 0, made[way].values())])
            # Discarded: the first start reads files from the disk that later starts find in memory.
            measure_alone(measurement.groups[START], 0, report, pythons)
        for name, cases in measurement.groups.items():
            for repeat in range(measurement.repeats):
                if (name, repeat) in done:
                    continue
                report(f"{name}: repeat {repeat + 1} of {measurement.repeats}")
                block = (
                    functools.partial(measure_alone, cases, repeat, report, pythons)
                    if name == START
                    else functools.partial(measure_in_turns, cases, name, repeat, report)
                )
                rows_file.append(block() if options.allow_busy else undisturbed(block, report))


def undisturbed(block: Callable[[], list[Row]], report: Report) -> list[Row]:
    """Measures a block, again if others disturbed it, up to MOST_TRIES times, and returns its rows.

    Args:
        block: Measures the block.
        report: Called with a line of text before each further try.
    """
    rows = block()
    for _ in range(MOST_TRIES - 1):
        share = max((row.value for row in rows if row.measure == "others_share"), default=0.0)
        if share <= MOST_OTHERS_SHARE:
            break
        report(f"disturbed: others used {share:.0%} of a core; this block is measured again")
        rows = block()
    return rows


def summarised(out: Path) -> dict[str, Any]:
    """Returns the summary of a measurement.

    Args:
        out: The folder of the measurement.

    Raises:
        UserError: If there are no rows.
    """
    rows = RowsFile(out / "rows.csv").read()
    if not rows:
        raise UserError(f"{out} has no rows.csv: expected the folder of a measurement")
    return summary(rows, json.loads((out / "conditions.json").read_text()))


def publish(found: dict[str, Any], out: Path, *, allow_busy: bool) -> list[Path]:
    """Writes summary.json and the figures, and returns the files of the figures.

    Args:
        found: The summary.
        out: The folder of the measurement.
        allow_busy: Whether to write them even if there are reasons not to publish.

    Raises:
        UserError: If there are reasons not to publish.
    """
    if found["refusals"] and not allow_busy:
        raise UserError(
            f"nothing is published: {'; '.join(found['refusals'])}. The rows are in {out}; measure again when the "
            "machine is free (--overwrite), or look at them with --summarise --allow_busy"
        )
    write_text_durably(out / "summary.json", json.dumps(found, indent=1) + "\n")
    return draw_figures(found, out)
