"""Keeps the conditions of measurements beside their rows: a list with an entry for each call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def add_call(file: Path, call: Mapping[str, Any], *, replaces: Callable[[Any], bool] = lambda earlier: False) -> None:
    """Adds the conditions of a call to those of the calls before, unless it repeats one of them.

    Args:
        file: The JSON file; made if it is not there.
        call: The conditions.
        replaces: Whether the rows of an earlier call are no longer there, so that its conditions go, too.
    """
    earlier = json.loads(file.read_text()) if file.exists() else []
    kept = [one for one in earlier if not replaces(one)]
    added = [] if call in kept else [call]
    file.write_text(json.dumps([*kept, *added], indent=2) + "\n")
