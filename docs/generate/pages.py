"""Pages with generated parts: tables, quoted code and single values, all made from committed files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from docs.generate.change_tables import CHANGE_TABLES
from docs.generate.cost_tables import COST_TABLES
from docs.generate.export_tables import EXPORT_TABLES
from docs.generate.finetune_tables import FINETUNE_TABLES
from docs.generate.front import diff_block, steps_block
from docs.generate.key_tables import KEY_TABLES
from docs.generate.post_tables import POST_TABLES
from docs.generate.profile_tables import PROFILE_TABLES
from docs.generate.result_tables import RESULT_TABLES
from docs.generate.scaling_tables import SCALING_TABLES
from docs.generate.sources import source_block
from docs.generate.speed_tables import SPEED_TABLES
from docs.generate.values import value_text

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(<!-- generated: (\S+) from (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
VALUES_FROM = re.compile(r"<!-- values from (\S+) -->")
# The number right before the comment is the value. A comment that begins a line would make it HTML.
VALUE = re.compile(
    r"(?P<number>(?<![\w.,])[+-]?\d(?:[\d.,]*\d)?(?:e[+-]\d+)?)?<!-- = (?P<name>\S+)(?: from (?P<folder>\S+))? -->"
)
TABLES: dict[str, Callable[[Path], str]] = {
    **RESULT_TABLES,
    **COST_TABLES,
    **POST_TABLES,
    **SPEED_TABLES,
    **CHANGE_TABLES,
    **PROFILE_TABLES,
    **EXPORT_TABLES,
    **SCALING_TABLES,
    **FINETUNE_TABLES,
    **KEY_TABLES,
    "source": source_block,
    "diff": diff_block,
    "steps": steps_block,
}


class PageError(Exception):
    """A page asks for what there is not."""


def pages() -> list[Path]:
    """README.md and every Markdown page below docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def regenerated(page: Path) -> str:
    """The text of a page with each of its generated parts made anew.

    A table or a piece of code is between `<!-- generated: TABLE from FOLDER -->` and `<!-- end -->`. A number in a
    sentence is right before `<!-- = NAME from FOLDER -->`; `from FOLDER` may be left out below a line
    `<!-- values from FOLDER -->`. Folders are relative to the page.

    Raises:
        PageError: If a part cannot be made; names the page and the part.
    """

    def made(name: str, folder: str, make: Callable[[Path], str]) -> str:
        try:
            return make(page.parent / folder)
        except (LookupError, TypeError, ValueError, OSError) as error:
            raise PageError(f"{page}: {name} from {folder}: {type(error).__name__}: {error}") from error

    def block(match: re.Match[str]) -> str:
        return match[1] + made(match[2], match[3], lambda folder: TABLES[match[2]](folder)) + match[4]

    def value(match: re.Match[str]) -> str:
        name = match["name"]
        folders = [match["folder"]] if match["folder"] else VALUES_FROM.findall(match.string[: match.start()])
        if not match["number"]:
            raise PageError(f"{page}: {name} has no number right before it")
        if not folders:
            raise PageError(f"{page}: {name} from no folder, and no <!-- values from FOLDER --> above it")
        comment = match[0].removeprefix(match["number"])
        return made(name, folders[-1], lambda folder: value_text(folder, name)) + comment

    return VALUE.sub(value, BLOCK.sub(block, page.read_text(encoding="utf-8")))
