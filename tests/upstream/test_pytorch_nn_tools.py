"""Faults of fastprogress, which draws pytorch-nn-tools' bars: a test fails on the day its fault is fixed."""

from __future__ import annotations

import io

import pytest

from tests.ways import NEEDS_PEERS

fastprogress = pytest.importorskip("fastprogress.fastprogress", reason=NEEDS_PEERS)
pytestmark = pytest.mark.peer


def test_fastprogress_takes_every_output_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """See Bars in loops/hand_rolled.py."""
    monkeypatch.setattr(fastprogress, "stdout", io.StringIO())
    assert fastprogress.printing()
