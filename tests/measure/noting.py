"""A worker that notes when it works: `python -m tests.measure.noting JOB.json RESULT.json`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from woof_lightning.measure.environment import environment_id
from woof_lightning.measure.worker import turn_of


def main(job_file: Path, result_file: Path) -> None:
    """Takes its turns, notes each in the job's file `log`, and returns what it saw."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    started_s = time.perf_counter() - job["started_s"]
    print("o" * job.get("prints", 0), flush=True)
    if "fails" in job:
        sys.exit(job["fails"])
    while job.get("works_s", 0) > time.process_time():
        pass
    turn = turn_of(job["turns"] and tuple(job["turns"]), tuple(job.get("cores", ())))
    cores: list[float] = []
    for number in range(job.get("slices", 0)):
        if turn is not None:
            turn()
        with Path(job["log"]).open("a", encoding="utf-8") as log:
            log.write(f"{job['name']} {number}\n")
        cores = sorted(os.sched_getaffinity(0))
    if turn is not None:
        turn()
    time.sleep(job.get("waits_s", 0))
    seen = {"started_s": started_s, "tty": float(os.isatty(1)), "one_core": float(cores == job.get("cores"))}
    seen["environment_id"] = float(environment_id(os.environ))
    result_file.write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
