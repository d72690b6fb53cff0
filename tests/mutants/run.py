"""Plants each mutant of a sample, runs the tests that touch its line, and writes a row: `make mutants`."""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.mutants.coverage_map import ROOT, CoverageMap
from tests.mutants.draw import ROOMS, Mutant, drawn
from tests.mutants.report import read_rows
from tests.processes import ZYGOTE_AT, Ended, Process, zygote

TESTS_OF = {"lit": ("lit", "faults"), "cost": ("cost", "measure", "test_comparing.py", "test_parity.py")}
PROCESSES_OF = {
    "lit": ("tests/faults", "tests/lit/test_devices"),
    "data": ("tests/data/test_loading", "tests/faults"),
    "cost": ("tests/measure/test_process", "tests/cost/test_ways"),
}
# What pytest says of a test that is not there.
NOT_FOUND = "no match in any of"
COPIED = (
    "woof_lightning",
    "tests",
    "configs",
    "docs",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "constraints.txt",
)


@dataclass(frozen=True)
class Row(Mutant):
    """A mutant, and what became of it.

    Args:
        outcome: `killed`, `timeout` (the tests did not end, which notices it too) or `alive`.
        test: The test that noticed it.
        tests: How many tests were chosen.
        elapsed_s: What it took.
    """

    outcome: str
    test: str
    tests: int
    elapsed_s: float


class Lane:
    """A copy of the tree, in which one mutant after another is planted.

    Args:
        folder: Where to put it.
    """

    def __init__(self, folder: Path) -> None:
        self.tree, self.scratch = folder / "tree", folder / "scratch"
        self.scratch.mkdir(parents=True)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            self.tree.mkdir(exist_ok=True)
            copy(ROOT / name, self.tree / name)

    def run(self, mutant: Mutant, tests: Sequence[str], expected_s: float) -> Row:
        """Plants a mutant, runs tests, and takes it out again."""
        file = self.tree / "woof_lightning" / mutant.file
        right = file.read_text(encoding="utf-8")
        began_s = time.monotonic()
        try:
            file.write_text(mutant.code(), encoding="utf-8")
            outcome, test = self._tested(tests, expected_s)
        finally:
            file.write_text(right, encoding="utf-8")
        elapsed_s = round(time.monotonic() - began_s, 1)
        return Row(**asdict(mutant), outcome=outcome, test=test, tests=len(tests), elapsed_s=elapsed_s)

    def _tested(self, tests: Sequence[str], expected_s: float) -> tuple[str, str]:
        if not tests:
            return "alive", ""
        try:
            ended = self._pytest(tests, expected_s)
            if ended.code == pytest.ExitCode.USAGE_ERROR:
                # A mutant, or an odd character, gives the parameters of a test another name.
                ended = self._pytest(sorted({test.partition("[")[0] for test in tests}), expected_s)
        except subprocess.TimeoutExpired:
            return "timeout", ""
        if ended.code == 0:
            return "alive", ""
        if NOT_FOUND in ended.out + ended.err:
            raise RuntimeError(f"a test is not where the coverage map says: {ended.out}{ended.err}")
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ended.out, re.MULTILINE)
        return "killed", failed[1] if failed else (ended.err or ended.out).strip().splitlines()[-1][:100]

    def _pytest(self, tests: Sequence[str], expected_s: float) -> Ended:
        listed = self.scratch / "tests.txt"
        listed.write_text("\n".join(tests), encoding="utf-8")
        words = ["-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp"]
        place = {
            "PYTHONPATH": str(self.tree),
            "TMPDIR": str(self.scratch),
            "PYTHONDONTWRITEBYTECODE": "1",
            ZYGOTE_AT: zygote(),
        }
        process = Process([*words, self.scratch / "pytest", f"@{listed}"], self.tree, fresh=False, **place)
        return process.wait(30 + 3 * expected_s)


def chosen(mutant: Mutant, coverage: CoverageMap, most_s: float) -> tuple[list[str], float]:
    """Returns the tests to run against a mutant: those of its room first, then the fastest; and what they take.

    Args:
        mutant: The mutant.
        coverage: Which tests touch its line.
        most_s: What the tests may take together, in seconds. A mutant that only others notice counts as alive.
    """
    places = tuple(f"tests/{name}" for name in TESTS_OF.get(mutant.room, (mutant.room,)))
    # No coverage tells what a test of processes does.
    of_processes = {test for test in coverage.elapsed_s if test.startswith(PROCESSES_OF.get(mutant.room, ()))}
    candidates = of_processes.union(coverage.of(mutant.file, mutant.line))
    if not coverage.is_executed_by_tests(mutant.file, mutant.line):  # A constant, perhaps, which any test may read.
        candidates |= {test for test in coverage.elapsed_s if test.startswith(places)}
    ranked = sorted(candidates, key=lambda test: (not test.startswith(places), coverage.elapsed_s.get(test, 1.0), test))
    tests, sum_s = [], 0.0
    for test in ranked:
        test_s = coverage.elapsed_s.get(test, 1.0)
        if sum_s + test_s <= most_s:
            tests.append(test)
            sum_s += test_s
    return tests, sum_s


def written(file: Path, *, again: bool) -> list[dict[str, str]]:
    """Returns the rows of a file, without those of mutants that are to be run again because nobody noticed them."""
    rows = read_rows(file) if file.exists() else []
    return [row for row in rows if not (again and row["outcome"] == "alive")]


def main() -> None:
    """Runs a sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=60, help="mutants of each room")
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS))
    parser.add_argument("--coverage", type=Path, required=True, help="written by tests.mutants.coverage_map")
    parser.add_argument("--out", type=Path, required=True, help="a CSV file; rows in it are not run again")
    parser.add_argument("--most_s", type=float, default=120.0, help="what the tests of a mutant may take (120)")
    parser.add_argument("--again", action="store_true", help="run those again that nobody noticed")
    args = parser.parse_args()
    coverage = CoverageMap.read(args.coverage)
    samples = {room: drawn(room, args.count, args.seed) for room in ROOMS}
    mutants = [mutant for room in args.rooms for mutant in samples[room]]
    # An edit of the package since may have taken a mutant out of its sample.
    drawn_now = {mutant.key for sample in samples.values() for mutant in sample}
    kept = [row for row in written(args.out, again=args.again) if row["key"] in drawn_now]
    done = {row["key"] for row in kept}
    left = [mutant for mutant in mutants if mutant.key not in done]
    print(f"{len(left)} of {len(mutants)} mutants to run", flush=True)
    lanes: SimpleQueue[Lane] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="woof-mutants-") as folder:
        for number in range(2):
            lanes.put(Lane(Path(folder, str(number))))

        def run(mutant: Mutant) -> Row:
            lane = lanes.get()
            try:
                return lane.run(mutant, *chosen(mutant, coverage, args.most_s))
            finally:
                lanes.put(lane)

        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("w", newline="", encoding="utf-8") as file, ThreadPoolExecutor(2) as pool:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
            for row in pool.map(run, left):
                writer.writerow(asdict(row))
                file.flush()
                print(f"{row.outcome:8} {row.elapsed_s:5.0f} s  {row.file}:{row.line}  {row.before[:60]}", flush=True)


if __name__ == "__main__":
    main()
