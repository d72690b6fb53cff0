"""The house holds: imports run from the top floor down, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from woof_lightning.loops.ways import LOOPS
from woof_lightning.loops.ways import WAYS as WAYS_TO_TRAIN

PACKAGE = Path(__file__).parents[1] / "woof_lightning"
# Each room and the rooms that it may import beside itself.
BASE = {"errors", "locks", "checksums", "resources"}
MEASURE = {"measure", *BASE}
DATA, RUNS = {"data", *BASE}, {"runs", *BASE}
RECIPE = {"recipe", *DATA}
COMPARE = {"compare", *RUNS}
WAYS = RECIPE | COMPARE
MAY_IMPORT = {
    "errors": set(),
    "locks": set(),
    "checksums": set(),
    "resources": set(),
    "measure": BASE,
    "data": BASE,
    "runs": BASE,
    "recipe": DATA,
    "compare": RUNS,
    "profile": {"measure", *BASE},
    "export": RECIPE | RUNS,
    "lit": WAYS,
    "loops": RECIPE | RUNS,
    "parity": {"lit", "loops", *WAYS},
    "cost": {"lit", "loops", *WAYS, *MEASURE},
    "changes": MEASURE,
    "cli": {"changes", "cost", "export", "profile", "parity", "lit", "loops", *WAYS, *MEASURE},
    "__main__": {"cli"},
    # The public names.
    "__init__": {"lit", "profile", "recipe"},
}
MOST_LINES = 350
NO_TORCH = {"lightning", "torch", "torchvision"}
NEVER_IN = {
    "data": {"lightning"},
    "recipe": {"lightning"},
    "runs": NO_TORCH,
    "compare": NO_TORCH,
    "measure": {"lightning", "torchvision"},
    "errors": NO_TORCH,
}
# Whose `open` opens no text.
NO_TEXT = {"Image", "os", "tarfile", "window"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_one_way(file: Path) -> None:
    room = room_of(file)
    rooms = {name.split(".")[1] for name in imported(file) if name.startswith("woof_lightning.")}
    assert rooms <= MAY_IMPORT[room] | {room}
    libraries = {name.split(".")[0] for name in imported(file)}
    assert not libraries & NEVER_IN.get(room, set())


def test_no_file_imports_itself_by_way_of_others() -> None:
    own = {module_of(file) for file in modules()}
    # A name that is imported is a module, or lies in one.
    graph = {
        module_of(file): {name if name in own else name.rpartition(".")[0] for name in imported(file)} & own
        for file in modules()
    }
    assert len(graph["woof_lightning.loops.start"]) > 5
    TopologicalSorter(graph).prepare()  # Raises a CycleError.


def test_no_file_is_long() -> None:
    assert not [file.name for file in modules() if len(file.read_text(encoding="utf-8").splitlines()) > MOST_LINES]


def test_every_room_is_known() -> None:
    assert {room_of(file) for file in modules()} <= MAY_IMPORT.keys()


def test_matplotlib_is_imported_only_where_something_is_drawn() -> None:
    assert {f.name for f in modules() if any(n.startswith("matplotlib") for n in imported(f))} == {
        "curves.py",
        "draw.py",
    }


def test_bokeh_is_imported_only_for_the_page() -> None:
    """In functions, so that `woof compare` without --out does not wait for it."""
    assert [f.name for f in modules() if any(n.startswith("bokeh") for n in imported(f))] == ["charts.py"]
    tree = ast.parse((PACKAGE / "compare" / "charts.py").read_text(encoding="utf-8"))
    assert not any("bokeh" in ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)))


def test_the_profiler_could_be_released_alone() -> None:
    """All but its comparison with a bare loop, which computes intervals."""
    for file in (PACKAGE / "profile").glob("*.py"):
        rooms = {name.split(".")[1] for name in imported(file) if name.startswith("woof_lightning.")}
        assert rooms <= {"profile", "errors"} or file.name == "turns.py", file


def test_scipy_is_not_imported() -> None:
    assert not [f for f in modules() if any(n.startswith("scipy") for n in imported(f))]


def leaves_encoding_open(call: ast.Call) -> bool:
    """Returns whether a call reads or writes text and does not say in which encoding."""
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else None
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    options = {option.arg: option.value for option in call.keywords}
    if "encoding" in options:
        return False
    if name in ("run", "Popen", "check_output"):
        return "text" in options
    if name == "read_text":
        return not call.args  # A distribution's takes the name of a file.
    if name != "open" or owner in NO_TEXT:
        return name in ("write_text", "makefile", "TextIOWrapper")
    modes = [*(call.args[:1] if owner else call.args[1:2]), options.get("mode", ast.Constant(""))]
    return not any("b" in str(getattr(part, "value", "")) for mode in modes for part in ast.walk(mode))


@pytest.mark.parametrize("folder", ["woof_lightning", "docs", "tests"])
def test_text_is_read_and_written_in_a_stated_encoding(folder: str) -> None:
    """Without one it is that of the system's language. Ruff's PLW1514 does not know every Path for one."""
    found = [
        f"{file}:{node.lineno}"
        for file in sorted((PACKAGE.parent / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and leaves_encoding_open(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "is_open"),
    [
        ("file.read_text()", True),
        ("file.read_text(errors='replace')", True),
        ("file.read_text(encoding='utf-8')", False),
        ("distribution.read_text('RECORD')", False),
        ("file.write_text(text)", True),
        ("file.open()", True),
        ("file.open('a', newline='')", True),
        ("file.open('rb')", False),
        ("file.open('ab' if resumes else 'wb')", False),
        ("file.open(mode='xb')", False),
        ("open(file)", True),
        ("open(file, 'w')", True),
        ("open(file, 'rb')", False),
        ("Image.open(file)", False),
        ("subprocess.run(words, text=True)", True),
        ("subprocess.run(words, encoding='utf-8')", False),
        ("subprocess.run(words)", False),
    ],
)
def test_an_open_encoding_is_seen(code: str, is_open: bool) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert leaves_encoding_open(call) is is_open


@pytest.mark.parametrize("name", LOOPS)
def test_no_loop_imports_another(name: str) -> None:
    file = PACKAGE / "loops" / f"{name}.py"
    others = {f"woof_lightning.loops.{other}" for other in LOOPS}
    assert not {n for n in imported(file) if n.rpartition(".")[0] in others or n in others}
    own = set(WAYS_TO_TRAIN[name].packages)
    assert not ({n.split(".")[0] for n in imported(file)} & {"lightning", "lightning_fabric"}) - own
