"""A pytest plugin that notes what each test takes: `-p tests.mutants.timing --times FILE`."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

_elapsed_s: defaultdict[str, float] = defaultdict(float)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    parser.addoption("--times", type=Path)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Adds up set-up, call and tear-down."""
    if report.when == "call" and report.skipped:
        _elapsed_s.pop(report.nodeid, None)
    elif not report.skipped:
        _elapsed_s[report.nodeid] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the file, in the process that starts the others."""
    if not hasattr(session.config, "workerinput"):
        session.config.getoption("--times").write_text(json.dumps(_elapsed_s))
