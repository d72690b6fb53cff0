"""Faults of TensorBoard's writer that this project works around: a test fails on the day its fault is fixed."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import TensorBoardLogger


def test_tensorboard_prints_the_disk_s_error_and_hands_it_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """See disk_errors_reported_once."""
    printed: list[Any] = []
    monkeypatch.setattr("threading.excepthook", lambda failure: printed.append(failure.exc_value))
    logger = TensorBoardLogger(tmp_path, name="", version="")
    logger.experiment.flush()
    full = OSError(errno.ENOSPC, "No space left on device")

    def refused(*_: Any) -> None:
        raise full

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", refused)
    logger.experiment.add_scalar("a", 1.0)
    with pytest.raises(OSError, match="No space left"):
        logger.experiment.flush()
    assert printed == [full]
