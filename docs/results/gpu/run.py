"""Runs the plan for a GPU machine as far as the time reaches, and goes on from there when it is called again.

Start it with run.sh, which installs what was brought along. README.md beside this file says how.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from docs.results.gpu import parts
from docs.results.gpu.plan import CACHE, CHECKS, COST, ON_DEVICE, POST, Place, Step, plan
from docs.results.gpu.records import CUT, DONE, FAILED, LOGS, RESULTS, ROWS, Row, Rows, bring_back, restore

ROOT = Path(__file__).parents[3]
# What a step gets to save itself after SIGTERM, and what is left for the results.
GRACE_S, MARGIN_S = 15.0, 5.0
MOST_BESIDE = 8
# A command's message, or the last line of a traceback. The output of a process that it has started can follow.
ERROR = re.compile(r"woof: |(\w+\.)*\w*(Error|Exception|Interrupt)\b")


@dataclass(frozen=True)
class Call:
    """What a call may do.

    Args:
        work: The folder for everything that is made. A later call finds it again, or begins from what was brought back.
        out: The folder that is brought back.
        ends_s: When its time is over, on the clock of `time.monotonic`.
        wanted: The parts of the plan to run.
        again: Whether steps that failed are tried again.
    """

    work: Path
    out: Path
    ends_s: float
    wanted: tuple[str, ...] = (CHECKS, POST, COST)
    again: bool = False

    def left_s(self) -> float:
        """Returns the time for steps that is left, without that for their end."""
        return self.ends_s - time.monotonic() - GRACE_S - MARGIN_S


def main() -> None:
    """Takes what has arrived, runs what the time allows, and says what is left."""
    call, place, packed, only_take = of_the_command_line()
    call.work.mkdir(parents=True, exist_ok=True)
    for line in parts.take(packed, call.work):
        print(line, flush=True)
    if restore(packed / "back" / RESULTS, call.work):
        forget_what_was_cut(call.work, plan(place))
        print("the records of an earlier call are back")
    print(images_line(call.work, place), flush=True)
    if not only_take:
        run_all(lambda: plan(place), call, lambda: images_there(call.work, place))
        print(left_over(plan(place), Rows(call.work / ROWS).latest()))


def of_the_command_line() -> tuple[Call, Place, Path, bool]:
    """Returns the call, the place of the plan, where packed parts arrive, and whether to take these parts alone."""
    began_s = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrive", action="store_true", help="only take the parts that have arrived")
    parser.add_argument("--limit_s", type=float, default=520, help="when the call must have ended, in s (520)")
    parser.add_argument("--parts", nargs="+", choices=(CHECKS, POST, COST), default=[CHECKS, POST, COST])
    parser.add_argument("--again", action="store_true", help="try steps that failed again")
    parser.add_argument("--loading", choices=(CACHE, ON_DEVICE), help="how experiments load (the faster, as measured)")
    args = parser.parse_args()
    trial = os.environ.get("WOOF_GPU_TRY") == "1"
    work = Path(os.environ.get("WOOF_GPU_WORK", "/tmp/woof-gpu"))
    out = Path(os.environ.get("OUT", ROOT / ".gpu" / "out"))
    packed = Path(os.environ.get("WOOF_GPU_PACKED", ROOT / ".gpu"))
    call = Call(work, out, began_s + args.limit_s, tuple(args.parts), args.again)
    images = work / "images"
    if trial:
        drawn = images if parts.missing(work) == [] else work / "data" / "synthetic"
        return call, Place(work, drawn, True, (0, 1), 1, 0, args.loading), packed, args.arrive
    cores = os.cpu_count() or 1
    # Two cores for the training process and its thread that copies.
    return call, Place(work, images, workers=max(1, cores - 2), loading=args.loading), packed, args.arrive


def images_there(work: Path, place: Place) -> bool:
    """Returns whether the real images are complete; in a trial, whether any images are."""
    return parts.missing(work) == [] or (place.trial and place.images.is_dir())


def images_line(work: Path, place: Place) -> str:
    """Returns a line that says which parts of the images are missing."""
    lacking = parts.missing(work)
    if lacking is None:
        return f"images: none has arrived{'; drawn ones stand in' if place.trial else ''}"
    return f"images: missing are the parts {', '.join(map(str, lacking))}" if lacking else "images: complete"


def forget_what_was_cut(work: Path, steps: Sequence[Step]) -> None:
    """Removes the records of steps that were cut: their checkpoints are gone, so they begin anew."""
    latest = Rows(work / ROWS).latest()
    for step in steps:
        # The rows of `woof cost` and of a comparison are complete by themselves.
        if step.name in latest and latest[step.name].status == CUT and step.part == POST:
            for name in step.kept:
                shutil.rmtree(work / name, ignore_errors=True)


def run_all(steps: Callable[[], Sequence[Step]], call: Call, images: Callable[[], bool]) -> None:
    """Runs the steps of a plan in their order, as far as the time reaches, and brings each result back at once.

    Args:
        steps: Returns the plan, which can depend on results.
        call: What the call may do.
        images: Returns whether the real images are there.
    """
    rows = Rows(call.work / ROWS)
    (call.work / LOGS).mkdir(parents=True, exist_ok=True)
    tried: set[str] = set()
    while batch := next_batch(steps(), rows.latest(), tried, call, images=images()):
        tried |= {step.name for step in batch}
        with ThreadPoolExecutor(len(batch)) as pool:
            for row in pool.map(lambda step: run_step(step, call), batch):
                rows.add(row)
                print(f"{row.status:<7}{row.seconds:7.1f} s  {row.step}  {row.error}", flush=True)
        bring_back(call.work, call.out, [name for step in steps() for name in step.kept])
    bring_back(call.work, call.out, [name for step in steps() for name in step.kept])


def next_batch(
    steps: Sequence[Step], latest: Mapping[str, Row], tried: set[str], call: Call, *, images: bool
) -> list[Step]:
    """Returns the first step that can run now, and those of its neighbours that run beside it; nothing if none can.

    Args:
        steps: The plan.
        latest: The last row of each step.
        tried: The steps that this call has tried.
        call: What the call may do.
        images: Whether the real images are there.
    """
    ended = (DONE,) if call.again else (DONE, FAILED)
    left_s = call.left_s()

    def can_run(step: Step) -> bool:
        row = latest.get(step.name)
        return (
            step.part in call.wanted
            and step.name not in tried
            and not (row is not None and row.status in ended)
            and left_s >= step.least_s
            and (images or not step.needs_images)
            and all(name in latest and latest[name].status == DONE for name in step.after)
        )

    ready = [step for step in steps if can_run(step)]
    if not ready:
        return []
    if not ready[0].beside:
        return ready[:1]
    most = min(MOST_BESIDE, max(1, (os.cpu_count() or 1) // 2))
    return [step for step in ready if step.beside == ready[0].beside][:most]


def run_step(step: Step, call: Call) -> Row:
    """Runs a step until it ends, its own time is over, or the call's is, and returns its row."""
    log = call.work / LOGS / f"{step.name}.log"
    cache = {"XDG_CACHE_HOME": str(call.work / "cache"), "MPLCONFIGDIR": str(call.work / "cache")}
    begin_s = time.monotonic()
    with log.open("ab") as output:
        begin_bytes = output.tell()
        process = subprocess.Popen(
            step.command,
            cwd=ROOT,
            env=os.environ | cache | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        call_left_s = max(0.0, call.left_s())
        code, in_time = ended_within(process, min(step.most_s, call_left_s))
    seconds = time.monotonic() - begin_s
    status, error = (DONE, "") if code == 0 else (FAILED, error_in(log, begin_bytes))
    if not in_time and code != 0:
        status, error = (CUT, "") if call_left_s <= step.most_s else (FAILED, f"ended after {step.most_s:.0f} s")
    ended = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Row(step.name, step.part, status, round(seconds, 1), code, error, step.note, ended)


def ended_within(process: subprocess.Popen[bytes], time_s: float) -> tuple[int, bool]:
    """Waits for a process, ends it if it takes longer, and returns its exit code and whether it ended by itself.

    It gets SIGTERM, after which a training saves itself. What it has started ends with it.
    """
    in_time = True
    try:
        process.wait(time_s)
    except subprocess.TimeoutExpired:
        in_time = False
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # Its loading processes, if it left some.
    return process.wait(), in_time


def error_in(log: Path, begin_bytes: int = 0) -> str:
    """Returns the line of a log that says what failed: the last that names an error, else the last that is not empty.

    Args:
        log: The log. A bar's carriage returns begin new lines in it.
        begin_bytes: Where the output of the last attempt begins.
    """
    text = log.read_bytes()[begin_bytes:].decode(errors="replace")
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.match(line)]
    return (errors or lines or [""])[-1]


def left_over(steps: Sequence[Step], latest: Mapping[str, Row]) -> str:
    """Returns which steps are done, failed, and left for the next call."""
    states = {name: [step.name for step in steps if state_of(step, latest) == name] for name in (DONE, FAILED, "left")}
    lines = [f"{len(states[DONE])} of {len(steps)} steps are done"]
    lines += [f"{name}: {', '.join(states[name])}" for name in (FAILED, "left") if states[name]]
    return "\n".join(lines)


def state_of(step: Step, latest: Mapping[str, Row]) -> str:
    """Returns DONE, FAILED or "left"."""
    row = latest.get(step.name)
    return row.status if row is not None and row.status in (DONE, FAILED) else "left"


if __name__ == "__main__":
    main()
