"""The classes that `woof fit` and `woof lr-find` train with: this project's, or subclasses in a file of the user."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from woof_lightning.cli.config_files import OPTIONS, loaded
from woof_lightning.cli.configs import config_file
from woof_lightning.errors import UserError
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule

MODEL_CLASS, DATA_CLASS = "model_class", "data_class"
T = TypeVar("T")


@dataclass(frozen=True)
class Classes:
    """The classes to train with.

    Args:
        model: The LightningModule.
        data: The LightningDataModule.
    """

    model: type[WoofClassifier] = WoofClassifier
    data: type[ImagewoofDataModule] = ImagewoofDataModule

    def own_arguments(self) -> list[str]:
        """Returns the dotted keys of the arguments that subclasses add."""
        return [
            f"{group}.{name}"
            for group, chosen in (("model", self.model), ("data", self.data))
            for name, parameter in inspect.signature(chosen.__init__).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        ]


def chosen_classes(args: Sequence[str]) -> Classes:
    """Returns the classes that a command line or one of its configs names.

    Args:
        args: The command line.

    Raises:
        UserError: If there is no such class, or it is no subclass of this project's.
    """
    given = dict(named_in(args))
    return Classes(
        subclass(MODEL_CLASS, given.get(MODEL_CLASS), WoofClassifier),
        subclass(DATA_CLASS, given.get(DATA_CLASS), ImagewoofDataModule),
    )


def named_in(args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yields the values of both options in a command line and its configs, in their order."""
    words = iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        key = option.removeprefix("--")
        if key not in (MODEL_CLASS, DATA_CLASS) and option not in OPTIONS:
            continue
        given = value if equals else next(words, "")
        if key in (MODEL_CLASS, DATA_CLASS):
            yield key, given
        elif given and Path(file := config_file(given)).is_file():
            settings = loaded(file)
            yield from ((key, settings[key]) for key in (MODEL_CLASS, DATA_CLASS) if key in settings)


def subclass(key: str, path: str | None, parent: type[T]) -> type[T]:
    """Returns a class by its path.

    Args:
        key: The option that names it.
        path: Its module and name, as mine.MyClassifier; None for the parent.
        parent: The class that it must be a subclass of.

    Raises:
        UserError: If there is no such class. Errors of its own file are raised as they are.
    """
    if path is None:
        return parent
    module, _, name = str(path).rpartition(".")
    expected = f"{key} is {path}: expected a subclass of {parent.__name__} as FILE.CLASS, with FILE.py in this folder"
    found = named(module, name, expected) if module else None
    if not (inspect.isclass(found) and issubclass(found, parent)):
        raise UserError(f"{expected}; that is {'not there' if found is None else 'none'}")
    return found


def named(module: str, name: str, expected: str) -> Any:
    """Returns what has a name in a module of the user; None if nothing has.

    Args:
        module: The module.
        name: The name.
        expected: What the user has given and should have, for the error.

    Raises:
        UserError: If there is no such module. Errors of its own file are raised as they are.
    """
    try:
        return getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise UserError(f"{expected}; there is no module {error.name} in {Path.cwd()}") from error


@contextmanager
def current_folder_importable() -> Iterator[None]:
    """Lets classes be imported from files in the current folder within the block; installed packages come first."""
    before, folder = sys.path, str(Path.cwd())
    sys.path = [*before, folder]
    try:
        yield
    finally:
        sys.path = before
