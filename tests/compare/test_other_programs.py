"""Tests of reading the events that other programs write."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from tests.compare.runs import read_all, write_events, write_run
from tests.conftest import Woof
from tests.ways import needs
from woof_lightning.compare.find import find_runs
from woof_lightning.compare.read import TOP1, TOP5, differences, read_run
from woof_lightning.compare.tags import TAGS
from woof_lightning.errors import UserError


def test_percent_is_recognised_by_the_tag_and_not_by_the_value(tmp_path: Path) -> None:
    percent = write_events(tmp_path / "post", {"avg.val.acc1": [(0, 0.5), (1, 80.0)], "train.loss": [(10, 2), (80, 1)]})
    fraction = write_events(tmp_path / "fastai", {"accuracy": [(4, 0.5), (8, 0.8)], "train_loss": [(1, 2), (8, 1)]})
    post, fastai = read_all(percent, fraction)
    assert post.series[TOP1].value == pytest.approx([0.005, 0.8])
    assert fastai.series[TOP1].value == pytest.approx([0.5, 0.8])
    assert (post.epochs(TOP1), fastai.epochs(TOP1)) == ([1, 2], [1, 2])
    assert (post.steps_per_epoch, fastai.steps_per_epoch) == (40, 4)
    assert post.epochs("train/loss") == [0.25, 2]


def test_tags_by_step_win_over_tags_by_epoch(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "post", {"train.lr_0": [(10, 0.1)], "lr_0": [(0, 0.5)], "train.loss": [(10, 1)]})
    assert read_run(folder, "post").series["lr"].value == pytest.approx([0.1])


def test_every_known_tag_has_a_meaning() -> None:
    names = {tag.name for known in TAGS.values() for tag in known.values()}
    assert names == set(TAGS["woof_lightning"])


@needs("hand_rolled")
def test_the_hand_rolled_loop_s_events_are_read(woof: Woof, small_fit: list[str]) -> None:
    """The events that pytorch-nn-tools writes, without the files of this project."""
    assert woof("loop", "hand_rolled", *small_fit, "--name", "post").code == 0
    ours = read_run(Path("runs/post"), "ours")
    for file in ("metrics.csv", "config.yaml", "result.json"):
        Path("runs/post", file).unlink()
    theirs = read_run(Path("runs/post"), "theirs")
    for name in ("train/loss", "train/acc1", "lr"):
        assert theirs.series[name].step == ours.series[name].step
        assert theirs.series[name].value == pytest.approx(ours.series[name].value)
    assert theirs.state == "2 epochs"
    # pytorch-nn-tools averages over batches, which all have 16 images here.
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


@needs("ignite")
@pytest.mark.parametrize("count", ["iterations", "epochs"])
def test_ignite_s_events_are_read(tmp_path: Path, count: str) -> None:
    """Validations written with the trainer's iterations, or with its epochs as in Ignite's own examples."""
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


@needs("fastai")
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


def test_unknown_tags_are_listed(woof: Woof) -> None:
    write_events(Path("other"), {"reward": [(1, 2.0)], "entropy": [(1, 0.3)]})
    done = woof("compare", "other")
    assert done.code == 2
    assert "other has no known metric; the tags of its events: entropy, reward" in done.err


def test_another_program_s_metrics_csv_is_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,val_loss\n0,1,2.0\n", encoding="utf-8")
    with pytest.raises(UserError, match="contains no run"):
        find_runs([tmp_path])


def test_settings_of_another_program_are_unknown(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "a", [0.1], lr=0.1), write_run(tmp_path / "b", [0.1], lr=0.2)]
    folders.append(write_events(tmp_path / "c", {"accuracy": [(4, 0.5)]}))
    assert differences(read_all(*folders)) == {"model.lr": ["0.1", "0.2", ""]}
    assert differences(read_all(folders[0], folders[2])) == {}


def test_the_first_known_tag_wins_over_others_of_the_same_meaning(tmp_path: Path) -> None:
    folder = write_events(
        tmp_path / "run", {"training/loss": [(1, 9.0), (2, 8.0)], "training/batchloss": [(s, 1.0) for s in range(9)]}
    )
    assert read_run(folder, "ignite").series["train/loss"].value == [1.0] * 9


def test_lightning_s_epochs_come_from_its_own_count(tmp_path: Path) -> None:
    """The run validates after every second epoch of 71 steps."""
    points = [(71 * epochs - 1, epochs - 1.0) for epochs in (2, 4, 6)]
    folder = write_events(tmp_path / "run", {"val_acc": [(step, 0.5) for step, _ in points], "epoch": points})
    run = read_run(folder, "lightning")
    assert (run.steps_per_epoch, run.epochs(TOP1), run.state) == (71, [2, 4, 6], "6 epochs")


def test_a_validation_before_the_training_does_not_count_as_an_epoch(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "run", {"accuracy": [(0, 0.1), (40, 0.5), (80, 0.6)], "train_loss": [(80, 1.0)]})
    run = read_run(folder, "fastai")
    assert (run.epochs(TOP1), run.state) == ([0, 1, 2], "2 epochs")


def test_steps_after_the_last_validation_do_not_change_the_epochs(tmp_path: Path) -> None:
    folder = tmp_path / "post"
    with SummaryWriter(str(folder)) as writer:
        start_s = time.time()
        for step in range(1, 201):
            writer.add_scalar("train.loss", 1.0, step, walltime=start_s + step)
            if step % 80 == 0:
                writer.add_scalar("avg.val.acc1", 50.0, step // 80 - 1, walltime=start_s + step)
    run = read_run(folder, "post")
    assert (run.steps_per_epoch, run.epochs("train/loss")) == (80, [step / 80 for step in range(1, 201)])


def test_unknown_tags_are_named_if_top_1_is_missing(tmp_path: Path) -> None:
    folder = write_events(tmp_path / "run", {"val_loss": [(1, 2.0)], "val_precision": [(1, 0.3)]})
    assert read_run(folder, "run").notes == ["it has no known top-1 accuracy; its unknown tags: val_precision"]


def test_values_before_the_first_step_are_ignored(tmp_path: Path) -> None:
    post = write_events(tmp_path / "post", {"avg.val.acc1": [(-1, 10.0), (0, 50.0)], "train.loss": [(4, 1.0)]})
    plain = write_events(tmp_path / "plain", {"val_acc": [(-1, 0.1), (3, 0.5)], "epoch": [(-1, -1.0), (3, 0.0)]})
    assert [run.epochs(TOP1) for run in read_all(post, plain)] == [[1], [1]]
