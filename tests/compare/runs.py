"""Runs to compare: folders of this project and of TensorBoard, and what is drawn of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.utils.tensorboard import SummaryWriter

from woof_lightning.compare.curves import draw_curves
from woof_lightning.compare.figures import shown_figures
from woof_lightning.compare.read import Run, read_runs
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import MetricsFile

STEPS_PER_EPOCH = 4


def write_run(path: Path, top1: list[float], *, finished: bool = True, reports: int = 2, **settings: Any) -> Path:
    """Writes a run folder like `woof fit`, with one epoch per accuracy."""
    run = RunFolder(path)
    run.create()
    config = {"model": {"lr": 0.02, **settings}, "trainer": {"max_epochs": max(3, len(top1))}}
    run.config.write_text(yaml.safe_dump(config), encoding="utf-8")
    metrics = MetricsFile(run.metrics)
    for epoch, value in enumerate(top1):
        for report in range(1, reports + 1):
            step = STEPS_PER_EPOCH * epoch + report * STEPS_PER_EPOCH // reports
            metrics.log({"train/loss": 2.0 / step, "lr": 0.02 / step, "momentum": 0.9, "epoch": epoch}, step)
        metrics.log({"val/acc1": value, "val/acc5": min(1, value + 0.3), "val/loss": 1.0, "epoch": epoch}, step)
    metrics.flush()
    if finished:
        elapsed_s = [10.0 * (epoch + 1) for epoch in range(len(top1))]
        run.write_result(
            {"status": "finished", "train_s": elapsed_s[-1], "elapsed_s": elapsed_s, "images_per_s": 123.4}
        )
    return path


def read_all(*folders: Path) -> list[Run]:
    """Reads runs that can all be compared."""
    runs, problems = read_runs(folders)
    assert not problems
    return runs


def write_events(path: Path, values: dict[str, list[tuple[int, float]]], wall_s: float = 1000.0) -> Path:
    """Writes a TensorBoard folder in which each step takes a second."""
    with SummaryWriter(str(path)) as writer:
        for tag, points in values.items():
            for step, value in points:
                writer.add_scalar(tag, value, step, walltime=wall_s + step)
    return path


def axes_of(runs: list[Run], out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Returns the axes of each figure, by file name."""
    from matplotlib.figure import Figure

    seen: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, *_, **__: seen.append(self.axes[0]))
        drawn = draw_curves(runs, shown_figures(runs), out)
    return {file.stem: axes for file, axes in zip(drawn, seen, strict=True)}
