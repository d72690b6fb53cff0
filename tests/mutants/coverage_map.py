"""Which tests execute which line, and what each test takes."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "woof_lightning"
# These hold texts, pages and figures: an error must be noticed without them.
LEFT_OUT = ("tests/test_docs.py", "tests/test_api.py", "tests/test_architecture.py", "tests/docs")
MARKS = "not slow and not browser and not wheel and not site and not real_data"


@dataclass
class CoverageMap:
    """Which tests execute which line.

    Args:
        elapsed_s: What each test takes.
        tests: The tests of a line, by file (relative to the package) and line.
    """

    elapsed_s: dict[str, float] = field(default_factory=dict)
    tests: dict[str, dict[int, list[str]]] = field(default_factory=dict)

    def of(self, file: str, line: int) -> list[str]:
        """Returns the tests that execute a line; where none is known to, those of its function, or of its file.

        Some lines are executed when a file is imported, and some statements have several lines.
        """
        lines = self.tests.get(file, {})
        if self.is_executed_by_tests(file, line):
            return lines[line]
        within = _function_around(PACKAGE / file, line)
        tests = {test for at in within for test in lines.get(at, ())}
        return sorted(tests or {test for found in lines.values() for test in found})

    def is_executed_by_tests(self, file: str, line: int) -> bool:
        """Returns whether a test executes a line. Not so where an import does, before any test."""
        return bool(self.tests.get(file, {}).get(line))

    @classmethod
    def read(cls, file: Path) -> CoverageMap:
        """Reads a written map."""
        content = json.loads(file.read_text(encoding="utf-8"))
        tests = {name: {int(line): found for line, found in lines.items()} for name, lines in content["tests"].items()}
        return cls(content["elapsed_s"], tests)

    def write(self, file: Path) -> None:
        """Writes the map."""
        file.write_text(json.dumps({"elapsed_s": self.elapsed_s, "tests": self.tests}), encoding="utf-8")


def _function_around(file: Path, line: int) -> range:
    """Returns the lines of the innermost function that contains a line, from its decorators on; none at the margin."""
    functions = (
        node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    )
    spans = (range(min([f.lineno, *(d.lineno for d in f.decorator_list)]), (f.end_lineno or 0) + 1) for f in functions)
    return min((span for span in spans if line in span), key=len, default=range(0))


def measured(scratch: Path) -> CoverageMap:
    """Runs the tests once, with coverage, and returns the map.

    Args:
        scratch: A folder for what the tools write.
    """
    data, times = scratch / "coverage", scratch / "times.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "auto", "-m", MARKS),
            *("--cov", "woof_lightning", "--cov-context", "test", "--cov-report", ""),
            *("-p", "tests.mutants.timing", "--times", times),
            *(word for place in LEFT_OUT for word in ("--ignore", place)),
        ],
        cwd=ROOT,
        env=os.environ | {"COVERAGE_FILE": str(data), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode not in (0, 1):  # 1: some tests failed; they are not asked.
        raise SystemExit(done.returncode)
    return CoverageMap(json.loads(times.read_text(encoding="utf-8")), _tests_by_line(data))


def _tests_by_line(data: Path) -> dict[str, dict[int, list[str]]]:
    from coverage import CoverageData

    read = CoverageData(str(data))
    read.read()
    return {
        str(Path(file).relative_to(PACKAGE)): {
            line: sorted({context.split("|")[0] for context in contexts} - {""})
            for line, contexts in read.contexts_by_lineno(file).items()
        }
        for file in read.measured_files()
    }


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.parent.mkdir(parents=True, exist_ok=True)
    measured(place.parent).write(place)
