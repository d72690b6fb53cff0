"""Lines and names are counted on texts written for it, with a framework written for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from woof_lightning.measure.code import framework_names, logical_lines
from woof_lightning.measure.reflection import defined


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", 0),
        ("# A comment.\n\n\n", 0),
        ('"""A docstring\nof two lines."""\n', 0),
        ("x = 1\n", 1),
        ("x = 1  # With a comment.\n", 1),
        ('x = """A text\nof two lines."""\n', 1),
        ("x = (1 +\n     2)\n", 1),
        ("x = 1 + \\\n    2\n", 1),
        ("x = 1; y = 2\n", 1),
        ("@decorator\ndef f(a,\n      b):\n    '''A docstring.'''\n    return a\n", 3),
        ("if x:\n    y = 1\nelse:\n    y = 2\n", 4),
        ("x = 1", 1),
        ("'one' 'docstring'\n", 0),
        ("'a text'.upper()\n", 1),
    ],
)
def test_a_logical_line_is_a_statement_s(text: str, lines: int) -> None:
    assert logical_lines(text) == lines


@pytest.fixture
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package `fw`, whose class inherits from another package."""
    (tmp_path / "outside.py").write_text(
        "class Outside:\n    def foreign(self):\n        self.strange = 1\n", encoding="utf-8"
    )
    (tmp_path / "fw").mkdir()
    (tmp_path / "fw/__init__.py").write_text("from fw.base import Base, helper\n", encoding="utf-8")
    (tmp_path / "fw/base.py").write_text(
        "from outside import Outside\n\n"
        "class Other:\n"
        "    def elsewhere(self):\n"
        "        self.other = 1\n\n"
        "class Base(Outside):\n"
        "    limit: int\n"
        "    def hook(self):\n"
        "        self.counter = self.read\n"
        "        self._hidden = 1\n"
        "        thing.stored = 1\n\n"
        "def helper():\n"
        "    pass\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("fw", "fw.base", "outside"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("framework")
@pytest.mark.parametrize(
    ("text", "names"),
    [
        # An imported name counts once, under the name that the text gives it.
        ("from fw import Base\nBase()\nBase()\n", {"Base"}),
        ("from fw import Base as B\n", {"B"}),
        ("from fw.base import helper\n", {"helper"}),
        ("import fw.base\n", set()),
        # What a class brings: methods, annotations, what its methods assign to self; after a dot or a def.
        ("from fw import Base\nclass Mine(Base):\n    def hook(self): ...\n", {"Base", "hook"}),
        ("from fw import Base\nx.hook()\nx.limit\nx.counter\n", {"Base", "hook", "limit", "counter"}),
        # The same words elsewhere are not the framework's.
        ("from fw import Base\nhook = limit\nf(counter=1)\n", {"Base"}),
        ("from fw import Base\nx = 'x.hook'  # x.limit\n", {"Base"}),
        # Nor are private names, what is only read, what is another object's or another class's or package's.
        ("from fw import Base\nx._hidden\nx.read\nx.stored\nx.other\nx.elsewhere\nx.foreign\nx.strange\n", {"Base"}),
        # A function has no attributes that count.
        ("from fw import helper\nx.hook\n", {"helper"}),
        # A name of another package is not imported from the framework.
        ("from outside import Outside\nx.foreign\n", set()),
        # A line break within a chain changes nothing.
        ("from fw import Base\n(x\n .hook())\n", {"Base", "hook"}),
    ],
)
def test_names_are_those_that_a_framework_brings(text: str, names: set[str]) -> None:
    assert framework_names(text, ("fw",)) == names


def test_an_attribute_that_a_class_is_given_later_is_seen() -> None:
    class Patched:
        def __init__(self) -> None:
            self.mine = 1

    assert "later" not in defined(Patched)
    Patched.later = 1  # type: ignore[attr-defined]
    assert {"later", "mine"} <= defined(Patched).keys()
