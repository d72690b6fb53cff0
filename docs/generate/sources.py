"""Code quoted in the docs, as it is in its file."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence
from pathlib import Path


def source_block(place: Path) -> str:
    """The lines of a function or class as they stand in its file.

    Args:
        place: FILE::NAME, where NAME may be dotted (Class.method).

    Raises:
        KeyError: When the file has no such name.
    """
    file, _, dotted = str(place).partition("::")
    text = Path(file).read_text()
    body: Sequence[ast.stmt] = ast.parse(text).body
    for name in dotted.split("."):
        named = {node.name: node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        node = named[name]
        body = node.body
    lines = text.splitlines(keepends=True)[node.lineno - 1 : node.end_lineno]
    return f"```python\n{textwrap.dedent(''.join(lines))}```\n"
