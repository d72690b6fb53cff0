"""Counts code: logical lines, and the names of a framework that a source text uses."""

from __future__ import annotations

import ast
import importlib
import io
import keyword
import tokenize
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}


def logical_lines(text: str) -> int:
    """Returns the number of logical lines of a source text, which are its NEWLINE tokens, without docstrings."""
    lines, current = 0, list[tokenize.TokenInfo]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            lines += not all(part.type == tokenize.STRING for part in current)
            current = []
        elif token.type not in SKIPPED:
            current.append(token)
    return lines


def framework_names(text: str, packages: Iterable[str]) -> set[str]:
    """Returns the names of a framework that a source text uses.

    These are the names that the text imports from the framework, and the names after a dot or a `def` that are
    attributes of an imported class or of its base classes within the framework. Attributes that come from other
    packages, such as those of every torch module, do not count.

    Args:
        text: The source text.
        packages: The import names of the framework's packages.
    """
    packages = tuple(packages)
    imported = imported_names(text, packages)
    offered = set().union(*(framework_attributes(thing, packages) for thing in imported.values()))
    used, before = set(), ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            name = token.string
            if name in imported or (before in (".", "def") and name in offered):
                used.add(name)
        if token.type in (tokenize.NAME, tokenize.OP):
            before = token.string
    return used


def imported_names(text: str, packages: tuple[str, ...]) -> dict[str, Any]:
    """Returns the objects that a source text imports from some packages, by their names in that text."""
    found: dict[str, Any] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in packages:
            module = _imported(node.module)
            found |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in packages:
                    _imported(alias.name)
    return found


def framework_attributes(thing: Any, packages: tuple[str, ...]) -> set[str]:
    """Returns the public attributes that a class or its instances get from the framework's own code."""
    if not isinstance(thing, type):
        return set()
    own = [cls for cls in thing.__mro__ if cls.__module__.split(".")[0] in packages]
    names = {name for cls in own for name in (*vars(cls), *getattr(cls, "__annotations__", {}), *assigned(cls))}
    return {name for name in names if not name.startswith("_")}


def assigned(cls: type) -> set[str]:
    """Returns the names that the methods of a class assign to self."""
    file = Path(importlib.import_module(cls.__module__).__file__ or "")
    if not file.is_file():
        return set()
    nodes = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef))
    bodies = [node for node in nodes if node.name == cls.__name__]
    return {
        node.attr
        for body in bodies
        for node in ast.walk(body)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def _imported(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)
