"""`woof predict`: every answer that can be given is given."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Woof

RUN = "runs/adamw_onecycle"


@pytest.fixture
def trained(woof: Woof, small_fit: list[str]) -> Woof:
    assert woof("fit", *small_fit, "--trainer.max_epochs", 1).code == 0
    return woof


@pytest.fixture
def photos(drawn_root: Path, tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    found = sorted((drawn_root / "synthetic" / "val").rglob("*.JPEG"))[:3]
    return [Path(shutil.copy(file, folder / place)) for file, place in zip(found, (".", ".", "more"), strict=True)]


def test_bad_files_cost_no_answer(trained: Woof, photos: list[Path], tmp_path: Path) -> None:
    bad, thin = tmp_path / "bad.jpg", tmp_path / "thin.png"
    bad.write_text("no image", encoding="utf-8")
    Image.new("L", (1, 90_000)).save(thin)
    asked = [bad, photos[0], tmp_path / "nowhere.jpg", photos[1], thin]
    outcome = trained("predict", "--ckpt", RUN, *asked, "--top", 1)
    assert outcome.code == 2
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["image", str(photos[0]), str(photos[1])]
    for told in ("bad.jpg is not an image", "nowhere.jpg: there is no such file", "thin.png is 90,000 times as long"):
        assert told in outcome.err
    answers = json.loads(trained("predict", "--ckpt", RUN, *asked, "--json").out)
    assert [answer["image"] for answer in answers] == [str(file) for file in asked]
    assert [len(answer["top"]) for answer in answers] == [0, 3, 0, 3, 0]
    assert ["problem" in answer for answer in answers] == [True, False, True, False, True]


def test_a_folder_stands_for_its_images(trained: Woof, photos: list[Path]) -> None:
    (photos[0].parent / "notes.txt").write_text("x", encoding="utf-8")
    answers = json.loads(trained("predict", "--ckpt", RUN, photos[0].parent, "--json").out)
    alone = json.loads(trained("predict", "--ckpt", RUN, *sorted(photos), "--json").out)
    assert answers == alone
    assert len(answers) == 3


def test_an_empty_folder_costs_no_answer(trained: Woof, photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = trained("predict", "--ckpt", RUN, tmp_path / "empty")
    assert (outcome.code, outcome.out) == (2, "")
    assert "the folder holds no image" in outcome.err
    outcome = trained("predict", "--ckpt", RUN, tmp_path / "empty", photos[0], "--top", 1)
    assert outcome.code == 2
    assert len(outcome.out.splitlines()) == 2


def test_only_bad_files_give_no_table(trained: Woof) -> None:
    for name in ("a.jpg", "x" * 300):  # Longer than a name can be.
        outcome = trained("predict", "--ckpt", RUN, name)
        assert (outcome.code, outcome.out) == (2, "")
        assert f"{name}: there is no such file" in outcome.err


def test_a_list_names_images_one_a_line(
    trained: Woof, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "list.txt"
    text = codecs.BOM_UTF8 + f"{photos[0]}\r\n\nnowhere.jpg\n{photos[2].parent}\n".encode()
    listed.write_bytes(text)
    outcome = trained("predict", "--ckpt", RUN, photos[1], "--list", listed, "--json")
    assert outcome.code == 2
    assert "nowhere.jpg: there is no such file" in outcome.err
    answers = json.loads(outcome.out)
    assert [answer["image"] for answer in answers] == [str(photos[1]), str(photos[0]), "nowhere.jpg", str(photos[2])]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
    assert json.loads(trained("predict", "--ckpt", RUN, photos[1], "--list", "-", "--json").out) == answers


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--list is list.txt: it cannot be read (No such file or directory)"),
        (b"\n \n", "--list is list.txt: it names no image; expected one path a line"),
        (b"a\0b", "--list is list.txt: it is no text; expected one path a line"),
    ],
)
def test_a_list_of_nothing_is_named(trained: Woof, content: bytes | None, message: str) -> None:
    if content is not None:
        Path("list.txt").write_bytes(content)
    outcome = trained("predict", "--ckpt", RUN, "--list", "list.txt")
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_answers_go_to_a_file_that_is_not_replaced_unless_told(
    trained: Woof, photos: list[Path], tmp_path: Path
) -> None:
    strange = photos[0].with_name(os.fsdecode(b"no utf-8 \xff, a comma.jpg"))
    photos[0].rename(strange)
    asked = [strange, tmp_path / "nowhere.jpg", photos[1]]
    words = ("predict", "--ckpt", RUN, *asked, "--top", 2)
    told = json.loads(trained(*words, "--json").out)

    outcome = trained(*words, "--out", "new/answers.csv")
    assert (outcome.code, outcome.out) == (2, "answers for 2 of 3 images: new/answers.csv\n")
    assert "nowhere.jpg: there is no such file" in outcome.err
    with Path("new/answers.csv").open(newline="", errors="surrogateescape", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["rank"]) for row in rows] == [
        (str(strange), "1"), (str(strange), "2"), (str(asked[1]), ""), (str(photos[1]), "1"), (str(photos[1]), "2"),
    ]  # fmt: skip
    assert rows[2]["problem"].endswith("there is no such file")
    guesses = [guess for answer in told for guess in answer["top"]]
    named = [row for row in rows if row["rank"]]
    assert [(row["name"], row["class"], float(row["probability"]), row["problem"]) for row in named] == [
        (guess["breed"], guess["class_name"], guess["probability"], "") for guess in guesses
    ]

    assert trained(*words, "--out", "new/answers.json").code == 2
    assert json.loads(Path("new/answers.json").read_text(encoding="utf-8")) == told
    before = Path("new/answers.csv").read_bytes()
    kept = trained("predict", "--ckpt", RUN, photos[1], "--out", "new/answers.csv")
    assert (kept.code, Path("new/answers.csv").read_bytes()) == (2, before)
    assert "answers.csv is there already; replace it with --overwrite" in kept.err
    assert trained("predict", "--ckpt", RUN, photos[1], "--out", "new/answers.csv", "--overwrite").code == 0
    assert Path("new/answers.csv").read_bytes() != before
    assert {file.name for file in Path("new").iterdir()} == {"answers.csv", "answers.json"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no image was given: expected IMAGE, a file or a folder, or --list FILE"),
        (("x.jpg", "--top", 0), "--top is 0: expected at least 1"),
        (("x.jpg", "--batch_size", 0), "--batch_size is 0: expected at least 1"),
        (("x.jpg", "--out", "answers.txt"), "--out is answers.txt: expected a file that ends with .csv or .json"),
        (("x.jpg", "--out", "runs"), "--out is runs: that is a folder"),
    ],
)
def test_wrong_options_are_one_message(woof: Woof, words: tuple[object, ...], message: str) -> None:
    Path("runs").mkdir()
    outcome = woof("predict", "--ckpt", RUN, *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert "Traceback" not in outcome.err


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_that_goes_away(
    trained: Woof, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", "--ckpt", RUN, *photos, "--batch_size", 1)
    assert trained(*words).err == ""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert trained(*words).code == 0
    assert "/3" in terminal.getvalue()
    assert terminal.getvalue().rpartition("\r")[2].strip() == ""
