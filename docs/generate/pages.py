"""Pages with generated parts: tables, quoted code and single values, all made from committed files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from docs.generate.cost_tables import COST_TABLES
from docs.generate.post_tables import POST_TABLES
from docs.generate.result_tables import RESULT_TABLES
from docs.generate.sources import source_block

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(<!-- generated: (\S+) from (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
TABLES: dict[str, Callable[[Path], str]] = {
    **RESULT_TABLES,
    **COST_TABLES,
    **POST_TABLES,
    "source": source_block,
}


def pages() -> list[Path]:
    """README.md and every Markdown page below docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def regenerated(page: Path) -> str:
    """The text of a page with each of its generated parts made anew.

    A table or a piece of code is between `<!-- generated: TABLE from FOLDER -->` and `<!-- end -->`. The folder is
    relative to the page.
    """

    def block(match: re.Match[str]) -> str:
        return match[1] + TABLES[match[2]](page.parent / match[3]) + match[4]

    return BLOCK.sub(block, page.read_text())
