"""The tables of docs/keys.md and docs/verbs.md, from the classes and functions that take the keys."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from docstring_parser import parse

from woof_lightning.cli import loop
from woof_lightning.cli.lightning_cli import FIT, LR_FIND, SWEEP_KEYS, WoofCLI, known_keys
from woof_lightning.cli.options import VERBS
from woof_lightning.compare.tables import markdown_table, no_markdown
from woof_lightning.lit.lr_finder import lr_find

HEADER = ("key", "meaning", "default")
# A default that says nothing, since the meaning says it.
NO_DEFAULT = ""


class OptionsOnly:
    """Takes the options that a verb adds to its parser, instead of a parser.

    Args:
        prog: The verb, as `woof fit`.
    """

    def __init__(self, prog: str) -> None:
        self.prog = prog
        self.added: dict[str, dict[str, Any]] = {}
        self._actions: list[Any] = []

    def add_argument(self, name: str, **about: Any) -> None:
        """Notes an option."""
        self.added[name.removeprefix("--")] = about

    def link_arguments(self, source: str, target: str) -> None:
        """Does nothing: what is linked is no option."""


def settings_table(place: Path) -> str:
    """The keys of a settings class.

    Args:
        place: FILE::CLASS, where CLASS is one of those that `woof loop` takes its groups of keys from.

    Raises:
        KeyError: If CLASS is none of them.
    """
    name = str(place).rpartition("::")[2]
    group, settings = next(
        ((group, settings) for group, settings in loop.GROUPS.items() if settings.__name__ == name), (None, None)
    )
    if settings is None:
        raise KeyError(name)
    defaults = {field.name: field.default for field in fields(settings)}
    return keys_table({f"{group}.{key}": text for key, text in meanings(settings).items()}, defaults)


def sweep_table(_: Path) -> str:
    """The keys of `woof lr-find` alone."""
    parameters = inspect.signature(lr_find).parameters
    texts = meanings(lr_find)
    return keys_table({key: texts[key] for key in SWEEP_KEYS}, {key: parameters[key].default for key in SWEEP_KEYS})


def keys_table(texts: Mapping[str, str], defaults: Mapping[str, Any]) -> str:
    """A row for each key.

    Args:
        texts: What each key means.
        defaults: The default of each key, by the last part of its name.
    """
    rows = [[f"`{key}`", no_markdown(text), shown(defaults[key.rpartition(".")[2]])] for key, text in texts.items()]
    return markdown_table(HEADER, rows)


def call_table(_: Path) -> str:
    """The options of a call of `woof fit`, `woof lr-find` or `woof loop`, and which of them take it."""
    added: dict[str, dict[str, Any]] = {}
    for verb in ("woof fit", "woof lr-find"):
        options: Any = OptionsOnly(verb)
        WoofCLI.add_arguments_to_parser(object.__new__(WoofCLI), options)
        for name, about in options.added.items():
            added.setdefault(name, about)
    taken = {"fit": known_keys(FIT), "lr-find": known_keys(LR_FIND), "loop": loop.known_keys()}
    rows = []
    for name, about in added.items():
        verbs = ", ".join(f"`{verb}`" for verb, keys in taken.items() if name in keys)
        default = "off" if about.get("action") == "store_true" else shown(about.get("default", MISSING))
        rows.append([f"`--{name}`", no_markdown(about["help"].removesuffix(".")), default, verbs])
    return markdown_table((*HEADER, "taken by"), rows)


def verbs_table(_: Path) -> str:
    """The verbs, each with a link to its section."""
    return markdown_table(("verb", "does"), [[f"[`woof {verb}`](#woof-{verb})", text] for verb, text in VERBS.items()])


def meanings(documented: Any) -> dict[str, str]:
    """Returns the text of each argument in a docstring, on one line and without the full stop at its end."""
    parameters = parse(inspect.getdoc(documented) or "").params
    return {one.arg_name: " ".join((one.description or "").split()).removesuffix(".") for one in parameters}


def shown(default: Any) -> str:
    """Returns a default as YAML has it; nothing if there is none."""
    if default is MISSING:
        return NO_DEFAULT
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    return f"{default:g}" if isinstance(default, float) else str(default)


KEY_TABLES: dict[str, Callable[[Path], str]] = {
    "keys": settings_table,
    "sweep-keys": sweep_table,
    "call-options": call_table,
    "verbs": verbs_table,
}
