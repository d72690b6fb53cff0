"""Keeps the conditions of measurements beside their rows: a list with an entry for each call."""

from __future__ import annotations

import json
import time
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
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    kept = [one for one in earlier if not replaces(one)]
    added = [] if call in kept else [call]
    file.write_text(json.dumps([*kept, *added], indent=2) + "\n", encoding="utf-8")


def add_command(file: Path, command: str, about: Mapping[str, Any], instead_of: str | None = None) -> None:
    """Adds the conditions of a command that has written rows today, in the place of those of an earlier call.

    Args:
        file: The JSON file; made if it is not there.
        command: The command.
        about: The conditions: machine and versions.
        instead_of: How the commands begin whose rows are no longer there; by default the command itself.
    """
    call = {"command": command, "date": time.strftime("%Y-%m-%d"), **about}
    add_call(file, call, replaces=lambda earlier: earlier["command"].startswith(instead_of or command))
