"""Reads the files of --config before the parser does, so that messages name the file."""

from __future__ import annotations

import locale
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from woof_lightning.cli.configs import config_file
from woof_lightning.cli.environment import interpolated
from woof_lightning.cli.messages import unknown_key
from woof_lightning.errors import UserError
from woof_lightning.runs.config import flatten

OPTIONS = ("--config", "-c")
GROUPS = ("model", "data", "trainer")


class _StrictLoader(yaml.SafeLoader):
    """Refuses a mapping with the same key twice, of which PyYAML would silently take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
        if twice is not None:
            raise yaml.YAMLError(f"{twice} is there twice")
        return super().construct_mapping(node, deep)


def with_config_files(args: Sequence[str], known: Sequence[str], verb: str) -> Iterator[str]:
    """Yields the words of a command line, with the names of shipped configs replaced by their files.

    An empty file among several changes nothing, so it is left out.

    Args:
        args: The command line.
        known: All keys that the verb takes, dotted.
        verb: The verb, for messages.

    Raises:
        UserError: If a file is no config. The message names it.
    """
    words = iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        if option not in OPTIONS:
            yield word
            continue
        name = value if equals else next(words, None)
        if name is None:
            yield word
            continue
        file = config_file(name)
        if checked_config(file, known, verb):
            yield f"{option}={file}"


def checked_config(file: str, known: Sequence[str], verb: str) -> dict[str, Any]:
    """Returns the settings in a file of --config; none if it has only comments. YAML text is not a file.

    Args:
        file: The file.
        known: All keys that the verb takes, dotted.
        verb: The verb, for messages.

    Raises:
        UserError: If it cannot be read, or holds anything but settings that the verb takes.
    """
    if not Path(file).is_file():
        return {"text": file}
    try:
        content = Path(file).read_bytes()
        settings = yaml.load(content.decode(), _StrictLoader)
    except OSError as error:
        raise UserError(f"--config is {file}: it cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise UserError(f"--config is {file}: it is no YAML file ({reason}); expected lines of key: value") from error
    if is_misread(content):
        raise UserError(
            f"--config is {file}: it has letters beyond ASCII, and the settings' parser reads it as "
            f"{locale.getpreferredencoding(False)}, the encoding of this system's language, expected UTF-8; set the "
            "environment variable PYTHONUTF8=1 and run the command again"
        )
    try:
        settings = interpolated(settings)
    except UserError as error:
        raise UserError(f"--config is {file}: {error}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise UserError(f"--config is {file}: it holds {_kind(settings)}, expected lines of key: value")
    problem = next((text for key, value in settings.items() if (text := _problem(str(key), value, known, verb))), None)
    if problem is not None:
        raise UserError(f"--config is {file}: {problem}")
    return settings


def is_misread(content: bytes) -> bool:
    """Returns whether jsonargparse would read other settings than those that are there, in UTF-8.

    It opens files in the encoding of the system's language (`Path.read_text` in jsonargparse/_paths.py).

    Args:
        content: The content of a file of --config.
    """
    if content.isascii():
        return False
    try:
        read = yaml.safe_load(content.decode(locale.getpreferredencoding(False)))
    except (UnicodeDecodeError, yaml.YAMLError):
        return True
    return bool(read != yaml.safe_load(content.decode()))


def with_origin(message: str, args: Sequence[str]) -> str:
    """Returns a message about a key with the file that sets it, unless an option does.

    Args:
        message: A message that begins with the key.
        args: The words of `with_config_files`.
    """
    key = message.partition(" ")[0]
    files = [word.partition("=")[2] for word in args if word.partition("=")[0] in OPTIONS]
    on_the_line = any(word.partition("=")[0] == f"--{key}" for word in args)
    file = None if on_the_line else origin(key, files)
    return message if file is None else f"{message} (in {file})"


def origin(key: str, configs: Sequence[str]) -> str | None:
    """Returns the last of several files of --config that sets a key; None if none does.

    Args:
        key: The key, dotted.
        configs: The files.
    """
    found = [file for file in configs if Path(file).is_file() and key in flatten(loaded(file))]
    return found[-1] if found else None


def loaded(file: str) -> dict[str, Any]:
    """Returns the settings in a YAML file, with ${NAME} replaced; none if it holds anything else."""
    try:
        settings = interpolated(yaml.safe_load(Path(file).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, UserError):  # The check of the file raises them.
        return {}
    return settings if isinstance(settings, dict) else {}


def _problem(key: str, value: Any, known: Sequence[str], verb: str) -> str | None:
    if key in ("fit", "lr_find", "validate", "test", "predict") and isinstance(value, dict):
        return f"its settings stand below {key}:, expected them on top; remove that line and the indentation below it"
    if key not in GROUPS:
        whole = f"{key}.{next(iter(value))}" if isinstance(value, dict) and value else key
        return None if key in known else unknown_key(whole, known, verb)
    if not isinstance(value, dict):
        return f"{key} is {'empty' if value is None else value}: expected settings below it, or leave it out"
    strange = next((f"{key}.{name}" for name in value if f"{key}.{name}" not in known), None)
    return None if strange is None else unknown_key(strange, known, verb)


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"the text {value!r}" if isinstance(value, str) else repr(value)
