"""The steps of `woof cost`: plan the measurement, prepare it, measure block by block, summarise, publish."""

from __future__ import annotations

import functools
import json
import shlex
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from woof_lightning.cost.draw import draw_figures
from woof_lightning.cost.environments import make_environments
from woof_lightning.cost.plan import (
    ALONE,
    GROUPS,
    GROUPS_ON_CUDA,
    NETS_ON_CUDA,
    START,
    STARTED,
    Case,
    code_cases,
    fixed_on_cuda_cases,
    indirection_cases,
    on_cuda,
    quick_cases,
    real_cases,
)
from woof_lightning.cost.rows import ALL, Row, RowsFile, rows_of
from woof_lightning.cost.summary import FEWEST_REPEATS, summary
from woof_lightning.cost.turns import Report, count_together, measure_alone, measure_in_turns, pinned
from woof_lightning.errors import UserError
from woof_lightning.loops.find import INSTALL_PEERS, packages_lacking
from woof_lightning.loops.ways import WAYS
from woof_lightning.measure.busy import MOST_OTHERS_SHARE, CPUTimes, cpu_times
from woof_lightning.measure.environment import clean_environment
from woof_lightning.measure.machine import machine_id
from woof_lightning.runs.folder import write_text_durably
from woof_lightning.runs.record import machine, versions

QUICK_REPEATS = 2
FRAMEWORKS = ("fastai", "pytorch-ignite", "accelerate", "pytorch-nn-tools")
# The condition of what pip installs. As of what is counted, once per machine is enough.
INSTALLED = "installed"
# How long to watch for other programs before a measurement that takes an hour.
WATCH_S = 3.0
# How often a disturbed block is measured at most. The last try is kept and counts as disturbed.
MOST_TRIES = 3


@dataclass(frozen=True)
class Measurement:
    """What a call of `woof cost` measures.

    Args:
        groups: The cases of the timed groups, by the group's name.
        counted: The cases whose calls, lines and names are counted.
        repeats: Number of blocks per group.
    """

    groups: dict[str, list[Case]]
    counted: list[Case]
    repeats: int


def planned(options: Namespace) -> Measurement:
    """Returns the measurement that the options of the command ask for."""
    groups = {"fixed": quick_cases()} if options.quick else {name: GROUPS[name]() for name in options.groups or GROUPS}
    if options.accelerator == "cuda":
        groups = groups_on_cuda(options)
    # What a person writes and what a step calls do not depend on the machine, so --quick does not count them.
    counted = [] if options.quick else [*code_cases(), *indirection_cases()]
    return Measurement(
        {name: pinned(cases, options.threads) for name, cases in groups.items()},
        [] if options.accelerator == "cuda" else pinned(counted, 1),
        options.repeats or (QUICK_REPEATS if options.quick else FEWEST_REPEATS),
    )


def check_installed(measurement: Measurement) -> None:
    """Raises a UserError if a way is measured whose framework is not installed. Starts have their own environments."""
    groups = [cases for name, cases in measurement.groups.items() if name != START]
    ways = {case.way for cases in (*groups, measurement.counted) for case in cases} & WAYS.keys()
    if lacking := packages_lacking(sorted(ways)):
        raise UserError(f"woof cost needs {', '.join(lacking)}, which are not installed: {INSTALL_PEERS}")


def groups_on_cuda(options: Namespace) -> dict[str, list[Case]]:
    """Returns the groups that are measured on a CUDA device: the fixed cost, and ResNet-18 with the recipe's batch."""
    names = options.groups or GROUPS_ON_CUDA
    nets = {name: replace(net, batch_size=2, steps=1, slices=2) for name, net in NETS_ON_CUDA.items()}
    cases = {"fixed": fixed_on_cuda_cases(), "real": real_cases(nets if options.dry_run else NETS_ON_CUDA)}
    return {name: on_cuda(cases[name], "cpu" if options.dry_run else "cuda") for name in names}


def prepare(options: Namespace, rows_file: RowsFile) -> None:
    """Prepares the folder of the measurement and writes conditions.json.

    Args:
        options: The options of the command.
        rows_file: The file of the rows.

    Raises:
        UserError: If the folder holds another measurement, or the machine is busy.
    """
    conditions_file, here = options.out / "conditions.json", conditions_of(options)
    machines: dict[str, Any] = {}
    if rows_file.path.exists() and not options.overwrite:
        if not options.resume:
            raise UserError(
                f"{rows_file.path} exists: continue it, or add this machine's repeats to it, with --resume; replace it "
                "with --overwrite; or choose another --out"
            )
        machines = json.loads(conditions_file.read_text(encoding="utf-8"))["machines"]
        for there in machines.values():
            differing = [key for key in ("threads", "accelerator", "dry_run") if there.get(key, False) != here[key]]
            differing += [
                name for name, version in there["versions"].items()
                if name != "woof_lightning" and here["versions"].get(name) != version
            ]  # fmt: skip
            if differing:
                raise UserError(f"{options.out} was measured with other {', '.join(differing)}: choose another --out")
        if machine_id() in machines:
            here["calls"] = [*machines[machine_id()]["calls"], *here["calls"]]
    conditions = {"machines": machines | {machine_id(): here}}
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
    there = {(row.way, row.condition, row.repeat) for row in rows_file.read() if row.machine == machine_id()}
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
    words += ["--dry_run"] if options.dry_run else []
    words += ["--resume"] if options.resume else []
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return {
        "calls": [{"date": now, "command": shlex.join(words), "woof_lightning": versions(())["woof_lightning"]}],
        "accelerator": options.accelerator,
        "dry_run": options.dry_run,
        "threads": options.threads,
        "machine": machine(options.threads),
        "versions": versions(FRAMEWORKS),
        "environment": sorted(clean_environment()),
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
    """Measures what the rows of this machine do not contain yet, and appends each block to them."""
    report = functools.partial(print, flush=True)
    done = {(row.condition, row.repeat) for row in rows_file.read() if row.machine == machine_id()}
    for condition in dict.fromkeys(case.condition for case in measurement.counted):
        if (condition, 0) not in done:
            # In processes of their own: counting imports frameworks, which change the environment of their process.
            cases = [case for case in measurement.counted if case.condition == condition]
            rows_file.append(count_together(cases, report))
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
                    functools.partial(measure_alone, cases, repeat, report, pythons if name == START else None)
                    if name in ALONE
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
    return summary(rows, json.loads((out / "conditions.json").read_text(encoding="utf-8")))


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
