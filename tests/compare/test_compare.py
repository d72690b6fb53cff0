"""`woof compare`: any run's logs, as tables, figures and a page."""

from __future__ import annotations

import csv
import errno
import json
import math
import random
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from torch.utils.tensorboard import SummaryWriter

from tests.conftest import Woof
from woof_lightning.compare.comparison import compare, tables_of
from woof_lightning.compare.curves import draw_curves, smoothed, style_of
from woof_lightning.compare.events import event_files, read_events
from woof_lightning.compare.find import find_runs, short_names
from woof_lightning.compare.read import TOP1, TOP5, Run, differences, read_run, read_runs
from woof_lightning.compare.tags import TAGS
from woof_lightning.errors import UserError
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import MetricsFile, read_columns

STEPS_PER_EPOCH = 4


def write_run(path: Path, top1: list[float], *, finished: bool = True, reports: int = 2, **settings: Any) -> Path:
    """A run folder as `woof fit` leaves it, with so many epochs as there are accuracies."""
    run = RunFolder(path)
    run.create()
    config = {"model": {"lr": 0.02, **settings}, "trainer": {"max_epochs": max(3, len(top1))}}
    run.config.write_text(yaml.safe_dump(config))
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
    """Runs that can all be compared."""
    runs, problems = read_runs(folders)
    assert not problems
    return runs


def write_events(path: Path, values: dict[str, list[tuple[int, float]]], wall_s: float = 1000.0) -> Path:
    """A TensorBoard folder; each step lasts a second."""
    with SummaryWriter(str(path)) as writer:
        for tag, points in values.items():
            for step, value in points:
                writer.add_scalar(tag, value, step, walltime=wall_s + step)
    return path


def test_runs_stand_beside_each_other(woof: Woof) -> None:
    write_run(Path("runs/a"), [0.3, 0.5, 0.5], optimizer="sgd")
    write_run(Path("runs/b"), [0.6, 0.4, 0.2], optimizer="adamw")
    done = woof("compare", "runs", "--out", "out")
    assert done.code == 0, done.err
    rows = list(csv.DictReader(Path("out/results.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == ["a", "b"]
    # The first of equals is the best.
    assert [(row["best top-1"], row["its epoch"], row["its top-5"]) for row in rows] == [
        ("0.500", "2", "0.800"),
        ("0.600", "1", "0.900"),
    ]
    assert [(row["final top-1"], row["final top-5"]) for row in rows] == [("0.500", "0.800"), ("0.200", "0.500")]
    assert {(row["state"], row["seconds with validation"], row["images/s in training"]) for row in rows} == {
        ("finished", "30", "123")
    }
    settings = list(csv.DictReader(Path("out/settings.csv").read_text().splitlines()))
    assert [list(row.items()) for row in settings] == [
        [("run", "a"), ("model.optimizer", "sgd")],
        [("run", "b"), ("model.optimizer", "adamw")],
    ]
    assert "| a | finished | 0.500 | 2 |" in Path("out/results.md").read_text()
    assert "0.600" in done.out
    drawn = sorted(file.name for file in Path("out").glob("*.png"))
    assert drawn == ["loss.png", "lr.png", "momentum.png", "top1.png", "top1_over_time.png", "top5.png"]


def test_without_a_folder_only_the_terminal_gets_something(woof: Woof) -> None:
    write_run(Path("a"), [0.3])
    before = sorted(Path().rglob("*"))
    done = woof("compare", "a")
    assert done.code == 0
    assert "0.300" in done.out
    assert "Settings" not in done.out
    assert sorted(Path().rglob("*")) == before


def test_percent_is_known_by_the_tag_not_by_the_size(tmp_path: Path) -> None:
    percent = write_events(tmp_path / "post", {"avg.val.acc1": [(0, 0.5), (1, 80.0)], "train.loss": [(10, 2), (80, 1)]})
    fraction = write_events(tmp_path / "fastai", {"accuracy": [(4, 0.5), (8, 0.8)], "train_loss": [(1, 2), (8, 1)]})
    post, fastai = read_all(percent, fraction)
    assert post.series[TOP1].value == pytest.approx([0.005, 0.8])
    assert fastai.series[TOP1].value == pytest.approx([0.5, 0.8])
    assert (post.epochs(TOP1), fastai.epochs(TOP1)) == ([1, 2], [1, 2])
    assert (post.steps_per_epoch, fastai.steps_per_epoch) == (40, 4)
    assert post.epochs("train/loss") == [0.25, 2]


def test_the_tags_of_a_step_win_over_those_of_an_epoch(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "post", {"train.lr_0": [(10, 0.1)], "lr_0": [(0, 0.5)], "train.loss": [(10, 1)]})
    assert read_run(folder, "post").series["lr"].value == pytest.approx([0.1])


def test_every_known_tag_has_a_meaning() -> None:
    names = {tag.name for known in TAGS.values() for tag in known.values()}
    assert names == set(TAGS["woof_lightning"])


def test_the_post_s_own_events_are_read(woof: Woof, small_fit: list[str]) -> None:
    """Those of the post's loop on the post's own libraries, without the files of this project."""
    assert woof("loop", "hand_rolled", *small_fit, "--name", "post").code == 0
    ours = read_run(Path("runs/post"), "ours")
    for file in ("metrics.csv", "config.yaml", "result.json"):
        Path("runs/post", file).unlink()
    theirs = read_run(Path("runs/post"), "theirs")
    for name in ("train/loss", "train/acc1", "lr"):
        assert theirs.series[name].step == ours.series[name].step
        assert theirs.series[name].value == pytest.approx(ours.series[name].value)
    assert theirs.state == "2 epochs"
    # The post's means are over batches, of 16 images each here.
    assert theirs.series[TOP1].value == pytest.approx(ours.series[TOP1].value)


def test_plain_lightning_s_events_are_read(tmp_path: Path) -> None:
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import TensorBoardLogger

    from woof_lightning.loops.lightning import LightningClassifier
    from woof_lightning.recipe.config import ModelConfig

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(3, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.linear(images.mean((2, 3)))
            return found

    batches = [(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 2, 3]))] * 5
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, logger=TensorBoardLogger(tmp_path, name="", version="run"),
        callbacks=[LearningRateMonitor("step", log_momentum=True)],
    )  # fmt: skip
    loader: Any = torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    trainer.fit(LightningClassifier(Net(), ModelConfig(lr=0.01, num_classes=10), {}), loader, loader)
    run = read_run(tmp_path / "run", "usual")
    known = {"train/loss", "train/acc1", "train/acc5", "lr", "momentum", TOP1, TOP5, "val/loss"}
    assert known <= run.series.keys()
    assert run.epochs(TOP1) == [1, 2]
    assert (run.steps("train/loss") or [])[0] == 1
    assert run.state == "2 epochs"
    assert run.series["lr"].value[-1] < run.series["lr"].value[4]


@pytest.mark.parametrize("count", ["iterations", "epochs"])
def test_ignite_s_events_are_read(tmp_path: Path, count: str) -> None:
    """Validations by the trainer's iterations, and by its epochs as Ignite's own examples have it."""
    from ignite.engine import Engine, Events
    from ignite.handlers import global_step_from_engine
    from ignite.handlers.tensorboard_logger import OptimizerParamsHandler, TensorboardLogger

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    trainer, evaluator = Engine(lambda *_: 0.5), Engine(lambda *_: None)
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda e: e.state.metrics.update(accuracy=0.25, loss=2.0))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run([0]))
    with TensorboardLogger(log_dir=str(tmp_path)) as logger:
        logger.attach_output_handler(
            trainer, Events.ITERATION_COMPLETED, tag="training", output_transform=lambda loss: {"loss": loss}
        )
        logger.attach_output_handler(
            evaluator,
            Events.EPOCH_COMPLETED,
            tag="validation",
            metric_names=["loss", "accuracy"],
            global_step_transform=(
                global_step_from_engine(trainer) if count == "epochs" else lambda *_: trainer.state.iteration
            ),
        )
        logger.attach(trainer, OptimizerParamsHandler(optimizer), Events.ITERATION_COMPLETED)
        trainer.run([0] * 3, max_epochs=2)
    run = read_run(tmp_path, "ignite")
    assert run.series.keys() >= {"train/loss", "lr", TOP1, "val/loss"}
    assert run.series[TOP1].value == [0.25, 0.25]
    assert run.epochs(TOP1) == [1, 2]
    assert run.epochs("train/loss") == [step / 3 for step in range(1, 7)]


def test_fastai_s_events_are_read(tmp_path: Path) -> None:
    from fastai.callback.tensorboard import TensorBoardCallback
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.metrics import accuracy, top_k_accuracy

    data = torch.utils.data.TensorDataset(torch.randn(8, 4), torch.arange(8))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    net = torch.nn.Linear(4, 8)
    learner = Learner(
        DataLoaders(loader, loader), net, loss_func=torch.nn.functional.cross_entropy,
        metrics=[accuracy, top_k_accuracy], path=tmp_path,
        cbs=[TensorBoardCallback(log_dir=tmp_path / "run", trace_model=False, log_preds=False)],
    )  # fmt: skip
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(2, 0.01)
    run = read_run(tmp_path / "run", "fastai")
    assert run.series.keys() >= {"train/loss", "val/loss", "lr", "momentum", TOP1, TOP5}
    assert run.epochs(TOP1) == [1, 2]


def test_a_run_that_is_not_done_is_shown_as_far_as_it_goes(woof: Woof) -> None:
    folder = write_run(Path("cut"), [0.3, 0.4], finished=False)
    with (folder / "metrics.csv").open("a") as file:
        file.write("2,9,0.1")
    done = woof("compare", "cut", "--out", "out")
    assert done.code == 0, done.err
    assert "unfinished, 2 of 3 epochs" in done.out
    assert "note: cut: metrics.csv ends within a row; what was written before is shown" in done.out
    assert "metrics.csv ends within a row" in Path("out/index.html").read_text()


def test_a_torn_record_of_events_is_left_out(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "post", {"train.loss": [(10, 2), (20, 1)], "avg.val.acc1": [(0, 50.0)]})
    (file,) = event_files(folder)
    assert read_run(folder, "post").notes == []
    whole = file.read_bytes()
    for missing in (1, 5, 20):
        file.write_bytes(whole[:-missing])
        run = read_run(folder, "post")
        assert run.series["train/loss"].step == [10, 20]
        assert TOP1 not in run.series
        assert run.notes == [f"{file.name} ends within a record; what was written before is shown"]


def test_a_damaged_record_of_events_is_told(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "post", {"train.loss": [(step, 1.0) for step in range(9)]})
    (file,) = event_files(folder)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    run = read_run(folder, "post")
    steps = run.series["train/loss"].step
    assert 0 < len(steps) < 9
    assert run.notes[0] == f"{file.name} is damaged after {len(steps) + 1} records; what was written before is shown"


def test_a_resumed_run_s_pause_is_no_training_time(tmp_path: Path) -> None:
    write_events(tmp_path, {"train_loss": [(1, 3.0), (2, 2.0), (3, 9.0)]}, wall_s=1000.0)
    (first,) = event_files(tmp_path)
    first.rename(tmp_path / "events.out.tfevents.1")
    write_events(tmp_path, {"train_loss": [(3, 1.0), (4, 0.5)]}, wall_s=9000.0)
    (second,) = [file for file in event_files(tmp_path) if file.name != "events.out.tfevents.1"]
    second.rename(tmp_path / "events.out.tfevents.2")
    series = read_events(event_files(tmp_path)).series["train/loss"]
    assert series.step == [1, 2, 3, 4]
    assert series.value == [3, 2, 1, 0.5]
    # The writer itself notes the true time when it begins a file: only differences within a sitting are looked at.
    assert series.elapsed_s[3] - series.elapsed_s[2] == pytest.approx(1)
    assert series.elapsed_s[1] - series.elapsed_s[0] == pytest.approx(1)


def test_a_run_without_a_result_takes_its_times_from_its_events(woof: Woof, small_fit: list[str]) -> None:
    assert woof("fit", *small_fit).code == 0
    place = RunFolder(Path("runs/adamw_onecycle"))
    told = json.loads(place.result.read_text())["elapsed_s"]
    place.result.unlink()
    read = read_run(place.path, "cut").series[TOP1].elapsed_s
    assert len(read) == 2
    assert read[1] - read[0] == pytest.approx(told[1] - told[0], abs=1)


def test_a_folder_without_a_run_is_named(woof: Woof) -> None:
    Path("empty").mkdir()
    done = woof("compare", "empty", "nowhere")
    assert done.code == 2
    assert "empty holds no run: there is no metrics.csv of this project and no TensorBoard event file in" in done.err
    assert "nowhere is no folder" in done.err


def test_a_folder_for_the_page_that_cannot_be_made_is_named(woof: Woof) -> None:
    write_run(Path("a"), [0.3])
    done = woof("compare", "a", "--out", "a/metrics.csv/out")
    assert done.code == 2
    assert "the folder a/metrics.csv/out cannot be made (Not a directory): choose another with --out" in done.err


def test_a_folder_for_the_page_that_cannot_be_written_to_is_named(woof: Woof) -> None:
    write_run(Path("a"), [0.3])
    assert woof("compare", "a", "--out", "out").code == 0
    Path("out/results.md").unlink()
    Path("out/results.md").mkdir()
    done = woof("compare", "a", "--out", "out")
    assert done.code == 2
    assert "nothing can be written into the folder out (Is a directory): choose another with --out" in done.err


def test_unknown_tags_are_listed(woof: Woof) -> None:
    write_events(Path("other"), {"reward": [(1, 2.0)], "entropy": [(1, 0.3)]})
    done = woof("compare", "other")
    assert done.code == 2
    assert "other has no value whose meaning is known; the tags of its events: entropy, reward" in done.err


def test_another_program_s_metrics_csv_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,val_loss\n0,1,2.0\n")
    with pytest.raises(UserError, match="holds no run"):
        find_runs([tmp_path])


def test_names_tell_runs_apart() -> None:
    assert short_names([Path("/x/a/run"), Path("/x/b/run")]) == ["a/run", "b/run"]
    assert short_names([Path("/x/a/one"), Path("/x/b/two")]) == ["one", "two"]
    assert short_names([Path("/x/a\nb"), Path("/x/a\tb")]) == [r"a\nb", r"a\tb"]


def test_settings_of_another_program_are_not_known(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "a", [0.1], lr=0.1), write_run(tmp_path / "b", [0.1], lr=0.2)]
    folders.append(write_events(tmp_path / "c", {"accuracy": [(4, 0.5)]}))
    assert differences(read_all(*folders)) == {"model.lr": ["0.1", "0.2", ""]}
    assert differences(read_all(folders[0], folders[2])) == {}


def test_a_run_has_one_colour_in_all_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    seen: list[dict[str, Any]] = []

    def look(self: Figure, *_: Any, **__: Any) -> None:
        (axes,) = self.axes
        lines = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
        seen.append({str(line.get_label()): (line.get_color(), line.get_linestyle()) for line in lines})

    monkeypatch.setattr(Figure, "savefig", look)
    names = [f"run{number}" for number in range(9)]
    runs = read_all(*(write_run(tmp_path / name, [0.2, 0.3]) for name in names))
    drawn = draw_curves(runs, tmp_path)
    assert len(drawn) == len(seen) == 6
    expected = {name: tuple(style_of(place).values()) for place, name in enumerate(names)}
    assert all(found == expected for found in seen)
    assert len(set(expected.values())) == len(names)


def axes_of(runs: list[Run], out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is drawn, by file name."""
    from matplotlib.figure import Figure

    seen: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, *_, **__: seen.append(self.axes[0]))
        drawn = draw_curves(runs, out)
    return {shown.file.stem: axes for shown, axes in zip(drawn, seen, strict=True)}


def test_runs_that_cannot_count_epochs_are_drawn_over_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write_run(tmp_path / "own", [0.2, 0.3])
    other = write_events(tmp_path / "other", {"train_loss": [(1, 2.0), (8, 1.0)]})
    runs = read_all(own, other)
    assert (runs[0].steps_per_epoch, runs[1].steps_per_epoch) == (4, None)
    assert (runs[0].steps(TOP1), runs[1].state) == ([4, 8], "8 steps")
    # Where it has nothing to draw, the others keep their epochs.
    across = {name: axes.get_xlabel() for name, axes in axes_of(runs, tmp_path, monkeypatch).items()}
    assert (across["top1"], across["loss"]) == ("epochs", "optimizer steps")


@pytest.mark.parametrize("name", ["a$b_{$c", "_hidden", "<i>x", "two\nlines", "*bold*", "a\\|b", "x" * 200, "狗\udcff"])
def test_any_name_can_be_drawn(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / name, [0.2, 0.3])
    found = compare([tmp_path / name], tmp_path / "out")
    shown = name.replace("\n", r"\n").replace("\udcff", r"\udcff")
    assert found.tables[0].rows[0][0] == shown
    in_markdown = re.sub(r"([\\<*|])", r"\\\1", shown)
    assert f"| {in_markdown} | finished |" in (tmp_path / "out" / "results.md").read_text()


def test_a_spike_does_not_flatten_the_other_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def top(spike: float) -> float:
        points = [(step, spike if step == 1 else 2.0) for step in range(1, 300)]
        run = read_all(write_events(tmp_path / f"{spike}", {"train_loss": points, "accuracy": [(100, 0.5)]}))
        return float(axes_of(run, tmp_path, monkeypatch)["loss"].get_ylim()[1])

    assert top(50.0) < 25
    assert top(3.0) > 3


def test_every_run_is_named_in_the_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["_one", "a$b$c", "plain"]
    axes = axes_of(read_all(*(write_run(tmp_path / name, [0.2]) for name in names)), tmp_path, monkeypatch)["top1"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [" _one", r"a\$b\$c", "plain"]


def test_a_sweep_alone_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "swept"
    (folder / "lr_find").mkdir(parents=True)
    (folder / "lr_find" / "curve.csv").write_text("lr,loss,raw_loss\n1e-3,2.3,2.4\n1e-2,2.0,2.1\n1.0,9.0,9.9\n")
    found = compare([folder], tmp_path / "out")
    assert found.tables[0].rows[0][1] == "sweep only"
    assert (tmp_path / "out" / "lr_find.png").exists()


def test_a_figure_carries_the_fingerprint_of_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(name: str, top1: list[float]) -> str:
        runs = read_all(write_run(tmp_path / name / "run", top1))
        with Image.open(draw_curves(runs, tmp_path / name)[0].file) as figure:
            return str(figure.info["Description"])

    first = drawn("one", [0.2, 0.3])
    assert first == drawn("two", [0.2, 0.3]) != drawn("three", [0.2, 0.30001])
    monkeypatch.setattr("woof_lightning.compare.curves.COLOURS", ("#ffff00",) * 7)
    assert first != drawn("four", [0.2, 0.3])


def test_epochs_without_a_validation_count(tmp_path: Path) -> None:
    run = RunFolder(write_run(tmp_path / "run", [], finished=False))
    metrics = MetricsFile(run.metrics)
    for epoch in range(1, 4, 2):
        metrics.log({"val/acc1": 0.1 * epoch, "val/acc5": 0.9, "epoch": epoch}, STEPS_PER_EPOCH * (epoch + 1))
    metrics.flush()
    run.config.write_text("trainer: {max_epochs: 40}")
    (row,) = tables_of(read_all(run.path))[0].rows
    assert row[1:4] == ["unfinished, 4 of 40 epochs", "0.300", "4"]


def test_smoothing_keeps_a_constant() -> None:
    assert smoothed([3.0] * 5, range(5), 10) == pytest.approx([3.0] * 5)
    assert smoothed([3.0], [1], 10) == [3.0]
    assert smoothed([], [], 10) == []


def test_smoothing_lags_alike_at_every_rate_of_reports() -> None:
    def end(reports: int) -> float:
        across = [report / reports for report in range(1, 20 * reports + 1)]
        return smoothed([2.3 * 2 ** (-epoch / 4) for epoch in across], across, 1.0)[-1]

    assert end(1) == pytest.approx(end(71), rel=0.15)
    assert end(7) == pytest.approx(end(71), rel=0.03)


def test_smoothing_passes_over_what_is_not_finite() -> None:
    found = smoothed([2.0, math.nan, 1.0, 1.0], range(4), 1.0)
    assert math.isnan(found[1])
    assert 1 < found[3] < found[2] < 2


def test_a_value_that_is_not_finite_is_not_the_best(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "run", {"accuracy": [(4, math.nan), (8, 0.3), (12, 0.2)]})
    (row,) = tables_of(read_all(folder))[0].rows
    assert row[2:4] == ["0.300", "2"]


def test_of_two_tags_of_one_meaning_the_table_s_first_is_taken(tmp_path: Path) -> None:
    folder = write_events(
        tmp_path / "run", {"training/loss": [(1, 9.0), (2, 8.0)], "training/batchloss": [(s, 1.0) for s in range(9)]}
    )
    assert read_run(folder, "ignite").series["train/loss"].value == [1.0] * 9


def test_lightning_s_epochs_are_its_own_count(tmp_path: Path) -> None:
    """Validated after every second epoch of 71 steps."""
    points = [(71 * epochs - 1, epochs - 1.0) for epochs in (2, 4, 6)]
    folder = write_events(tmp_path / "run", {"val_acc": [(step, 0.5) for step, _ in points], "epoch": points})
    run = read_run(folder, "lightning")
    assert (run.steps_per_epoch, run.epochs(TOP1), run.state) == (71, [2, 4, 6], "6 epochs")


def test_a_validation_before_the_training_is_no_epoch(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "run", {"accuracy": [(0, 0.1), (40, 0.5), (80, 0.6)], "train_loss": [(80, 1.0)]})
    run = read_run(folder, "fastai")
    assert (run.epochs(TOP1), run.state) == ([0, 1, 2], "2 epochs")


def test_a_run_that_goes_on_does_not_stretch_its_epochs(tmp_path: Path) -> None:
    folder = tmp_path / "post"
    with SummaryWriter(str(folder)) as writer:
        start_s = time.time()
        for step in range(1, 201):
            writer.add_scalar("train.loss", 1.0, step, walltime=start_s + step)
            if step % 80 == 0:
                writer.add_scalar("avg.val.acc1", 50.0, step // 80 - 1, walltime=start_s + step)
    run = read_run(folder, "post")
    assert (run.steps_per_epoch, run.epochs("train/loss")) == (80, [step / 80 for step in range(1, 201)])


def test_a_run_that_has_just_begun_hides_no_other(woof: Woof) -> None:
    write_run(Path("runs/done"), [0.3])
    begun = RunFolder(Path("runs/new"))
    begun.create()
    begun.config.write_text("model: {arch: resnet18}\ndata: {variant: 160px}\ntrainer: {max_epochs: 40}\n")
    SummaryWriter(str(begun.path)).close()
    write_events(Path("runs/other"), {"reward": [(1, 2.0)]})
    done = woof("compare", "runs")
    assert done.code == 0, done.err
    assert "unfinished, 0 of 40 epochs" in done.out
    assert "note: runs/other has no value whose meaning is known; the tags of its events: reward" in done.out


def test_a_tag_that_is_not_known_is_named_where_top_1_is_missing(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "run", {"val_loss": [(1, 2.0)], "val_precision": [(1, 0.3)]})
    assert read_run(folder, "run").notes == ["no top-1 is known; its other tags: val_precision"]


def test_a_link_is_no_second_run(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", [0.1])
    (tmp_path / "runs" / "latest").symlink_to("a")
    assert find_runs([tmp_path / "runs", tmp_path / "runs" / "a"]) == [tmp_path / "runs" / "a"]


def test_a_single_value_and_parts_of_one_setting_are_a_difference(tmp_path: Path) -> None:
    by_class = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    runs = read_all(
        write_run(tmp_path / "a", [0.1], optimizer="adamw"), write_run(tmp_path / "b", [0.1], optimizer=by_class)
    )
    assert differences(runs) == {
        "model.optimizer": ["adamw", ""],
        "model.optimizer.class_path": ["", "torch.optim.SGD"],
        "model.optimizer.init_args.lr": ["", "0.1"],
    }


@pytest.mark.parametrize(
    ("file", "content", "note"),
    [
        ("metrics.csv", "\0\0\0\n", "row 7 of metrics.csv cannot be read; what was written before is shown"),
        ("metrics.csv", "2,9,word\n", "row 7 of metrics.csv cannot be read; what was written before is shown"),
        ("metrics.csv", "2\n", "row 7 of metrics.csv cannot be read; what was written before is shown"),
        ("metrics.csv", f"2,9{',1' * 30}\n", "row 7 of metrics.csv cannot be read; what was written before is shown"),
        ("lr_find/curve.csv", "lr,loss\n1,2\n", "lr_find/curve.csv cannot be read"),
        ("metrics.csv", "-1,-4\n", "row 7 of metrics.csv cannot be read; what was written before is shown"),
        ("metrics.csv", f"2,9{'0' * 400}\n", "row 7 of metrics.csv cannot be read; what was written before is shown"),
        ("lr_find/curve.csv", f"lr,loss,raw_loss\n{'1' * 200_000}\n", "lr_find/curve.csv cannot be read"),
        ("config.yaml", "\xff", "config.yaml cannot be read"),
        ("config.yaml", "again: &again {and: *again}", "config.yaml cannot be read"),
        ("result.json", "\xff", "result.json cannot be read"),
        ("result.json", "[" * 100_000, "result.json cannot be read"),
        ("result.json", "[1]", "result.json cannot be read"),
        ("result.json", '{"train_s": "12 s"}', "result.json: train_s is no number"),
        ("result.json", '{"images_per_s": [1, 2]}', "result.json: images_per_s is no number"),
        ("result.json", '{"elapsed_s": [1.0, null, 3.0]}', "result.json: elapsed_s is no number"),
    ],
)
def test_damaged_files_of_a_run_are_told(tmp_path: Path, file: str, content: str, note: str) -> None:
    folder = write_run(tmp_path / "run", [0.3, 0.4, 0.5], finished=False)
    (folder / file).parent.mkdir(exist_ok=True)
    with (folder / file).open("a", encoding="latin-1") as damaged:
        damaged.write(content)
    (run,) = read_all(folder)
    assert run.notes == [note]
    assert run.series[TOP1].value == [0.3, 0.4, 0.5]
    compare([folder], tmp_path / "out")


@pytest.mark.parametrize("name", ["config.yaml", "result.json"])
def test_a_folder_in_a_file_s_place_is_told(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "run", [0.3])
    (folder / name).unlink()
    (folder / name).mkdir()
    assert read_run(folder, "run").notes == [f"{name} cannot be read"]


def test_what_an_earlier_comparison_left_goes(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", [0.1], lr=0.1), write_run(tmp_path / "b", [0.1], lr=0.2)
    compare([a, b], tmp_path / "out")
    (tmp_path / "out" / "mine.png").touch()
    compare([write_events(tmp_path / "c", {"accuracy": [(4, 0.5)]})], tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *("index.html", "mine.png", "results.csv", "results.md", "top1.png", "top1_over_time.png"),
    }


def test_what_no_comparison_wrote_is_not_replaced(woof: Woof) -> None:
    write_run(Path("a"), [0.3])
    for name in ("lr.png", "results.csv"):
        mine = Path("mine", name)
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("run,score\n")
        done = woof("compare", "a", "--out", "mine")
        assert done.code == 2
        assert f"--out is mine: {name} in it was not written by woof compare; choose another folder" in done.err
        assert [file.name for file in Path("mine").iterdir()] == [name]
        mine.unlink()


def test_any_setting_can_be_shown(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, [0.1]) for name in ("a", "b")]
    with (folders[0] / "config.yaml").open("a") as file:
        file.write('day: 2024-05-01\nkinds: !!set {a, b}\n"two\\nlines": "c\\nd"\nodd: [{2024-05-01: 4}]\n')
    with (folders[1] / "config.yaml").open("a") as file:
        file.write('day: 2024-05-02\nkinds: !!set {a}\n"two\\nlines": c\nodd: 1\n')
    table = compare(folders, tmp_path / "out").tables[1]
    assert table.header == ("run", "day", "kinds", "odd", r"two\nlines")
    assert table.rows[0][1] == '"2024-05-01"'
    assert table.rows[0][4] == r"c\nd"
    assert len(table.as_markdown().splitlines()) == 4


def test_a_program_that_begins_anew_in_one_folder_replaces_what_it_had(tmp_path: Path) -> None:
    """By epoch and by step, although the new sitting has not validated yet."""
    with SummaryWriter(str(tmp_path)) as writer:
        start_s = time.time()
        for step in range(1, 31):
            writer.add_scalar("train.loss", 2.0, step, walltime=start_s + step)
            if step % 10 == 0:
                writer.add_scalar("avg.val.acc1", 10.0 * step, step // 10 - 1, walltime=start_s + step + 0.5)
        for step in range(21, 24):
            writer.add_scalar("train.loss", 1.0, step, walltime=start_s + 100 + step)
    run = read_run(tmp_path, "again")
    assert run.series["train/loss"].step == list(range(1, 24))
    assert run.series["train/loss"].value[-4:] == [2, 1, 1, 1]
    assert run.series[TOP1].value == pytest.approx([1.0, 2.0])
    assert run.notes == ["it went back from step 30 to 21: what came then is shown"]


def test_a_run_begun_anew_that_has_not_validated_has_no_accuracy(tmp_path: Path) -> None:
    write_events(tmp_path, {"train.loss": [(1, 2.0), (2, 2.0)], "avg.val.acc1": [(1, 50.0)]}, wall_s=time.time())
    (first,) = event_files(tmp_path)
    first.rename(tmp_path / "events.out.tfevents.1")
    write_events(tmp_path, {"train.loss": [(1, 3.0)]}, wall_s=time.time() + 1000)
    run = read_run(tmp_path, "again")
    assert (TOP1 in run.series, run.series["train/loss"].value) == (False, [3.0])


def test_epochs_that_go_on_are_kept_where_the_steps_begin_anew(tmp_path: Path) -> None:
    """As pytorch-nn-tools has it after a checkpoint."""
    with SummaryWriter(str(tmp_path)) as writer:
        start_s = time.time()
        for epoch in range(3):
            for step in range(1, 11):
                count = step if epoch == 2 else 10 * epoch + step
                writer.add_scalar("train.loss", 1.0 + epoch, count, walltime=start_s + 10 * epoch + step)
            writer.add_scalar("avg.val.acc1", 10.0 * epoch, epoch, walltime=start_s + 10 * epoch + 10.5)
    run = read_run(tmp_path, "resumed")
    assert run.epochs(TOP1) == [1, 2, 3]
    assert run.series["train/loss"].value == [3.0] * 10
    assert run.notes == ["it went back from step 20 to 1: what came then is shown"]


def test_epochs_alone_may_go_back(tmp_path: Path) -> None:
    values = {"avg.val.acc1": [(0, 10.0), (1, 20.0), (2, 30.0), (1, 40.0)]}
    assert read_run(write_events(tmp_path, values), "again").series[TOP1].value == pytest.approx([0.1, 0.4])


def test_a_tag_that_is_not_known_may_go_back(tmp_path: Path) -> None:
    """As a curve per epoch, with its own places as steps."""
    curve = {"precision over recall": [(0, 0.5), (1, 0.4), (0, 0.6)]}
    folder = write_events(tmp_path / "run", {"accuracy": [(4, 0.5), (8, 0.6)], **curve})
    run = read_run(folder, "run")
    assert (run.series[TOP1].step, run.notes) == ([4, 8], [])


def test_sittings_that_overlap_are_not_added_up(tmp_path: Path) -> None:
    """Two writers, one of the training and one of the validation."""
    now_s = time.time()
    write_events(tmp_path, {"train_loss": [(1, 2.0), (1000, 1.0)]}, wall_s=now_s)
    (first,) = event_files(tmp_path)
    first.rename(tmp_path / "events.out.tfevents.1")
    write_events(tmp_path, {"accuracy": [(500, 0.3), (1000, 0.4)]}, wall_s=now_s)
    (second,) = [file for file in event_files(tmp_path) if file.name != "events.out.tfevents.1"]
    second.rename(tmp_path / "events.out.tfevents.2")
    assert read_events(event_files(tmp_path)).series[TOP1].elapsed_s == pytest.approx([500, 1000], abs=2)


def test_times_before_a_file_was_begun_are_counted_from_the_first(tmp_path: Path) -> None:
    """As in logs that were converted."""
    folder = write_events(tmp_path / "run", {"accuracy": [(10, 0.3), (20, 0.4)]}, wall_s=1000.0)
    assert read_events(event_files(folder)).series[TOP1].elapsed_s == [0, 10]


def test_steps_before_the_first_count_for_nothing(tmp_path: Path) -> None:
    post = write_events(tmp_path / "post", {"avg.val.acc1": [(-1, 10.0), (0, 50.0)], "train.loss": [(4, 1.0)]})
    plain = write_events(tmp_path / "plain", {"val_acc": [(-1, 0.1), (3, 0.5)], "epoch": [(-1, -1.0), (3, 0.0)]})
    assert [run.epochs(TOP1) for run in read_all(post, plain)] == [[1], [1]]


def test_records_that_are_no_events_are_damage(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "post", {"train.loss": [(1, 1.0)], "avg.val.acc1": [(0, 50.0)]})
    (file,) = event_files(folder)
    record = b"\xff" * 20
    length = len(record).to_bytes(8, "little")
    checksums = [masked_crc32c(part).to_bytes(4, "little") for part in (length, record)]
    with file.open("ab") as events:
        events.write(length + checksums[0] + record + checksums[1])
    run = read_run(folder, "post")
    assert run.series[TOP1].value == [0.5]
    assert run.notes == [f"{file.name} is damaged after 3 records; what was written before is shown"]


def test_rows_that_go_back_replace_those_of_before(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [0.3, 0.4, 0.5], finished=False)
    with (folder / "metrics.csv").open("a") as file:
        file.write("1,6,0.5\n1,6,0.7\n")
    run = read_run(folder, "run")
    assert (run.series["train/loss"].step, run.series[TOP1].value) == ([2, 4, 6], [0.3])
    assert run.series["train/loss"].value[-1] == 0.7
    assert run.notes == ["metrics.csv goes back to an earlier step: what came then is shown"]


def test_a_validation_before_the_first_step_alone_is_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [], finished=False)
    metrics = MetricsFile(RunFolder(folder).metrics)
    metrics.log({"val/acc1": 0.1, "epoch": 0}, 0)
    metrics.flush()
    found = compare([folder], tmp_path / "out")
    assert found.tables[0].rows[0][1] == "unfinished, 0 of 3 epochs"


def test_a_folder_that_may_not_be_read_hides_no_other(woof: Woof, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(Path("runs/a"), [0.3])
    write_run(Path("runs/b"), [0.4])

    def refused(file: Path) -> list[str]:
        if file.parent.name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return read_columns(file)

    monkeypatch.setattr("woof_lightning.compare.find.read_columns", refused)
    done = woof("compare", "runs")
    assert done.code == 0, done.err
    assert "note: runs/b/metrics.csv cannot be read (Permission denied): make it readable for this user" in done.out
    done = woof("compare", "runs/b")
    assert done.code == 2
    assert "runs/b/metrics.csv cannot be read (Permission denied): make it readable for this user" in done.err


@pytest.mark.parametrize("option", [(), ("a", "--out")])
def test_a_name_that_is_too_long_is_told(woof: Woof, option: tuple[str, ...]) -> None:
    write_run(Path("a"), [0.3])
    done = woof("compare", *option, "x" * 300)
    assert done.code == 2
    assert "is no folder" in done.err or "(File name too long): choose another with --out" in done.err


def test_a_single_report_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = read_all(write_run(tmp_path / "run", [0.2], reports=1))
    axes = axes_of(runs, tmp_path, monkeypatch)
    assert {name: shown.lines[-1].get_marker() for name, shown in axes.items()} == dict.fromkeys(axes, ".")


def test_lines_that_are_the_same_are_all_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = axes_of(read_all(*(write_run(tmp_path / name, [0.2, 0.3]) for name in "abc")), tmp_path, monkeypatch)
    for name in ("lr", "momentum"):
        widths = [line.get_linewidth() for line in axes[name].lines]
        assert widths == sorted(set(widths), reverse=True)


def test_a_metric_by_epoch_is_not_drawn_over_steps_that_are_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_epoch = write_events(tmp_path / "post", {"lr_0": [(0, 0.1), (1, 0.2)], "avg.val.acc1": [(0, 50.0), (1, 60.0)]})
    by_step = write_events(tmp_path / "fastai", {"lr_0": [(1, 0.1), (80, 0.2)], "train_loss": [(1, 2.0), (80, 1.0)]})
    (line,) = axes_of(read_all(by_epoch, by_step), tmp_path, monkeypatch)["lr"].lines
    assert line.get_label() == "fastai"


def test_two_hundred_tensorboard_runs_take_less_than_twenty_seconds(tmp_path: Path) -> None:
    """Reports at every tenth step of 40 epochs of 71."""
    points = [(step, 1.0 / step) for step in range(10, 2841, 10)]
    validations = [(epoch, 50.0 + epoch) for epoch in range(40)]
    first = write_events(
        tmp_path / "runs" / "run0",
        {"train.loss": points, "train.acc1": points, "train.lr_0": points, "avg.val.acc1": validations},
    )
    for number in range(1, 200):
        shutil.copytree(first, tmp_path / "runs" / f"run{number}")
    start_s = time.process_time()
    found = compare([tmp_path / "runs"], tmp_path / "out")
    assert time.process_time() - start_s < 20
    assert {row[2] for row in found.tables[0].rows} == {"0.890"}


def test_two_hundred_runs_take_less_than_twenty_seconds(tmp_path: Path) -> None:
    first = write_run(tmp_path / "runs" / "run0", [0.8 - 0.6 / (1 + epoch) for epoch in range(40)], reports=4)
    header, *rows = (first / "metrics.csv").read_text().splitlines()
    draw = random.Random(0)
    for number in range(1, 200):
        place = shutil.copytree(first, tmp_path / "runs" / f"run{number}")
        noisy = [re.sub(r"\d+\.\d+", lambda cell: repr(float(cell[0]) * draw.uniform(0.8, 1.0)), row) for row in rows]
        (place / "metrics.csv").write_text("\n".join([header, *noisy, ""]))
    start_s = time.process_time()  # Which other work on the machine does not stretch.
    found = compare([tmp_path / "runs"], tmp_path / "out")
    assert time.process_time() - start_s < 20
    assert len({tuple(row[2:7]) for row in found.tables[0].rows}) > 190
    assert (tmp_path / "out" / "index.html").stat().st_size < 3e6


def test_tables_are_the_same_everywhere(tmp_path: Path) -> None:
    runs = read_all(write_run(tmp_path / "a|b", [0.1]))
    (table,) = tables_of(runs)
    assert table.as_csv().splitlines()[1].startswith("a|b,finished,0.100,1,")
    assert table.as_markdown().splitlines()[2].startswith("| a\\|b | finished | 0.100 | 1 |")
    text = table.as_text().splitlines()
    assert text[0].split() == ["run", "state", "best", "its", "its", "final", "final", "seconds", "images/s"]
    assert text[-1].startswith("a|b  finished  0.100")
    assert max(map(len, text)) <= 80
