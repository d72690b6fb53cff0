"""Names of a framework are resolved by type, on texts and a framework written for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from woof_lightning.measure.code import framework_names

HEAD = "from typing import Any\nfrom elsewhere import Foreign\nfrom fw import Engine, Hook, Part, make\n"
# What the head of a text imports counts itself.
BROUGHT = {"Engine", "Hook", "Part", "make"}


@pytest.fixture(scope="module", autouse=True)
def framework(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package `fw`, and a package that has nothing to do with it but uses the same words."""
    place = tmp_path_factory.mktemp("framework")
    (place / "elsewhere.py").write_text(
        "class Foreign:\n    def step(self, speed=1) -> 'Foreign': ...\n    def run(self): ...\n"
        "def foreign(speed=1): ...\n",
        encoding="utf-8",
    )
    (place / "fw").mkdir()
    (place / "fw/__init__.py").write_text("from fw.core import Engine, Hook, Part, make, shared\n", encoding="utf-8")
    (place / "fw/core.py").write_text(
        "from __future__ import annotations\n"
        "from typing import Any, Optional, TypedDict, Union\n"
        "from elsewhere import Foreign\n\n"
        "class event:\n    before_fit = 1\n\n"
        "class Inner:\n    depth: int\n\n"
        "class Part:\n"
        "    def __init__(self, size=1, colour=2, **more):\n        self.inner = Inner()\n"
        "        self._secret = 1\n"
        "    def step(self, speed=1): ...\n\n"
        "class Config(TypedDict, total=False):\n    interval: str\n    monitor: str\n\n"
        "class Whole(TypedDict):\n    plan: Config\n\n"
        "class Engine(Foreign):\n"
        "    def __init__(self, length=1): self.part = Part()\n"
        "    @property\n    def loggers(self) -> list[Part]: ...\n"
        "    def run(self, times=1) -> Engine: ...\n"
        "    def open(self): ...\n"
        "    def on(self) -> Any: ...\n\n"
        "class Hook:\n    run_first = True\n    engine = None\n"
        "    def start(self, engine): ...\n"
        "    def setup(self) -> Optional[Union[Whole, Config]]: ...\n"
        "    def _inner(self): ...\n\n"
        "def make(kind=1) -> Part: ...\n"
        "def shared(): ...\n",
        encoding="utf-8",
    )
    (place / "own.py").write_text(
        "from fw import Part\n\nclass Same(Part): ...\n\n"
        "class Other(Part):\n    def __init__(self, size): super().__init__(size=size)\n",
        encoding="utf-8",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        yield
    for name in ("fw", "fw.core", "elsewhere", "own"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        # The type comes from a call, an annotation, a function's result, an attribute, a base class.
        ("e = Engine()\ne.run()\n", {"run"}),
        ("def f(e: Engine): e.run()\n", {"run"}),
        ("def f(e: 'Engine | None' = None): e.run()\n", {"run"}),
        ("make().step()\n", {"step"}),
        ("Engine().run().part.inner.depth\n", {"run", "part", "inner", "depth"}),
        ("class Mine(Engine):\n    def f(self): self.part.step()\n", {"part", "step"}),
        ("class Mine:\n    def __init__(self): self.e = Engine()\n    def f(self): self.e.open()\n", {"open"}),
        ("class Mine:\n    def __init__(self, e: Engine): self.e = e\n\ndef f(m: Mine): m.e.open()\n", {"open"}),
        ("class Mine:\n    def e(self) -> Engine: ...\n\nMine().e().open()\n", {"open"}),
        ("class Mine:\n    @property\n    def e(self) -> Engine: ...\n\nMine().e.open()\n", {"open"}),
        # A container stands for its elements.
        ("for p in Engine().loggers: p.step()\n", {"loggers", "step"}),
        ("[p.step() for p in Engine().loggers]\n", {"loggers", "step"}),
        ("a, b = Engine(), 1\na.open()\nb.open()\n", {"open"}),
        ("a, b = (Part() for _ in range(2))\nb.step()\n", {"step"}),
        ("(None or Engine()).open()\n", {"open"}),
        ("e = Engine() if x else Foreign()\ne.open()\n", {"open"}),
        ("getattr(Engine(), 'part', None).step()\n", {"part", "step"}),
        ("import fw\nfw.shared()\n", {"shared"}),
        # What is known to be another's is not counted, though the words are the same.
        ("Foreign().run()\n", set()),
        ("def f(x: Foreign): x.step()\n", set()),
        ("Foreign().thing.open()\n", set()),
        ("'text'.open()\n", set()),
        ("x = Foreign()\nx.part = 1\n", set()),
        # The base class in another package is not the framework's.
        ("Part().open()\n", set()),
        # Where nothing tells the type, an imported class has to have it, and no private attribute counts.
        ("def f(x): x.open()\n", {"open"}),
        ("def f(x: Any): x.open()\nf(1)\n", {"open"}),
        ("def f(x): x.depth\n", set()),
        ("def f(x): x._secret\n", set()),
        ("Part()._secret\n", {"_secret"}),
        ("Engine().on().open()\n", {"on", "open"}),
        ("Engine().__init__\n", set()),
        # Keywords count where the framework's own code lists them.
        ("Part(size=1, other=2)\n", {"size"}),
        ("Engine().run(times=2)\n", {"run", "times"}),
        ("make(kind=2)\n", {"kind"}),
        ("Foreign().step(speed=1)\n", set()),
        ("from elsewhere import foreign\nforeign(speed=1)\nprint(size=1)\n", set()),
        ("class Mine(Part): ...\n\nMine(size=1)\n", {"size"}),
        (
            "class Mine(Part):\n    def __init__(self, size): super().__init__(colour=size)\n\nMine(size=1)\n",
            {"colour"},
        ),
        ("class Mine(Engine):\n    def run(self): super().run(times=1)\n", {"run", "times"}),
        ("from own import Other, Same\nOther(size=1)\nSame(colour=1).step()\n", {"colour", "step"}),
        # A dict of arguments only.
        ("options = {'size': 1, 'colour': 2}\n", {"size", "colour"}),
        ("options = {'size': 1, 'taste': 2}\n", set()),
        ("options = {'more': 1}\n", set()),
        ("options = {**x, 'size': 1}\nempty = {}\n", set()),
        # Methods that the framework calls.
        ("class Mine(Hook):\n    def start(self, engine): ...\n    def other(self): ...\n", {"start"}),
        ("class Mine(Hook):\n    def before_fit(self): ...\n    def _inner(self): ...\n", {"before_fit", "_inner"}),
        ("def start(engine): ...\n\nclass Mine:\n    def start(self): ...\n", set()),
        ("class Mine(Hook):\n    def other(self):\n        def start(): ...\n", set()),
        ("class First(Hook): ...\n\nclass Mine(First):\n    def start(self): ...\n", {"start"}),
        # Keys that it reads from what such a method returns.
        (
            "class Mine(Hook):\n    def setup(self): return {'plan': {'interval': 1, 'own': 2}}\n",
            {"setup", "plan", "interval"},
        ),
        ("class Mine(Hook):\n    def start(self): return {'interval': 1, 'own': 2}\n", {"start"}),
        ("class Mine:\n    def setup(self): return {'interval': 1, 'own': 2}\n", set()),
    ],
)
def test_names_are_resolved_by_type(text: str, names: set[str]) -> None:
    assert framework_names(HEAD + text, ("fw",)) == BROUGHT | names


def test_names_of_some_lines() -> None:
    text = HEAD + "e = Engine()\ne.open()\n\ndef f(): e.run(times=Part())\n"
    assert framework_names(text, ("fw",), {5}) == {"open"}
    assert framework_names(text, ("fw",), {7}) == {"run", "times", "Part"}
    assert framework_names(text, ("fw",), {3}) == set()


def test_a_name_that_stands_for_another_keeps_its_own() -> None:
    assert framework_names("import fw as f\nf.make(kind=1)\n", ("fw",)) == {"f", "make", "kind"}
    assert framework_names("import gone\nfrom gone import Lost\nLost().run()\n", ("fw",)) == set()
