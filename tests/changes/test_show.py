"""`woof change` without training."""

from __future__ import annotations

from pathlib import Path

import pytest

from woof_lightning.changes import find
from woof_lightning.changes.find import gallery
from woof_lightning.changes.show import beside, diff_of, fold
from woof_lightning.cli import main


def test_a_diff_has_what_goes_and_what_comes() -> None:
    lines = diff_of(gallery()["schedule_per_batch"].cells["by_hand"])
    assert next(line for line in lines if line.startswith("-")) == "-from torch.optim.lr_scheduler import StepLR"
    assert "+            scheduler.step()" in lines
    assert "-        scheduler.step()" in lines
    assert not [line for line in lines if line.startswith(("@@", "---", "+++"))]


def test_columns_that_do_not_fit_go_below() -> None:
    columns = {"a": ["1", "2", "3"], "b": ["4"], "c": ["5"]}
    narrow, wide = beside(columns, 80), beside(columns, 140)
    assert narrow.split("\n\n") == ["a\n=\n1\n2\n3", "b\n=\n4", "c\n=\n5"]
    rows = [[part.strip() for part in line.split("|")] for line in wide.splitlines()]
    assert rows == [["a", "b"], ["=", "="], ["1", "4"], ["2", ""], ["3", ""], [""], ["c"], ["="], ["5"]]


def test_a_long_line_goes_on_below() -> None:
    assert fold(["+    one two three", ""], 12) == ["+    one two", "   three", ""]


def test_the_list_has_every_change_and_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["change", "--ways", "by_hand", "lightning"]) == 0
    table, _, note = capsys.readouterr().out.strip().rpartition("\n\n")
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[3:]}
    assert set(rows) == set(gallery()) - {"base"}
    assert rows["accumulation"][2:] == ["+1", "-1"]
    assert rows["gan"][-1] == note[0] == "*"


def test_the_list_of_a_road_has_that_road_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["change", "--ways", "lightning_expert"]) == 0
    listed = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in listed.splitlines()[3:]}
    assert [name for name, cells in rows.items() if cells] == ["sam", "two_processes", "freezing"]
    assert "*" not in listed


def test_a_change_is_shown_with_its_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["change", "ema", "--ways", "lightning"]) == 0
    shown = capsys.readouterr().out
    assert "EMAWeightAveraging(decay=0.9)" in shown
    assert "update_parameters" not in shown


def test_a_way_whose_library_is_missing_is_told_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(find.PACKAGES, "accelerate", ("no_such_library",))
    assert main(["change", "freezing", "--check", "--ways", "accelerate"]) == 0
    told = capsys.readouterr()
    assert (told.out, "accelerate is not compared, since no_such_library is not installed" in told.err) == ("", True)
    assert main(["change", "freezing", "--count", "--out", str(tmp_path)]) == 2
    assert "not installed: no_such_library" in capsys.readouterr().err
    assert main(["change"]) == 0


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["emma"], "emma is no change"),
        (["base"], "base is no change"),
        (["ema", "--ways", "lightening"], "did you mean lightning"),
    ],
)
def test_a_wrong_name_is_refused(args: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["change", *args]) == 2
    assert problem in capsys.readouterr().err
