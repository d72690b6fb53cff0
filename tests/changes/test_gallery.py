"""Every program of the gallery runs, in all forms, and equals the one by hand."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.processes import Ended, run, woof
from woof_lightning.changes import find
from woof_lightning.changes.equal import Comparison, compare, unequal
from woof_lightning.changes.find import BASE, BY_HAND, PACKAGES, Cell, Mistake, gallery
from woof_lightning.cli.change import check_mistakes

PEERS = sorted({package for packages in PACKAGES.values() for package in packages} - {"lightning"})
# Several processes are new interpreters, which take half a minute to start; one such program shows that they do.
SCRIPTS = [
    pytest.param(cell, marks=pytest.mark.slow) if cell.processes > 1 and cell.way != BY_HAND else cell
    for change in gallery().values()
    for cell in change.cells.values()
]


PAIR_FILES = [
    pytest.param(file, marks=pytest.mark.slow) if pair.processes > 1 else file
    for pair in find.pairs()
    for file in sorted(pair.file(BY_HAND).parent.glob(f"*{find.SUFFIX}"))
]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    # Eighty programs, three times each: two minutes on a slow machine with other tests beside them.
    return woof("change", ["--check"], tmp_path_factory.mktemp("checked")).wait(patience_s=600)


@pytest.mark.peer(*PEERS)
@pytest.mark.process
@pytest.mark.parametrize("name", gallery())
def test_every_way_equals_the_one_by_hand(name: str, checked: Ended) -> None:
    told = [line for line in checked.out.splitlines() if ", a mistake: " not in line]
    lines = [line.split() for line in told if line.startswith(f"{name} ")]
    assert [line[1] for line in lines] == list(gallery()[name].cells), checked.err
    assert all(line[2:] in (["equal"], ["as", "known"]) for line in lines), checked.err


@pytest.mark.peer(*PEERS)
@pytest.mark.process
def test_the_check_ends_well_and_has_made_every_mistake(checked: Ended) -> None:
    assert checked.code == 0, checked.err
    mistakes = [trap for change in gallery().values() for trap in change.traps if trap.mistake]
    assert len(mistakes) > 10
    assert checked.out.count(", a mistake: ") == len(mistakes)


@pytest.mark.process
def test_a_mistake_that_ends_otherwise_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = gallery()["accumulation"]
    (made,) = [trap for trap in change.traps if trap.mistake and "(loss / 4)" in trap.mistake.edits[0][0]]
    assert made.mistake is not None
    for number, (mistake, told) in enumerate(
        [
            (made.mistake, 0),
            (replace(made.mistake, outcome="warned"), 1),
            (replace(made.mistake, detail="something else"), 1),
        ]
    ):
        wrong = replace(change, traps=(replace(made, mistake=mistake),))
        assert len(list(check_mistakes(wrong, tmp_path / str(number), None))) == told
    assert list(check_mistakes(change, tmp_path / "none", ["fabric"])) == []
    assert capsys.readouterr().out.count("silent and wrong (net: weights") == 3


def test_states_are_equal_to_the_last_bit() -> None:
    one = torch.tensor([1.0])
    state = {"weight": one, "steps": [1, {"lr": 0.1}]}
    assert list(unequal(state, {"weight": one.clone(), "steps": [1, {"lr": 0.1}]})) == []
    assert list(unequal(state, state | {"weight": torch.nextafter(one, 2 * one)})) == [("weight", True)]
    assert list(unequal(state, state | {"steps": [1, {"lr": 0.2}]})) == [("steps.1.lr", False)]
    assert list(unequal(state, {"steps": state["steps"]})) == [("weight", True)]
    assert list(unequal(state, state | {"steps": [1]})) == [("steps", False)]


def test_a_known_difference_is_gone_unless_another_stands_for_it() -> None:
    known = {"trace *": "all", "trace -schedule": "one of them", "net: weights": "another"}
    cell = Cell("ema", "ignite", known)
    assert Comparison(cell, frozenset({"trace *", "net: weights"})).gone == []
    assert Comparison(cell, frozenset({"trace *"})).gone == ["net: weights"]
    assert Comparison(cell, frozenset({"net: weights"})).gone == ["trace *", "trace -schedule"]
    assert Comparison(cell, frozenset({*known, "metric val/loss"})).unexplained == ["metric val/loss"]


def test_a_mistake_that_cannot_be_made_is_told() -> None:
    with pytest.raises(ValueError, match="is there 2 times: expected once"):
        Mistake("by_hand", (("a", "b"),), "", "").program("aa")


@pytest.mark.peer(*PEERS)
@pytest.mark.process
@pytest.mark.parametrize("cell", SCRIPTS, ids=lambda cell: f"{cell.change}-{cell.way}")
def test_a_program_runs_from_any_folder_and_as_a_module(cell: Cell, tmp_path: Path) -> None:
    module = f"woof_lightning.changes.{cell.change}.{cell.file.stem}"
    calls: list[tuple[str, list[object]]] = [("a", [cell.file, "a"])]
    if cell.change == BASE:  # That each of the others resumes is what --check has shown.
        calls += [("a", [cell.file, "a", "--resume"]), ("b", ["-m", module, "b"])]
    for folder, words in calls:
        ended = run(words, tmp_path)
        assert ended.code == 0, ended.err
        assert list((tmp_path / folder).rglob("*tfevents*"))


@pytest.mark.process
@pytest.mark.parametrize("file", PAIR_FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_program_with_two_changes_runs(file: Path, tmp_path: Path) -> None:
    ended = run([file, "a"], tmp_path)
    if file.parent.name == "schedule_per_batch_and_freezing" and file.stem == "lightning_way":
        assert "KeyError" in ended.err, "it shows what fails"
    else:
        assert ended.code == 0, ended.err


def test_each_change_is_told_and_has_the_way_by_hand() -> None:
    folders = {file.parent.name for file in find.GALLERY.glob(f"*/*{find.SUFFIX}")}
    assert folders == set(gallery())
    assert next(iter(gallery())) == BASE
    for change in gallery().values():
        assert BY_HAND in change.cells
        written = {file.name.removesuffix(find.SUFFIX) for file in (find.GALLERY / change.name).glob(f"*{find.SUFFIX}")}
        assert written == set(change.cells)
        assert not change.not_offered.keys() & change.cells.keys()
    assert [change.number for change in gallery().values()] == sorted({c.number for c in gallery().values()})


# An error in a way of the base, and how it shows.
PLANTED = [
    ("momentum=0.9", "momentum=0.8", "net: weights"),
    ("gamma=0.5", "gamma=0.4", "scheduler: gamma"),
    ("        scheduler.step()\n", "", "trace -schedule"),
    ("F.cross_entropy(logits, labels) * len(labels)", "F.cross_entropy(logits, labels) * 8", "metric val/loss"),
    ("            optimizer.zero_grad()\n", "", "trace -zero"),
    ('        optimizer.load_state_dict(checkpoint["optimizer"])\n', "", "resumed optimizer: weights"),
    ('        net.load_state_dict(checkpoint["net"])\n', "", "resumed metric val/loss"),
    ("        net.eval()\n", "", f"trace +{' '.join(['forward without gradient'] * 3)}"),
    ("import torch\n", "import torc\n", "error ModuleNotFoundError: No module named 'torc'"),
]


@pytest.mark.process
@pytest.mark.parametrize(("text", "planted", "shows"), PLANTED, ids=lambda text: text.strip()[:20])
def test_an_error_shows(text: str, planted: str, shows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = tmp_path / "gallery"
    shutil.copytree(find.GALLERY / BASE, copied / BASE)
    right = copied / BASE / f"{BY_HAND}{find.SUFFIX}"
    assert right.read_text(encoding="utf-8").count(text) == 1
    (copied / BASE / f"fabric{find.SUFFIX}").write_text(
        right.read_text(encoding="utf-8").replace(text, planted), encoding="utf-8"
    )
    monkeypatch.setattr(find, "GALLERY", copied)
    ways = [BY_HAND, "fabric"]
    whole, wrong = compare(gallery()[BASE], tmp_path / "trainings", ways)
    assert not whole.differences
    assert shows in wrong.differences
    assert shows in wrong.unexplained
    assert wrong.gone == []
