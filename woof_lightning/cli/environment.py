"""Settings from the environment: options such as WOOF_FIT__DATA__FOLDER, and ${NAME} in the files of --config.

The variables have the names and the precedence that jsonargparse's default_env gives them. They become words of the
command line, so that the names of configs and classes, unknown keys and messages are treated as there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from woof_lightning.errors import UserError

# The parser mode of jsonargparse that reads configs: YAML with ${NAME}.
PARSER_MODE = "yaml_with_environment"
# Options without a value.
FLAGS = ("resume", "overwrite", "allow_nan", "json", "no_download", "clear_cache", "check", "skip_unreadable")
FLAG_VALUES = {"true": True, "1": True, "false": False, "0": False}
VARIABLE = re.compile(r"\$\{([^}]*)\}")
NAME = re.compile(r"[A-Za-z_]\w*")


def variables_of(verb: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns the variables that set options of a verb: the names of the options, dotted, and of the variables.

    Variables without a value count as not set.

    Args:
        verb: The verb, as it is written on the command line.
        environment: The environment.
    """
    prefix = f"WOOF_{verb.replace('-', '_').upper()}__"
    found = sorted(name for name, value in environment.items() if name.startswith(prefix) and value)
    return {name.removeprefix(prefix).lower().replace("__", "."): name for name in found}


def with_environment(verb: str, args: Sequence[str], environment: Mapping[str, str] = os.environ) -> list[str]:
    """Returns a command line with the options that variables set before those that are given.

    Later options win: a file of --config wins over a variable, an option over both.

    Args:
        verb: The verb.
        args: Its options.
        environment: The environment.

    Raises:
        UserError: If a flag has another value than true or false.
    """
    variables = variables_of(verb, environment)
    first = sorted(variables.items(), key=lambda item: (item[0] != "config", item[0]))
    words = [word for key, name in first for word in _words(key, name, environment[name])]
    if verb != "loop":
        return [*words, *args]
    # The loop's name comes first, and `woof loop --check` takes no settings.
    return [args[0], *words, *args[1:]] if args and not args[0].startswith("-") else list(args)


def _words(key: str, name: str, value: str) -> list[str]:
    if key not in FLAGS:
        return [f"--{key}={value}"]
    if value.lower() not in FLAG_VALUES:
        raise UserError(f"the environment variable {name} is {value}: expected true or false")
    return [f"--{key}"] if FLAG_VALUES[value.lower()] else []


def origin_of(message: str, verb: str, args: Sequence[str], environment: Mapping[str, str] = os.environ) -> str:
    """Returns the variables that set what an error is about, as text to add to its message.

    Args:
        message: The message.
        verb: The verb.
        args: Its options, as the user gave them.
        environment: The environment.
    """
    given = {word.partition("=")[0].removeprefix("--") for word in args}
    told = message.partition("; did you mean")[0]
    named = [
        name
        for key, name in variables_of(verb, environment).items()
        if key not in given and re.search(rf"{_before(key)}{re.escape(key)}(?![\w.])", told, re.MULTILINE)
    ]
    return f" (set by the environment variable {', '.join(named)})" if named else ""


def _before(key: str) -> str:
    """Returns what precedes a key in a message. One without a dot may be a word of the sentence."""
    return r"(?<![\w.])" if "." in key else r"(?:--|^|^ *- )"


def interpolated(value: Any) -> Any:
    """Returns settings in which ${NAME} is replaced by the environment variable of that name.

    Args:
        value: Settings, nested.

    Raises:
        UserError: If a variable is not set, or the braces hold no name.
    """
    if isinstance(value, dict):
        return {key: interpolated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item) for item in value]
    return VARIABLE.sub(_value_of, value) if isinstance(value, str) else value


def _value_of(found: re.Match[str]) -> str:
    name = found[1]
    if not NAME.fullmatch(name):
        raise UserError(f"it has {found[0]}: expected the name of an environment variable in the braces, as ${{HOME}}")
    if name not in os.environ:
        raise UserError(f"it has {found[0]}, but there is no environment variable {name}: set it, or write the value")
    return os.environ[name]


def register_parser_mode() -> None:
    """Makes PARSER_MODE known to jsonargparse."""
    from jsonargparse import get_loader, set_loader  # Half a second, which not every verb needs.

    def load(text: str) -> Any:
        return interpolated(get_loader("yaml")(text))

    set_loader(PARSER_MODE, load, exceptions=(yaml.YAMLError,))
