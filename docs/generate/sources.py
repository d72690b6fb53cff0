"""Code quoted in the docs, as it is in its file."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence
from pathlib import Path

LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml"}


def source_block(place: Path) -> str:
    """The lines of a function, a class or a whole file as they stand there.

    Args:
        place: FILE::NAME, where NAME may be dotted (Class.method); or FILE for all of it.

    Raises:
        KeyError: When the file has no such name.
    """
    file, _, dotted = str(place).partition("::")
    text = Path(file).read_text(encoding="utf-8")
    if not dotted:
        return f"```{LANGUAGES[Path(file).suffix]}\n{text}```\n"
    body: Sequence[ast.stmt] = ast.parse(text).body
    for name in dotted.split("."):
        named = {node.name: node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        node = named[name]
        body = node.body
    lines = text.splitlines(keepends=True)[node.lineno - 1 : node.end_lineno]
    return f"```python\n{textwrap.dedent(''.join(lines))}```\n"
