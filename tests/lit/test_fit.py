"""`woof fit`: what a run leaves, resume, validate, predict, and use without the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from tests.conftest import Outcome, Woof
from tests.processes import run
from woof_lightning.errors import UserError
from woof_lightning.lit.callbacks.checkpoints import DurableCheckpointIO
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.trainer import NVML_CHECK, no_search_for_a_driver
from woof_lightning.parity import first_difference
from woof_lightning.recipe.checkpoint import load_net, read_checkpoint, recipe_of
from woof_lightning.recipe.metrics import training_report
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.hparams import SUFFIX
from woof_lightning.runs.metrics import read_metrics
from woof_lightning.runs.record import RunRecord

RUN = RunFolder(Path("runs/adamw_onecycle"))


def fitted(woof: Woof, *args: object) -> Outcome:
    outcome = woof("fit", *args)
    assert outcome.code == 0, outcome.err
    return outcome


def weights(file: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(file)["state_dict"]
    return state


def test_a_run_holds_what_the_docs_say(woof: Woof, small_fit: list[str]) -> None:
    outcome = fitted(woof, *small_fit)
    names = sorted(str(p.relative_to(RUN.path)) for p in RUN.path.rglob("*") if p.is_file())
    events = [name for name in names if name.startswith("events.out.tfevents")]
    assert names == sorted(
        ["checkpoints/best.ckpt", "checkpoints/last.ckpt", "config.yaml", *events, "metrics.csv", "result.json"]
    )
    assert sorted(name.endswith(SUFFIX) for name in events) == [False, True], "One file of metrics, one of settings."
    assert [p.name for p in Path().iterdir()] == ["runs"]

    rows = read_metrics(RUN.metrics)
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 2), (0, 4), (1, 6), (1, 8)]
    report = {"epoch", "step", "train/loss", "train/acc1", "train/acc5", "lr", "momentum"}
    ends = {"train/loss_epoch", "train/acc1_epoch", "train/acc5_epoch", "val/loss", "val/acc1", "val/acc5"}
    assert [set(row) for row in rows] == [report, report | ends, report, report | ends]
    assert rows[1]["train/loss_epoch"] == pytest.approx((rows[0]["train/loss"] + rows[1]["train/loss"]) / 2)

    result = json.loads(RUN.result.read_text(encoding="utf-8"))
    keys = {
        "best",
        "final",
        "epochs",
        "train_s",
        "elapsed_s",
        "images_per_s",
        "status",
        "loop",
        "seed",
        "data",
        "loading",
        "versions",
        "machine",
        "pretrained",
        "config",
    }
    assert result.keys() == keys
    assert result["final"].keys() == {"epoch", "val/loss", "val/acc1", "val/acc5", "batch_means"}
    assert result["final"]["val/acc1"] == rows[3]["val/acc1"]
    assert (result["status"], result["epochs"], result["seed"]) == ("finished", 2, 0)
    assert result["data"]["train"] == 480
    assert len(result["elapsed_s"]) == 2
    assert 0 < result["elapsed_s"][0] < result["elapsed_s"][1] == result["train_s"]
    assert result["config"] == yaml.safe_load(RUN.config.read_text(encoding="utf-8"))

    assert "epoch 2/2" in outcome.out
    assert "best top-1" in outcome.out
    assert "tensorboard --logdir runs/adamw_onecycle" in outcome.out


@pytest.mark.process
def test_output_is_free_of_advertisement_and_library_warnings(small_fit: list[str], tmp_path: Path) -> None:
    # In an interpreter of its own: what the libraries say when they are imported counts.
    done = run(["-m", "woof_lightning", "fit", *small_fit], tmp_path, fresh=True)
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == 5, done.out
    validated = run(["-m", "woof_lightning", "validate", "--ckpt", str(RUN.path), "--num_workers", 0], tmp_path)
    assert (validated.code, validated.err) == (0, "")
    assert validated.out.startswith("val/loss")


def test_learning_rates_are_those_of_the_steps(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit, "--trainer.log_every_n_steps", "1")
    net = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.005, total_steps=8)
    expected = []
    for _ in range(8):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 8:
            schedule.step()
    assert [row["lr"] for row in read_metrics(RUN.metrics)] == expected


def test_events_have_the_same_names_and_values(woof: Woof, small_fit: list[str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fitted(woof, *small_fit)
    events = EventAccumulator(str(RUN.path))
    events.Reload()
    tags = events.Tags()["scalars"]
    rows = read_metrics(RUN.metrics)
    assert set(tags) == {name for row in rows for name in row if name != "step"}
    shown = [(e.step, e.value) for e in events.Scalars("val/acc1")]
    assert shown == [(row["step"], pytest.approx(row["val/acc1"])) for row in rows if "val/acc1" in row]


def test_texts_take_the_short_way_into_the_module_and_nothing_else_does() -> None:
    module = WoofClassifier(num_classes=2)
    module.net = torch.nn.Linear(1, 2)
    module.register_buffer("seen", torch.zeros(1))
    module._current_fx_name = "training_step"
    assert module._current_fx_name == module.__dict__["_current_fx_name"] == "training_step"
    # What torch keeps stays torch's: None takes the place of a module, parameter or buffer.
    module.weight = torch.nn.Parameter(torch.zeros(1))
    for name, kind in (("net", "_modules"), ("seen", "_buffers"), ("weight", "_parameters")):
        setattr(module, name, None)
        assert getattr(module, kind)[name] is None
        assert name not in module.__dict__
    with pytest.raises(TypeError, match="cannot assign"):
        module.weight = "text"
    module.net = torch.nn.Linear(1, 2)
    assert "net" in module._modules


def test_metrics_cost_nothing_between_reports(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from woof_lightning.lit import classifier

    calls = []

    def counted(*args: torch.Tensor) -> dict[str, float]:
        calls.append(1)
        return training_report(*args)

    monkeypatch.setattr(classifier, "training_report", counted)
    monkeypatch.setattr(WoofClassifier, "log", lambda *a, **k: pytest.fail("self.log in a training step"))
    fitted(woof, *small_fit, "--trainer.limit_val_batches", "0")
    assert len(calls) == 4


def test_best_is_saved_on_strict_improvement_and_last_always(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([0.3, 0.2, 0.3, 0.4, 0.4])

    def fixed(self: WoofClassifier) -> None:
        self.val_means = {"val/loss": 1.0, "val/acc1": next(accuracies), "val/acc5": 1.0}
        self.val_batch_means = dict(self.val_means)
        self.log_dict(self.val_means, logger=False)

    monkeypatch.setattr(WoofClassifier, "on_validation_epoch_end", fixed)
    fitted(woof, *small_fit, "--trainer.max_epochs", "5", "--trainer.limit_train_batches", "1")
    assert read_checkpoint(RUN.best)["epoch"] == 3
    assert read_checkpoint(RUN.last)["epoch"] == 4
    result = json.loads(RUN.result.read_text(encoding="utf-8"))
    assert (result["best"]["epoch"], result["final"]["epoch"]) == (3, 4)


def test_a_taken_folder_is_left_alone(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit)
    before = {p: p.read_bytes() for p in RUN.path.rglob("*") if p.is_file()}
    outcome = woof("fit", *small_fit)
    assert outcome.code == 2
    assert all(word in outcome.err for word in ("runs/adamw_onecycle", "--resume", "--name", "--overwrite"))
    assert {p: p.read_bytes() for p in RUN.path.rglob("*") if p.is_file()} == before
    fitted(woof, *small_fit, "--name", "other")
    assert RunFolder(Path("runs/other")).result.is_file()


def test_overwrite_replaces_the_run(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit)
    before = set(RUN.path.glob("events*"))
    fitted(woof, *small_fit, "--overwrite", "--trainer.max_epochs", "1")
    assert len(read_metrics(RUN.metrics)) == 2
    after = set(RUN.path.glob("events*"))
    assert len(after) == len(before)
    assert not after & before


def test_a_saved_config_runs_again_to_the_same_weights(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit)
    saved = yaml.safe_load(RUN.config.read_text(encoding="utf-8"))
    assert saved.keys() == {"seed_everything", "trainer", "model", "data"}
    assert "seed" not in {**saved["model"], **saved["data"]}
    fitted(woof, "--config", RUN.config, "--name", "again")
    assert first_difference(RUN, RunFolder(Path("runs/again"))) is None


def test_seed_zero_is_a_seed_and_seeds_differ(woof: Woof, small_fit: list[str]) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fitted(woof, *small_fit, "--name", name, "--seed_everything", seed)
    first, second, other = (weights(Path("runs") / name / "checkpoints" / "last.ckpt") for name in "abc")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.process
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("schedule", ["onecycle", "step"])
def test_a_killed_run_ends_as_an_unbroken_one(woof: Woof, small_fit: list[str], workers: int, schedule: str) -> None:
    options = [*small_fit, "--trainer.max_epochs", "4", "--data.num_workers", workers, "--model.schedule", schedule]
    fitted(woof, *options, "--name", "unbroken")
    kill_after_epoch(2, [*options, "--name", "broken"], Path())
    broken, unbroken = RunFolder(Path("runs/broken")), RunFolder(Path("runs/unbroken"))
    assert not broken.result.exists()
    moved = Path("runs/moved")
    broken.path.rename(moved)
    broken = RunFolder(moved)
    outcome = fitted(woof, *options, "--name", "moved", "--resume")
    assert "resuming from runs/moved/checkpoints/last.ckpt" in outcome.out
    assert first_difference(unbroken, broken) is None
    assert broken.metrics.read_text(encoding="utf-8") == unbroken.metrics.read_text(encoding="utf-8")
    mine, theirs = (json.loads(run.result.read_text(encoding="utf-8")) for run in (broken, unbroken))
    assert (mine["best"], mine["final"], mine["epochs"]) == (theirs["best"], theirs["final"], theirs["epochs"])


def kill_after_epoch(epoch: int, options: list[Any], cwd: Path) -> None:
    """Starts a fit in a process of its own and kills it (SIGKILL) in the midst of the epoch after the given one."""
    code = (
        "import os, signal, sys\n"
        "from woof_lightning.lit.classifier import WoofClassifier\n"
        "real = WoofClassifier.training_step\n"
        "def step(self, batch, batch_idx):\n"
        f"    if self.current_epoch == {epoch} and batch_idx == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(self, batch, batch_idx)\n"
        "WoofClassifier.training_step = step\n"
        "from woof_lightning.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = run(["-c", code, "fit", *options], cwd)
    assert done.code == -signal.SIGKILL, done.err


def test_resume_starts_where_there_is_nothing_yet_and_ends_where_all_is_done(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit, "--resume")
    before = weights(RUN.last)
    outcome = fitted(woof, *small_fit, "--resume")
    assert "best top-1" in outcome.out
    assert all(torch.equal(before[name], value) for name, value in weights(RUN.last).items())
    assert len(read_metrics(RUN.metrics)) == 4


def test_resume_refuses_other_settings_and_other_data(woof: Woof, small_fit: list[str], drawn_root: Path) -> None:
    fitted(woof, *small_fit)
    outcome = woof("fit", *small_fit, "--resume", "--model.lr", "0.5")
    assert outcome.code == 2
    assert "model.lr was 0.005, now 0.5" in outcome.err
    fewer = Path("fewer")
    shutil.copytree(drawn_root / "synthetic", fewer)
    next(fewer.rglob("*.JPEG")).unlink()
    before = RUN.metrics.read_text(encoding="utf-8")
    outcome = woof("fit", *small_fit, "--resume", "--data.folder", fewer)
    assert outcome.code == 2
    assert "cannot be resumed with other images" in outcome.err
    assert RUN.metrics.read_text(encoding="utf-8") == before


def test_resume_with_more_epochs_of_the_step_schedule(woof: Woof, small_fit: list[str]) -> None:
    options = [*small_fit, "--model.schedule", "step"]
    fitted(woof, *options)
    fitted(woof, *options, "--resume", "--trainer.max_epochs", "3")
    assert json.loads(RUN.result.read_text(encoding="utf-8"))["epochs"] == 3


def test_resume_takes_the_best_where_the_last_is_damaged(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit)
    content = bytearray(RUN.last.read_bytes())
    content[len(content) // 2] ^= 255
    RUN.last.write_bytes(content)
    assert "resuming from runs/adamw_onecycle/checkpoints/best.ckpt" in fitted(woof, *small_fit, "--resume").out


def test_ctrl_c_ends_with_130_and_keeps_the_last_checkpoint(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: WoofClassifier) -> None:
        if self.current_epoch == 1:
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(WoofClassifier, "on_train_epoch_start", interrupt)
    outcome = woof("fit", *small_fit)
    signal.signal(signal.SIGINT, handler)
    assert outcome.code == 130
    assert "--resume" in outcome.err
    assert read_checkpoint(RUN.last)["epoch"] == 0
    assert not RUN.result.exists()


def test_validate_gives_the_logged_metrics_again(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit, "--trainer.limit_val_batches", "1.0")
    row = max((r for r in read_metrics(RUN.metrics) if "val/acc1" in r), key=lambda r: r["val/acc1"])
    outcome = woof("validate", "--ckpt", RUN.path, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["val/acc1"], found["val/loss"], found["val/acc5"]) == (
        row["val/acc1"],
        row["val/loss"],
        row["val/acc5"],
    )
    assert [sum(line) for line in found["confusion"]] == [16] * 10
    hits = sum(found["confusion"][i][i] for i in range(10))
    assert hits / 160 == pytest.approx(found["val/acc1"])
    assert (RUN.path / "validate" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    table = woof("validate", "--ckpt", RUN.best)
    assert "striped floppy-eared hound" in table.out


def test_validation_hardly_depends_on_its_batch_size(woof: Woof, small_fit: list[str]) -> None:
    from woof_lightning.lit.validate import validate

    fitted(woof, *small_fit)
    one, many = (validate(RUN.best, eval_batch_size=size).metrics for size in (1, 40))
    assert one["val/loss"] == pytest.approx(many["val/loss"], abs=1e-5)
    assert one["val/acc1"] == pytest.approx(many["val/acc1"], abs=1.01 / 160)


def test_validate_refuses_data_of_other_classes(woof: Woof, small_fit: list[str], small_folder: Path) -> None:
    fitted(woof, *small_fit)
    outcome = woof("validate", "--ckpt", RUN.path, "--folder", small_folder)
    assert outcome.code == 2
    assert "trained on 10 classes (s00000001, " in outcome.err
    assert "the data has 2 (s00000003, s00000004)" in outcome.err
    assert not (RUN.path / "validate").exists()


def test_predict_needs_no_data(woof: Woof, small_fit: list[str], drawn_root: Path, tmp_path: Path) -> None:
    fitted(woof, *small_fit)
    image = next((drawn_root / "synthetic" / "val" / "s00000003").iterdir())
    alone = tmp_path / "dog.jpg"
    alone.write_bytes(image.read_bytes())
    outcome = woof("predict", "--ckpt", RUN.path, alone, "--json")
    assert outcome.code == 0, outcome.err
    (found,) = json.loads(outcome.out)
    assert [set(guess) for guess in found["top"]] == [{"breed", "class_name", "probability"}] * 3
    probabilities = [guess["probability"] for guess in found["top"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) <= 1
    assert "hound" in woof("predict", "--ckpt", RUN.best, alone).out
    assert woof("predict", "--ckpt", RUN.best, "none.jpg").code == 2
    alone.write_text("no image", encoding="utf-8")
    assert str(alone) in woof("predict", "--ckpt", RUN.best, alone).err


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "html", "flipped", "foreign"])
def test_a_bad_checkpoint_is_named(woof: Woof, damage: str) -> None:
    file = Path("bad.ckpt")
    if damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, file)
    elif damage != "missing":
        torch.save({"state_dict": {"a": torch.zeros(1000)}}, file)
        whole = bytearray(file.read_bytes())
        whole[len(whole) // 2] ^= 1
        contents = {"truncated": bytes(whole[:700]), "empty": b"", "html": b"<html>", "flipped": bytes(whole)}
        file.write_bytes(contents[damage])
    for verb in (["validate"], ["predict", "x.jpg"]):
        outcome = woof(verb[0], "--ckpt", file, *verb[1:])
        assert outcome.code == 2
        assert "bad.ckpt" in outcome.err
        assert "Traceback" not in outcome.err


def test_a_checkpoint_whose_weights_do_not_fit_is_named(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit)
    checkpoint = read_checkpoint(RUN.best)
    checkpoint["recipe"]["model"]["arch"] = "resnet18"
    torch.save(checkpoint, "other.ckpt")
    outcome = woof("validate", "--ckpt", "other.ckpt")
    assert (outcome.code, "its weights are not those of resnet18" in outcome.err) == (2, True)


def test_a_checkpoint_s_net_is_torchvision_s(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit)
    net = load_net(RUN.best)
    torchvision.models.shufflenet_v2_x0_5(num_classes=10).load_state_dict(net.state_dict())
    assert recipe_of(read_checkpoint(RUN.best)).breeds[0] == "plain pointed-eared hound"


def test_the_untouched_head_has_a_thousand_outputs(woof: Woof, small_fit: list[str], drawn_root: Path) -> None:
    fitted(woof, *small_fit, "--model.num_classes", "1000", "--trainer.log_every_n_steps", "1")
    assert read_metrics(RUN.metrics)[0]["train/loss"] == pytest.approx(6.9, abs=0.3)
    found = json.loads(woof("validate", "--ckpt", RUN.path, "--json").out)
    assert {len(line) for line in found["confusion"]} == {11}
    image = next((drawn_root / "synthetic" / "val").rglob("*.JPEG"))
    assert woof("predict", "--ckpt", RUN.path, image).code == 0


def test_another_root_is_taken_instead_of_the_run_s_folder(
    woof: Woof, small_fit: list[str], small_folder: Path, drawn_root: Path
) -> None:
    fitted(woof, *small_fit, "--data.folder", str(small_folder), "--data.batch_size", "4")
    assert woof("validate", "--ckpt", RUN.path).code == 0
    elsewhere = woof("validate", "--ckpt", RUN.path, "--root", drawn_root)
    assert elsewhere.code == 2
    assert "classes" in elsewhere.err


def test_an_epoch_that_ends_early_has_its_own_images(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last epoch of a training that max_steps ends; four batches of 8 images are an epoch here."""
    images: list[int] = []
    monkeypatch.setattr(RunRecord, "epoch_ended", lambda _, epoch, elapsed_s, count, training_s: images.append(count))
    fitted(woof, *small_fit, "--trainer.max_steps", "6")
    assert images == [32, 16]


def test_own_folder_of_two_classes(woof: Woof, small_fit: list[str], small_folder: Path) -> None:
    fitted(woof, *small_fit, "--data.folder", small_folder, "--data.batch_size", "8")
    assert {row["val/acc5"] for row in read_metrics(RUN.metrics) if "val/acc5" in row} == {1.0}


def test_accumulated_batches_are_reported_once_a_step(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit, "--trainer.accumulate_grad_batches", "2", "--trainer.log_every_n_steps", "1")
    rows = read_metrics(RUN.metrics)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all("train/loss" in row for row in rows)


def test_another_logger_can_stand_in(woof: Woof, small_fit: list[str]) -> None:
    Path("logger.yaml").write_text(
        "trainer:\n  logger:\n    class_path: lightning.pytorch.loggers.CSVLogger\n"
        "    init_args: {save_dir: elsewhere}\n",
        encoding="utf-8",
    )
    fitted(woof, *small_fit, "--config", "logger.yaml")
    assert not list(RUN.path.glob("events*"))
    assert "val/acc1" in next(Path("elsewhere").rglob("metrics.csv")).read_text(encoding="utf-8")
    assert RUN.metrics.is_file()


def test_classes_work_without_the_command(drawn_root: Path, tmp_path: Path) -> None:
    seen = []

    class Watch(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
            seen.append(float(trainer.callback_metrics["val/acc1"]))

    data = ImagewoofDataModule(root=drawn_root, variant="synthetic", image_size=32, batch_size=32, num_workers=0)
    model = WoofClassifier(arch="shufflenet_v2_x0_5", lr=0.004)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", limit_train_batches=3, logger=CSVLogger(tmp_path), callbacks=[Watch()],
        enable_progress_bar=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    assert 0 <= seen[-1] <= 1
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    loaded = WoofClassifier.load_from_checkpoint(tmp_path / "own.ckpt")
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert torch.equal(loaded.eval()(images), model.eval()(images))


def test_without_a_datamodule_the_number_of_classes_must_be_given() -> None:
    data = TensorDataset(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4))
    loader = DataLoader(data, batch_size=4)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(WoofClassifier(arch="shufflenet_v2_x0_5", num_classes=4), loader)
    with pytest.raises(UserError, match="model.num_classes is null"):
        trainer.fit(WoofClassifier(arch="shufflenet_v2_x0_5"), loader)


@pytest.mark.real_data
@pytest.mark.process
def test_real_images_train_validate_and_are_named(woof: Woof, small_fit: list[str], real_root: Path) -> None:
    real = ["--data.root", real_root, "--data.variant", "160px", "--data.num_workers", "2"]
    fitted(woof, *small_fit, *real)
    rows = [row for row in read_metrics(RUN.metrics) if "val/acc1" in row]
    assert len(rows) == 2
    image = next((real_root / "imagewoof2-160" / "val" / "n02115641").iterdir())
    (found,) = json.loads(woof("predict", "--ckpt", RUN.path, image, "--top", "10", "--json").out)
    assert {"dingo", "Samoyed", "Old English sheepdog"} < {guess["breed"] for guess in found["top"]}


@pytest.mark.parametrize(("devices", "inside"), [(0, None), (1, "1")])
def test_a_machine_without_a_gpu_is_not_searched_for_one(
    devices: int, inside: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NVML_CHECK, "1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)
    with no_search_for_a_driver():
        assert os.environ.get(NVML_CHECK) == inside
    assert os.environ[NVML_CHECK] == "1"


@pytest.mark.parametrize(
    ("precision", "capabilities", "told"),
    [
        ("bf16-mixed", {"avx2": True, "avx512_bf16": False, "amx_bf16": False}, True),
        ("bf16-mixed", {"avx2": True, "avx512_bf16": True, "amx_bf16": False}, False),
        ("bf16-mixed", {}, False),
        ("32-true", {"avx512_bf16": False}, False),
    ],
)
def test_a_processor_without_bf16_is_told(
    woof: Woof,
    small_fit: list[str],
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    capabilities: dict[str, bool],
    told: bool,
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)
    few = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1")
    outcome = fitted(woof, *small_fit, *few, "--trainer.precision", precision)
    assert ("--trainer.precision 32-true" in outcome.out) == told


def test_training_is_what_is_spared_the_search(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    monkeypatch.setenv(NVML_CHECK, "1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(WoofClassifier, "on_train_epoch_start", lambda self: seen.append(os.environ.get(NVML_CHECK)))
    assert woof("fit", *small_fit, "--name", "x").code == 0
    assert seen == [None, None]


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch hostile-code-ran",)


def test_a_hostile_pickle_is_refused(woof: Woof, small_fit: list[str]) -> None:
    fitted(woof, *small_fit)
    checkpoint = read_checkpoint(RUN.last)
    for file in (RUN.last, RUN.best):
        torch.save({**checkpoint, "hostile": Hostile()}, file)
    for args in (["validate", "--ckpt", RUN.best], ["predict", "--ckpt", RUN.best, "x.jpg"]):
        outcome = woof(*args)
        assert (outcome.code, "Traceback" in outcome.err) == (2, False), outcome.err
    assert woof("fit", *small_fit, "--resume").code == 2
    with pytest.raises(Exception, match="weights_only|Unsupported"):
        DurableCheckpointIO().load_checkpoint(RUN.last)
    assert not Path("hostile-code-ran").exists()
