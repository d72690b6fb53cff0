"""The shipped configs, found by name."""

from __future__ import annotations

import re
from pathlib import Path

from woof_lightning.data.config import expanded
from woof_lightning.errors import UserError, did_you_mean

PACKAGE = Path(__file__).parents[1]
# In the wheel they are inside the package, in a checkout next to it.
FOLDERS = (PACKAGE / "configs", PACKAGE.parent / "configs")
# --config also takes YAML text, such as "model: {lr: 0.1}".
YAML_TEXT = re.compile(r":\s|[{\n]")


def shipped_configs() -> dict[str, Path]:
    """Returns the files of the shipped configs, by name."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def config_file(name: str) -> str:
    """Returns the file for a value of --config: an existing file, or the one of a shipped config. Keeps YAML text.

    Raises:
        UserError: If it is neither.
    """
    shipped = shipped_configs()
    if YAML_TEXT.search(name):
        return name
    if expanded(Path(name)).is_file():
        return str(expanded(Path(name)))
    if name in shipped:
        return str(shipped[name])
    hint = did_you_mean(Path(name).stem, shipped, f"the shipped ones are {', '.join(shipped)}")
    raise UserError(f"--config is {name}: expected a YAML file or the name of a shipped config; {hint}")
