"""The comparison of the ways on a device: verdicts, differences, and operations without a fixed order."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from docs.results.gpu import parity
from docs.results.gpu.parity import DIFFERS, EQUAL, FAILED, KNOWN, REFUSED, Row
from woof_lightning.errors import UserError
from woof_lightning.parity import Case
from woof_lightning.runs.folder import RunFolder

CASE = Case("adamw_onecycle", 0, "32-true", None, ())
ROW = Row("cuda", "32-true", "adamw_onecycle", False, "fixed order", "fabric")


def test_the_ways_are_compared_and_rows_are_not_made_twice(
    drawn_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    rows = tmp_path / "rows.csv"
    small = ["--arch", "shufflenet_v2_x0_5", "--image_size", "32", "--data_root", str(drawn_root)]
    words = ["parity", str(rows), "--accelerator", "cpu", "--experiments", "sgd_step", *small]
    monkeypatch.setattr("sys.argv", [*words, "--ways", "bare", "woof_fit"])
    assert parity.main() == 0
    found = parity.rows_in(rows)
    assert [(row["way"], row["verdict"], row["largest_difference"]) for row in found] == [
        ("bare", EQUAL, "0.0"),
        ("woof_fit", EQUAL, "0.0"),
    ]
    assert capsys.readouterr().out.endswith("all agree\n")
    monkeypatch.setattr(parity, "trained", None)  # Nothing is trained again.
    assert parity.main() == 0
    assert parity.rows_in(rows) == found
    capsys.readouterr()
    parity.add(rows, Row("cpu", "32-true", "sgd_step", False, "fixed order", "bare", DIFFERS))
    monkeypatch.setattr("sys.argv", [*words, "--ways", "bare"])
    assert parity.main() == 1
    assert capsys.readouterr().out == "differ or failed: 1 of 2: cpu 32-true sgd_step False fixed order bare\n"


def refused(*_: object) -> RunFolder:
    raise UserError("it is not offered")


def broken(*_: object) -> RunFolder:
    raise RuntimeError("long text\nCUDA error")


def test_a_way_that_refuses_or_fails_has_a_row_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "trained", refused)
    row = parity.verdict(CASE, RunFolder(tmp_path), tmp_path, ROW)
    assert (row.verdict, row.what, row.largest_difference) == (REFUSED, "it is not offered", None)
    monkeypatch.setattr(parity, "trained", broken)
    row = parity.verdict(CASE, RunFolder(tmp_path), tmp_path, ROW)
    assert (row.verdict, row.what) == (FAILED, "RuntimeError: CUDA error")


def test_a_difference_says_what_and_by_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "trained", lambda *_: RunFolder(tmp_path))
    monkeypatch.setattr(parity, "first_difference", lambda *_, **__: "weights of last.ckpt: other")
    monkeypatch.setattr(parity, "largest_difference", lambda *_: 0.25)
    row = parity.verdict(CASE, RunFolder(tmp_path), tmp_path, ROW)
    assert (row.verdict, row.what, row.largest_difference) == (DIFFERS, "weights of last.ckpt: other", 0.25)
    resumed = Case("adamw_onecycle", 2, "32-true", 1, ())
    lightning = Row("cuda", "32-true", "adamw_onecycle", True, "fixed order", "lightning")
    assert parity.verdict(resumed, RunFolder(tmp_path), tmp_path, lightning).verdict == KNOWN


def test_the_largest_difference_is_that_of_any_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {
        "one": {"a": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)},
        "two": {"a": torch.tensor([1.5, 1.0]), "n": torch.tensor(3)},
    }
    monkeypatch.setattr(parity, "read_checkpoint", lambda file: {"state_dict": states[file.parents[1].name]})
    assert parity.largest_difference(RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")) == 1.0


def test_operations_without_a_fixed_order_are_named() -> None:
    with parity.algorithms_of(ROW) as warned:
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        for _ in range(2):
            warnings.warn("pool_backward_cuda does not have a deterministic implementation, but", stacklevel=1)
    assert warned == ["pool_backward_cuda"] * 2
    assert not torch.are_deterministic_algorithms_enabled()
    with parity.algorithms_of(Row("cuda", "32-true", "sgd_step", False, "any", "bare")):
        assert not torch.are_deterministic_algorithms_enabled()
