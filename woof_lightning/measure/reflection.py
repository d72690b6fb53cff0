"""Reads from a framework's own code which attributes its classes have, and of which type they are."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import typing
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Framework:
    """What a framework's own code defines.

    Args:
        packages: The import names of its packages.
    """

    def __init__(self, packages: tuple[str, ...]) -> None:
        self.packages = packages

    def owns(self, thing: Any) -> bool:
        """Returns whether a class or function is the framework's."""
        return str(getattr(thing, "__module__", "")).split(".")[0] in self.packages

    def bases(self, cls: Any) -> list[type]:
        """Returns the framework's own classes among a class and its bases."""
        return [base for base in getattr(cls, "__mro__", ()) if self.owns(base)]

    def defines(self, cls: Any, name: str) -> bool:
        """Returns whether a class or its instances get an attribute from the framework's own code."""
        return not name.startswith("__") and any(name in defined(base) for base in self.bases(cls))

    def calls(self, cls: Any, name: str) -> bool:
        """Returns whether the framework calls a method of that name of a class that derives from this one."""
        # fastai defines no hook: it calls those methods of a Callback that the class `event` beside Callback names.
        hooks = (vars(getattr(sys.modules[base.__module__], "event", object)) for base in self.bases(cls))
        return self.defines(cls, name) or (not name.startswith("_") and any(name in names for names in hooks))

    def parameters(self, function: Any) -> set[str]:
        """Returns the names of a function's arguments if it is the framework's; otherwise none."""
        if not self.owns(function):
            return set()
        return {name for name, one in inspect.signature(function).parameters.items() if one.kind not in STARRED}

    def parameters_of(self, cls: type, method: str) -> set[str]:
        """Returns the names of the arguments of a method of a class if it is the framework's; otherwise none."""
        owner = next((base for base in cls.__mro__ if method in vars(base)), None)
        if method == "__init__" and not self.owns(owner):
            return set()
        own = next((base for base in self.bases(cls) if method in vars(base)), None)
        return self.parameters(getattr(own, method, None)) if own is not None else set()

    def takes(self, cls: type, names: set[Any]) -> bool:
        """Returns whether an object of a class can be made with arguments of these names."""
        return bool(names) and names <= self.parameters_of(cls, "__init__")

    def keys_read(self, cls: type, method: str) -> set[str]:
        """Returns the keys which the framework reads from what a method returns, as its annotation lists them."""
        hint = hints(getattr(cls, method, None)).get("return")
        return {key for part in parts_of(hint) if self.owns(part) for key in getattr(part, "__annotations__", ())}

    def member(self, cls: type, name: str) -> tuple[Any, tuple[type, ...]]:
        """Returns the method that an attribute of a class is, or None, and the classes that it may be of."""
        for base in getattr(cls, "__mro__", ()):
            if name not in defined(base):
                continue
            found = inspect.getattr_static(base, name, None)
            getter = getattr(found, "fget", getattr(found, "func", None))
            if getter is not None:
                return None, self.returned(getter)
            found = getattr(found, "__func__", found)
            if inspect.isroutine(found) or isinstance(found, type):
                return found, ()
            if self.owns(type(found)):
                return None, (type(found),)
            value = defined(base)[name]
            made = getattr(sys.modules[base.__module__], getattr(getattr(value, "func", None), "id", ""), None)
            return None, classes_of(hints(base).get(name)) or ((made,) if isinstance(made, type) else ())
        return None, ()

    def returned(self, function: Any) -> tuple[type, ...]:
        """Returns the classes that a function's result may be of."""
        return classes_of(hints(inspect.unwrap(function)).get("return"))


def defined(cls: type) -> dict[str, Any]:
    """Returns the attributes that a class itself defines, and those that its methods assign to self with the values.

    Other modules may add attributes to a class later, as fastai's do, so they are looked up each time.
    """
    return dict.fromkeys((*vars(cls), *vars(cls).get("__annotations__", ()))) | assigned(cls)


@cache
def assigned(cls: type) -> dict[str, Any]:
    """Returns the attributes that the methods of a class assign to self, with the values."""
    own = (node for node in ast.walk(source_of(cls.__module__)) if isinstance(node, ast.ClassDef))
    return {name: value for node in own if node.name == cls.__name__ for name, _, value in self_assigned(node)}


def self_assigned(body: ast.AST) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    """Yields the attributes that are assigned to self within some code, each with its annotation and value."""
    for node in ast.walk(body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target, value in (pair for one in targets for pair in paired(one, getattr(node, "value", None))):
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                yield target.attr, getattr(node, "annotation", None), value


def paired(target: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields the single targets of an assignment, each with its value; several that share a value share it whole."""
    parts = getattr(target, "elts", None)
    if parts is None:
        yield target, value
        return
    values = getattr(value, "elts", [])
    for part, its_value in zip(parts, values if len(values) == len(parts) else [value] * len(parts), strict=True):
        yield from paired(part, its_value)


@cache
def source_of(module: str) -> ast.Module:
    """Returns the syntax tree of a module, which is empty if there is no source text."""
    file = Path(getattr(sys.modules.get(module), "__file__", None) or "")
    return ast.parse(file.read_text(encoding="utf-8") if file.suffix == ".py" and file.is_file() else "")


def hints(thing: Any) -> dict[str, Any]:
    """Returns the annotations of a class or function; none if a name in them is there for type checkers only."""
    try:
        return typing.get_type_hints(thing)
    except (NameError, AttributeError, TypeError):
        return {}


def classes_of(hint: Any) -> tuple[type, ...]:
    """Returns the classes in an annotation. A container stands for its elements."""
    return tuple(part for part in parts_of(hint) if isinstance(part, type) and part not in (type(None), Any))


def parts_of(hint: Any) -> Iterator[Any]:
    """Yields an annotation and what it is made of: members of unions, elements, values of a TypedDict."""
    yield hint
    inner = hints(hint).values() if typing.is_typeddict(hint) else typing.get_args(hint)
    for part in inner:
        yield from parts_of(part)


def imported(name: str) -> ModuleType | None:
    """Returns a module, or None if it cannot be imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except (ImportError, ValueError):
            return None
