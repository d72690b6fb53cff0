"""Finds the names of a framework that a source text uses, by the types of its expressions."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections import ChainMap
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from woof_lightning.measure.reflection import Framework, imported, paired, self_assigned


@dataclass(frozen=True)
class Value:
    """What is known of an expression.

    Args:
        classes: The classes that it may be an instance of. A container stands for its elements.
        thing: The module, class or function that it is.
    """

    classes: tuple[Any, ...] = ()
    thing: Any = None

    @property
    def owners(self) -> tuple[Any, ...]:
        """The classes whose attributes it has."""
        return (*self.classes, self.thing) if isinstance(self.thing, (type, LocalClass)) else self.classes


@dataclass(eq=False)
class LocalClass:
    """A class that the text defines.

    Args:
        bases: Its base classes.
        members: Its methods, and what they assign to self with its annotation; each with its scope.
    """

    bases: tuple[Any, ...]
    members: dict[str, tuple[Any, Any, Scope]] = field(default_factory=dict)

    @property
    def runtime_bases(self) -> list[type]:
        """The classes of other texts that it derives from."""
        return [one for base in self.bases for one in getattr(base, "runtime_bases", [base])]


# What is known of each name; None if nothing is.
Scope = ChainMap[str, "Value | None"]
ELSEWHERE = Value()


class NameFinder:
    """Collects the names of a framework in `used`; `framework_names` says which these are.

    Args:
        text: The source text.
        packages: The import names of the framework's packages.
        lines: The lines whose names count; None counts all.
    """

    def __init__(self, text: str, packages: Iterable[str], lines: Container[int] | None) -> None:
        self.framework = Framework(tuple(packages))
        self.lines = lines
        self.used: set[str] = set()
        self.own: LocalClass | None = None  # The class around the current node.
        self.scope: Scope = ChainMap(dict.fromkeys(vars(builtins), ELSEWHERE))
        self.brought: set[str] = set()  # The names that the text imports from the framework.
        self.guesses: list[Any] = []  # The imported classes that are the framework's, or derive from one of its.
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._bring(node)
        self._define(tree.body)
        self._visit_parts(tree)

    def _bring(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            if isinstance(node, ast.ImportFrom):
                module, thing = node.module or "", getattr(imported(node.module or ""), alias.name, None)
            else:
                whole = imported(alias.name)
                module, thing = alias.name, whole if alias.asname else imported(name)
            is_code = isinstance(thing, (type, ModuleType)) or inspect.isroutine(thing) or thing is Any
            self.scope[name] = Value(thing=thing) if is_code else Value((type(thing),))
            if module.split(".")[0] in self.framework.packages and (alias.asname or isinstance(node, ast.ImportFrom)):
                self.brought.add(name)
                if self.lines is None:
                    self.used.add(name)
            if isinstance(thing, type) and self.framework.bases(thing):
                self.guesses.append(thing)

    def _define(self, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef):
                self.scope[node.name] = Value(thing=node)
            elif isinstance(node, ast.ClassDef):
                bases = [self.value(base) for base in node.bases]
                own = LocalClass(tuple(base.thing for base in bases if base is not None and base.thing is not None))
                self.scope[node.name] = Value(thing=own)
                for method in (part for part in node.body if isinstance(part, ast.FunctionDef)):
                    scope = self._scope_of(method, own)
                    own.members |= {name: (hint, value, scope) for name, hint, value in self_assigned(method)}
                    own.members[method.name] = (None, method, scope)

    def _scope_of(self, node: ast.FunctionDef, own: LocalClass | None) -> Scope:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        scope = self.scope.new_child({one.arg: self.annotated(one.annotation) for one in arguments})
        if own is not None and "self" in scope:
            scope["self"] = Value((own,))
        return scope

    def _visit(self, node: ast.AST) -> None:
        match node:
            case ast.Name(name) if name in self.brought:
                self._count(name, node)
            case ast.Attribute(owner, name) if self.is_framework_s(owner, name):
                self._count(name, node)
            case ast.Call(ast.Name("getattr"), [owner, ast.Constant(str(name)), *_]):
                if self.is_framework_s(owner, name):
                    self._count(name, node)
            case ast.Call(called, _, [_, *_] as keywords):
                listed = self.parameters_of(called)
                for keyword in keywords:
                    if keyword.arg in listed:
                        self._count(keyword.arg, keyword)
            case ast.Dict(keys) if any(self.framework.takes(cls, texts_of(keys)) for cls in self.guesses):
                for key in keys:
                    self._count(key.value, key)  # type: ignore[union-attr]
            case ast.Assign(targets, value):
                for target in targets:
                    self._bind(target, value)
            case ast.AnnAssign(target, annotation, value):
                self._bind(target, value, annotation)
            case ast.For(target, value) | ast.comprehension(target, value):
                self._bind(target, value)
            case ast.FunctionDef():
                self._visit_function(node)
                return
            case ast.ClassDef(name):
                around, self.own = self.own, self.scope[name].thing  # type: ignore[union-attr]
                self._visit_parts(node)
                self.own = around
                return
        self._visit_parts(node)

    def _visit_parts(self, node: ast.AST) -> None:
        for part in (*getattr(node, "generators", ()), *ast.iter_child_nodes(node)):  # These bind names first.
            self._visit(part)

    def _visit_function(self, node: ast.FunctionDef) -> None:
        bases = [] if self.own is None else self.own.runtime_bases
        if any(self.framework.calls(base, node.name) for base in bases):
            self._count(node.name, node)
            read = set().union(*(self.framework.keys_read(base, node.name) for base in bases))
            for part in ast.walk(node):
                for key in part.keys if isinstance(part, ast.Dict) else ():
                    if texts_of([key]) <= read:
                        self._count(key.value, key)  # type: ignore[union-attr]
        outside, self.scope = self.scope, self._scope_of(node, self.own)
        self.scope["super"] = None if self.own is None else Value(thing=self.own)
        around, self.own = self.own, None
        self._define(node.body)
        self._visit_parts(node)
        self.scope, self.own = outside, around

    def _count(self, name: str, node: Any) -> None:
        if self.lines is None or node.lineno in self.lines:
            self.used.add(name)

    def _bind(self, target: ast.expr, value: ast.expr | None, annotation: ast.expr | None = None) -> None:
        for one, its_value in paired(target, value):
            if isinstance(one, ast.Name):
                self.scope[one.id] = self.annotated(annotation) or (
                    None if its_value is None else self.value(its_value)
                )

    def is_framework_s(self, owner: ast.expr, name: str) -> bool:
        """Returns whether an attribute comes from the framework's own code."""
        known = self.value(owner)
        if known is None:  # Any of the imported classes may be meant.
            return not name.startswith("_") and any(self.framework.defines(cls, name) for cls in self.guesses)
        if inspect.ismodule(known.thing):
            return known.thing.__name__.split(".")[0] in self.framework.packages
        return any(self.framework.defines(cls, name) for cls in runtime(known.owners))

    def parameters_of(self, called: ast.expr) -> set[str]:
        """Returns the arguments that the framework's own code lists for a function, a method or making an object."""
        known = self.value(called)
        thing = getattr(known, "thing", None)
        if isinstance(called, ast.Attribute):
            owner = self.value(called.value)
            methods = [(cls, called.attr) for cls in (self.guesses if owner is None else runtime(owner.owners))]
        elif isinstance(thing, LocalClass):
            methods = [] if "__init__" in thing.members else [(cls, "__init__") for cls in thing.runtime_bases]
        else:
            methods = [] if known is None else [(cls, "__call__") for cls in runtime(known.classes)]
        methods += [(thing, "__init__")] if isinstance(thing, type) else []
        listed = self.framework.parameters(thing) if inspect.isfunction(thing) else set()
        return listed.union(*(self.framework.parameters_of(*method) for method in methods))

    def value(self, node: ast.expr) -> Value | None:
        """Returns what is known of an expression; None if nothing is."""
        match node:
            case ast.Name(name):
                return self.scope.get(name)
            case ast.Attribute(owner, name) | ast.Call(ast.Name("getattr"), [owner, ast.Constant(str(name)), *_]):
                return self._attribute(owner, name)
            case ast.Call(ast.Name("super")):
                around = self.scope.get("super")
                return None if around is None else Value(around.thing.bases)
            case ast.Call(called):
                return self._result(self.value(called))
            case ast.BoolOp(_, parts) | ast.Tuple(parts) | ast.List(parts):
                return merged(map(self.value, parts)) if parts else ELSEWHERE
            case ast.IfExp(_, yes, no):
                return merged(map(self.value, (yes, no)))
            case ast.GeneratorExp(part) | ast.ListComp(part) | ast.Subscript(part) | ast.Starred(part):
                return self.value(part)
        return ELSEWHERE

    def _attribute(self, owner: ast.expr, name: str) -> Value | None:
        known = self.value(owner)
        if known is not None and inspect.ismodule(known.thing):
            return Value(thing=getattr(known.thing, name, None))
        found = merged(self._member(cls, name) for cls in (self.guesses if known is None else known.owners))
        # What another package's object holds is not the framework's, even if its type is not known.
        return found or (None if known is None or self.is_framework_s(owner, name) else ELSEWHERE)

    def _member(self, cls: Any, name: str) -> Value | None:
        if not isinstance(cls, LocalClass):
            thing, classes = self.framework.member(cls, name)
            return Value(classes, thing) if thing is not None or classes else None
        if name not in cls.members:
            return merged(self._member(base, name) for base in cls.bases)
        annotation, value, scope = cls.members.pop(name)  # It may be made of itself.
        around, self.scope = self.scope, scope
        if isinstance(value, ast.FunctionDef):
            is_property = any(getattr(one, "id", "").endswith("property") for one in value.decorator_list)
            found = self.annotated(value.returns) if is_property else Value(thing=value)
        else:
            found = self.annotated(annotation)
            found = self.value(value) if found is None and value is not None else found
        self.scope, cls.members[name] = around, (annotation, value, scope)
        return found

    def _result(self, called: Value | None) -> Value | None:
        thing = getattr(called, "thing", None)
        if isinstance(thing, (type, LocalClass)):
            return Value((thing,))
        if isinstance(thing, ast.FunctionDef):
            return self.annotated(thing.returns)
        if called is None or thing is None:
            return called
        classes = self.framework.returned(thing)
        return Value(classes) if classes else None if self.framework.owns(thing) else ELSEWHERE

    def annotated(self, node: ast.expr | None) -> Value | None:
        """Returns what an annotation says; None if there is none, or it is Any."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        named = [] if node is None else [part for part in ast.walk(node) if isinstance(part, (ast.Name, ast.Attribute))]
        found = [known for known in map(self.value, named) if known is not None]
        if node is None or [known.thing for known in found] == [Any]:
            return None
        return Value(tuple(known.thing for known in found if isinstance(known.thing, (type, LocalClass))))


def texts_of(keys: list[ast.expr | None]) -> set[Any]:
    """Returns the texts that are keys of a dict; a key that is no text gives None."""
    return {getattr(key, "value", None) if isinstance(getattr(key, "value", None), str) else None for key in keys}


def runtime(classes: Iterable[Any]) -> list[type]:
    """Returns classes, those that the text defines replaced by the others that they derive from."""
    return [one for cls in classes for one in (cls.runtime_bases if isinstance(cls, LocalClass) else [cls])]


def merged(values: Iterable[Value | None]) -> Value | None:
    """Returns a value that may be any of several; None if nothing is known of all."""
    known = [value for value in values if value is not None]
    if len(known) <= 1:
        return known[0] if known else None
    return Value(tuple(dict.fromkeys(cls for value in known for cls in value.classes)), known[0].thing)
