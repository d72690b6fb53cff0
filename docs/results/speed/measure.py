"""Measures training, loading and validation of many ways in turns, each time in a process of its own.

python docs/results/speed/measure.py NAME FOLDER [--sizes 64 128 224] [--precisions 32-true bf16-mixed] [--repeats 5]
python docs/results/speed/measure.py NAME FOLDER --measured training --ways limit woof_fit --sizes 128    # some rows

FOLDER is the data set's, with train/ and val/: `woof data --variant 160px` prints it. Rows go to NAME/rows.csv beside
this file; what is there already is not measured again, so a cut measurement goes on. Nothing else may run. timm has to
be installed: pip install --no-deps timm safetensors huggingface_hub.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from docs.results.speed.job import IMPORTS, LOADING, START, TRAINING, VALIDATION, Job
from docs.results.speed.one import TRAINED
from woof_lightning.measure.conditions import add_call
from woof_lightning.measure.environment import clean_environment
from woof_lightning.measure.machine import machine_id
from woof_lightning.runs.record import machine, versions

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[3]
# The commit before this data path and cache.
BEFORE = "e31c477"
WAYS_OF_BEFORE = ("woof_fit_before", "post")
# As glibc handles memory by itself: the version before knows nothing of the variable.
MEMORY_FREED = ("woof_fit_batch_path",)
# The others take turns with them in the first repeats only.
MOST_TELLING = ("limit", "woof_fit", "woof_fit_before")
REPEATS_OF_OTHERS = 3
# Steps before the clock, and timed ones.
STEPS = {64: (4, 24), 128: (3, 12), 224: (2, 6)}
LOADED_WAYS = ("torchvision", "timm", "fastai", "woof_fit_before", "woof_fit_batch_path", "woof_fit")
LOADED_BATCHES, VALIDATED_BATCHES = 10, 6
FP32 = "32-true"
MEASURED = (TRAINING, LOADING, VALIDATION, START)
COLUMNS = ("measured", "precision", "size_px", "way", "repeat", "name", "value")
# Ways that need a library which this project does not install.
NEEDED = {"timm": "timm", "fastai": "fastai"}
LIBRARIES = ("timm", "fastai", "Pillow", "pillow-simd")


def jobs_of(repeat: int, folder: str, sizes: Sequence[int], precisions: Sequence[str], steps: int | None) -> list[Job]:
    """Returns the jobs of a repeat, shuffled.

    Args:
        repeat: Its number, from 0.
        folder: The data set's folder.
        sizes: Sides of the images, in px.
        precisions: Precisions of the trainings.
        steps: The number of timed steps; None for that of STEPS.
    """
    jobs = []
    for size_px in sizes:
        warm_up, timed = STEPS[size_px]
        timed = steps or timed
        for precision in precisions:
            ways = [way for way in TRAINED if way in MOST_TELLING or repeat < REPEATS_OF_OTHERS]
            # fastai has no mixed precision on a CPU, and the post used none.
            ways = [way for way in ways if precision == FP32 or way not in ("fastai", "post")]
            jobs += [Job(TRAINING, way, folder, size_px, precision, warm_up, timed) for way in ways]
            batches = min(VALIDATED_BATCHES, steps or VALIDATED_BATCHES)
            jobs.append(Job(VALIDATION, "woof_fit", folder, size_px, precision, 0, batches))
        batches = min(LOADED_BATCHES, steps or LOADED_BATCHES)
        jobs += [Job(LOADING, way, folder, size_px, "", 0, batches) for way in LOADED_WAYS]
    jobs += [Job(START, way, folder, min(STEPS), FP32, 0, 1) for way in (IMPORTS, "woof_fit")]
    random.Random(repeat).shuffle(jobs)
    return jobs


def key_of(job: Job, repeat: int) -> tuple[str, ...]:
    """Returns the first columns of a job's rows."""
    return job.measured, job.precision, str(job.size_px), job.way, str(repeat)


def values_of(job: Job, before: Path) -> dict[str, float]:
    """Does a job in a fresh process and returns its values.

    Args:
        job: What to measure.
        before: The checkout of the commit BEFORE.

    Raises:
        SystemExit: If the process fails. The message has the end of its output.
    """
    places = [before, ROOT] if job.way in WAYS_OF_BEFORE else [ROOT]
    variables = {"PYTHONPATH": os.pathsep.join(map(str, places))}
    if job.way in MEMORY_FREED:
        variables["WOOF_KEEP_MEMORY"] = "0"
    start_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(HERE / "one.py"), json.dumps(asdict(job))],
        env=clean_environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    if job.measured == START:  # It ends at its first step; its loading processes notice that seconds later.
        process.wait()
        elapsed_s = time.perf_counter() - start_s
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{job} ended with exit code {process.returncode}:\n{errors[-3000:]}")
    if job.measured == START:
        return {"start_s": elapsed_s}
    values: dict[str, float] = json.loads(output.splitlines()[-1])
    return values


def measure(rows_file: Path, jobs: Iterator[tuple[int, Job]], before: Path) -> None:
    """Does the jobs whose rows are not there yet, and appends their rows at once."""
    rows_file.parent.mkdir(parents=True, exist_ok=True)
    if not rows_file.exists():
        rows_file.write_text(",".join(COLUMNS) + "\n", encoding="utf-8", newline="\n")
    with rows_file.open(newline="", encoding="utf-8") as file:
        done = {tuple(row[column] for column in COLUMNS[:5]) for row in csv.DictReader(file)}
    for repeat, job in jobs:
        key = key_of(job, repeat)
        if key in done:
            continue
        values = values_of(job, before)
        with rows_file.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows((*key, name, f"{v:.5g}") for name, v in values.items())
        print(time.strftime("%H:%M:%S"), *key, {name: f"{value:.3g}" for name, value in values.items()}, flush=True)


def check_out_before(folder: Path) -> None:
    """Writes the files of the commit BEFORE into a folder."""
    command = ["git", "-C", str(ROOT), "archive", BEFORE, "woof_lightning", "configs"]
    with tarfile.open(fileobj=io.BytesIO(subprocess.check_output(command))) as archive:
        archive.extractall(folder, filter="data")


def main() -> None:
    """Measures and writes rows.csv and conditions.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the folder for the rows: the kind of processor")
    parser.add_argument("folder", type=Path, help="the data set's folder")
    parser.add_argument("--sizes", type=int, nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--precisions", nargs="+", choices=[FP32, "bf16-mixed"], default=[FP32])
    parser.add_argument("--measured", nargs="+", choices=MEASURED, default=MEASURED)
    parser.add_argument("--ways", nargs="+", choices=[*TRAINED, IMPORTS], default=[*TRAINED, IMPORTS])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, help="fewer timed steps, for a trial")
    args = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        parser.error("the memory of loading processes is read from /proc: run it on Linux")
    missing = [way for way, library in NEEDED.items() if way in args.ways and find_spec(library) is None]
    if missing:
        print(f"not measured, because it is not installed: {', '.join(missing)}", flush=True)
    given = ["FOLDER" if word == str(args.folder) else word for word in sys.argv[1:]]
    folder, out = str(args.folder.resolve()), HERE / args.name
    jobs = (
        (repeat, job)
        for repeat in range(args.repeats)
        for job in jobs_of(repeat, folder, args.sizes, args.precisions, args.steps)
        if job.measured in args.measured and job.way in args.ways and job.way not in missing
    )
    with TemporaryDirectory(prefix="woof-before-") as before:
        check_out_before(Path(before))
        out.mkdir(exist_ok=True)
        call = {
            "command": " ".join(["python", "docs/results/speed/measure.py", *given]),
            "machine": machine(0) | {"threads": "one per usable core"},
            "machine_id": machine_id(),
            "date": time.strftime("%Y-%m-%d"),
            "before": BEFORE,
            "versions": versions(LIBRARIES),
        }
        add_call(out / "conditions.json", call)
        measure(out / "rows.csv", jobs, Path(before))


if __name__ == "__main__":
    main()
