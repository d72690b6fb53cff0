"""A pytest plugin that notes what each test takes: `-p tests.mutants.timing --times FILE`."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

_elapsed_s: defaultdict[str, float] = defaultdict(float)
_left_out: set[str] = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    parser.addoption("--times", type=Path)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Adds up set-up, call and tear-down; a test that fails or is skipped can notice nothing, and is left out."""
    if report.passed:
        _elapsed_s[report.nodeid] += report.duration
    else:
        _left_out.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the file, in the process that starts the others."""
    if not hasattr(session.config, "workerinput"):
        session.config.getoption("--times").write_text(
            json.dumps({test: elapsed_s for test, elapsed_s in _elapsed_s.items() if test not in _left_out}),
            encoding="utf-8",
        )
