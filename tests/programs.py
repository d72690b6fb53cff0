"""The programs of docs/examples, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def program(name: str) -> Any:
    """Returns a program as a new module, so that a test may change it.

    Args:
        name: Its file below docs/examples, without `.py`.
    """
    spec = importlib.util.spec_from_file_location(Path(name).name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
