"""Imports the package's modules, then calls `woof` several times; tests/test_elsewhere.py starts it.

The words of each call are in calls.json. Their exit codes go to codes.json, and each call's name to both outputs.
Spawned processes import this file again.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path


def import_all(without: list[str]) -> int:
    """Imports all modules of the package but some, and returns their number."""
    import woof_lightning

    names = [found.name for found in pkgutil.walk_packages(woof_lightning.__path__, "woof_lightning.")]
    names = [name for name in names if not name.endswith(("_way", "__main__")) and name not in without]
    for name in names:
        importlib.import_module(name)
    return len(names)


def call_all(calls: dict[str, list[str]]) -> dict[str, int]:
    """Calls `woof` and returns each call's exit code."""
    from woof_lightning.cli import main

    codes = {}
    for name, words in calls.items():
        for output in (sys.stdout, sys.stderr):
            print(f"\n=== {name}", file=output, flush=True)
        codes[name] = main(words)
    return codes


if __name__ == "__main__":
    asked = json.loads(Path("calls.json").read_text(encoding="utf-8"))
    found = {"imported": import_all(asked["without"]), **call_all(asked["calls"])}
    Path("codes.json").write_text(json.dumps(found), encoding="utf-8")
