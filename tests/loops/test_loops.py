"""`woof loop NAME`: the keys, the run folder, bad input, and what each loop leaves of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import CONFIGS, Woof
from tests.ways import each, needs
from woof_lightning.data.loading import limited
from woof_lightning.loops.experiment import TrainerConfig
from woof_lightning.loops.ways import LOOPS, WAYS
from woof_lightning.recipe.checkpoint import load_net
from woof_lightning.recipe.metrics import SplitMeans
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

# Those that leave metrics.csv and result.json.
RECORDING = each(loop for loop in LOOPS if loop != "lightning")


@pytest.fixture
def small_loop(small_fit: list[str]) -> list[str]:
    return small_fit


def run_of(loop: str) -> RunFolder:
    return RunFolder(Path(f"runs/adamw_onecycle-{loop}"))


@pytest.mark.parametrize("loop", RECORDING)
def test_a_run_holds_what_the_docs_say(woof: Woof, small_loop: list[str], loop: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome = woof("loop", loop, *small_loop)
    assert outcome.code == 0, outcome.err
    run = run_of(loop)
    names = {p.name for p in run.path.rglob("*") if p.is_file() and "tfevents" not in p.name}
    own = {name for name in names if name.startswith("epoch_0000")}
    assert names - own == {"best.ckpt", "last.ckpt", "config.yaml", "metrics.csv", "result.json"}
    assert bool(own) == (loop == "hand_rolled")
    assert [p.name for p in Path().iterdir()] == ["runs"]
    rows = read_metrics(run.metrics)
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 2), (0, 4), (1, 6), (1, 8)]

    result = json.loads(run.result.read_text(encoding="utf-8"))
    assert (result["loop"], result["status"], result["epochs"]) == (loop, "finished", 2)
    assert result["final"]["val/acc1"] == rows[3]["val/acc1"]
    assert result["config"] == yaml.safe_load(run.config.read_text(encoding="utf-8"))

    events = EventAccumulator(str(run.path))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    if loop == "hand_rolled":
        averages = {f"avg.{split}.{name}" for split in ("train", "val") for name in ("loss", "acc1", "acc5")}
        # The post's pipeline averages the learning rate of the reports along with them.
        assert tags == {"train.loss", "train.acc1", "train.acc5", "train.lr_0", "avg.train.lr_0", "lr_0"} | averages
        shown = [e.value / 100 for e in events.Scalars("avg.val.acc1")]
        assert shown[-1] == pytest.approx(result["final"]["batch_means"]["val/acc1"])
    else:
        assert tags == {name for row in rows for name in row if name != "step"}

    assert isinstance(load_net(run.best), torch.nn.Module)
    assert "epoch 2/2" in outcome.out
    assert "best top-1" in outcome.out
    assert "Traceback" not in outcome.err


def test_the_run_equals_woof_fit(woof: Woof, small_loop: list[str]) -> None:
    """With the default sampler settings of `fit`, in the figures that a person sees."""
    assert woof("loop", "bare", *small_loop).code == 0
    assert woof("fit", *small_loop).code == 0
    results = [
        json.loads(run.result.read_text(encoding="utf-8"))
        for run in (run_of("bare"), RunFolder(Path("runs/adamw_onecycle")))
    ]
    for key in ("best", "final"):
        assert results[0][key] == results[1][key]


def test_a_run_is_resumed_or_replaced_as_told(woof: Woof, small_loop: list[str]) -> None:
    assert woof("loop", "bare", *small_loop).code == 0
    before = run_of("bare").last.read_bytes()
    taken = woof("loop", "bare", *small_loop)
    assert taken.code == 2
    assert all(word in taken.err for word in ("--resume", "--name", "--overwrite"))
    assert run_of("bare").last.read_bytes() == before

    other_settings = woof("loop", "bare", *small_loop, "--resume", "--model.lr", "0.5")
    assert other_settings.code == 2
    assert "model.lr" in other_settings.err
    other_loop = woof("loop", "fabric", *small_loop, "--resume", "--name", "adamw_onecycle-bare")
    assert other_loop.code == 2
    assert "trained by bare" in other_loop.err
    assert woof("loop", "bare", *small_loop, "--overwrite", "--model.lr", "0.5").code == 0
    assert len(read_metrics(run_of("bare").metrics)) == 4


@pytest.mark.parametrize("loop", RECORDING)
def test_resuming_a_finished_run_changes_nothing(woof: Woof, small_loop: list[str], loop: str) -> None:
    assert woof("loop", loop, *small_loop).code == 0
    metrics, result = (
        run_of(loop).metrics.read_text(encoding="utf-8"),
        json.loads(run_of(loop).result.read_text(encoding="utf-8")),
    )
    again = woof("loop", loop, *small_loop, "--resume")
    assert again.code == 0, again.err
    assert run_of(loop).metrics.read_text(encoding="utf-8") == metrics
    after = json.loads(run_of(loop).result.read_text(encoding="utf-8"))
    assert {key: after[key] for key in ("best", "final", "epochs")} == {
        key: result[key] for key in ("best", "final", "epochs")
    }


@needs("hand_rolled")
def test_the_post_s_loop_keeps_its_record_when_it_is_resumed_twice(woof: Woof, small_loop: list[str]) -> None:
    """It goes on after the last epoch that it saved, which the record's last and best epochs need not be."""
    options = [*small_loop, "--trainer.max_epochs", "5"]
    assert woof("loop", "hand_rolled", *options).code == 0
    run = run_of("hand_rolled")
    best = json.loads(run.result.read_text(encoding="utf-8"))["best"]
    saved = sorted(int(file.name.split("_")[1].split(".")[0]) for file in run.path.rglob("epoch_*"))
    for file in run.path.rglob("epoch_*"):
        if int(file.name.split("_")[1].split(".")[0]) > saved[0]:
            file.unlink()
    outcome = woof("loop", "hand_rolled", *options, "--resume")
    assert outcome.code == 0, outcome.err
    result = json.loads(run.result.read_text(encoding="utf-8"))
    assert (result["epochs"], len(result["elapsed_s"])) == (5, 5)
    assert result["best"]["val/acc1"] == best["val/acc1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nosuch"], ["nosuch is no loop"]),
        (["bar"], ["did you mean bare"]),
        ([], ["needs the name of a loop", "hand_rolled"]),
        (["--check", "--ways", "nosuch"], ["nosuch", "hand_rolled", "woof loop --check --help"]),
        (["bare", "--trainer.gradient_clip_val", "1"], ["trainer.gradient_clip_val is not honoured", "max_epochs"]),
        (["bare", "--model.lrr", "1"], ["model.lrr", "did you mean model.lr"]),
        (["bare", "--model.lr", "x"], ["model.lr is x", "a number"]),
        (["bare", "--trainer.precision", "16-mixed"], ["trainer.precision is '16-mixed'", "bf16-mixed"]),
        (["bare", "--trainer.devices", "2"], ["trainer.devices is 2", "woof fit"]),
        (["bare", "--trainer.max_epochs", "0", "--data.batch_size", "0"], ["max_epochs is 0", "batch_size is 0"]),
        (["bare", "--trainer.limit_val_batches", "0"], ["limit_val_batches is 0"]),
        (["bare", "--trainer.limit_train_batches", "0.001"], ["trainer.limit_train_batches is 0.001", "at least one"]),
        (["bare", "--model.num_classes", "5"], ["model.num_classes is 5", "10 classes"]),
        pytest.param(["fastai", "--trainer.precision", "bf16-mixed"], ["fastai", "32-true"], marks=needs("fastai")),
        (["bare", "--data.folder", "nowhere"], ["nowhere"]),
        (["bare", "--data.image_size", "9999"], ["data.image_size is 9999", "at most"]),
    ],
)
def test_bad_input_is_named(woof: Woof, small_loop: list[str], options: list[str], words: list[str]) -> None:
    outcome = woof("loop", *(options[:1]), *(small_loop if options and options[0] != "--check" else []), *options[1:])
    assert outcome.code == 2, outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert not list(Path().rglob("*.ckpt"))


@pytest.mark.parametrize("loop", [name for name in LOOPS if WAYS[name].entry])
def test_a_missing_peer_names_the_extra(woof: Woof, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, WAYS[loop].entry[0].partition(".")[0], None)
    outcome = woof("loop", loop)
    assert outcome.code == 2
    assert "[peers]" in outcome.err


def test_the_head_s_outputs_may_exceed_the_classes(woof: Woof, small_loop: list[str]) -> None:
    assert woof("loop", "bare", *small_loop, "--model.num_classes", "1000", "--trainer.max_epochs", "1").code == 0
    assert load_net(run_of("bare").last)(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


def test_predict_and_validate_take_a_loop_s_run(woof: Woof, small_loop: list[str], drawn_root: Path) -> None:
    assert woof("loop", "bare", *small_loop, "--trainer.limit_val_batches", "1.0").code == 0
    image = next((drawn_root / "synthetic" / "val").glob("*/*"))
    assert woof("predict", "--ckpt", run_of("bare").path, image).code == 0
    validated = woof("validate", "--ckpt", run_of("bare").last, "--json", "--num_workers", "0")
    assert validated.code == 0, validated.err
    result = json.loads(run_of("bare").result.read_text(encoding="utf-8"))
    assert json.loads(validated.out)["val/acc1"] == result["final"]["val/acc1"]


def test_limits_are_lightning_s() -> None:
    assert limited(71, "x", None) == 71
    assert limited(71, "x", 1.0) == 71
    assert limited(71, "x", 1) == 1
    assert limited(71, "x", 0.5) == 35
    assert limited(71, "x", 100) == 71
    assert TrainerConfig().max_epochs == 40


def test_means_over_images_and_over_batches_differ_where_the_last_batch_is_smaller() -> None:
    means = SplitMeans()
    right, wrong = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])
    means.update(right.repeat(3, 1), torch.zeros(3, dtype=torch.long))
    means.update(wrong, torch.zeros(1, dtype=torch.long))
    assert means.over_images()["val/acc1"] == 0.75
    assert means.over_batches(3)["val/acc1"] == 0.5


@pytest.mark.process
def test_configs_are_taken_as_they_are(woof: Woof, drawn_root: Path) -> None:
    for config in ("sgd_step", "sgd_step_found_lr", "sgd_onecycle", "adamw_onecycle"):
        outcome = woof(
            *("loop", "bare", "--config", CONFIGS / f"{config}.yaml", "--config", CONFIGS / "demo.yaml"),
            *("--data.root", drawn_root, "--data.image_size", "32", "--model.arch", "shufflenet_v2_x0_5"),
            *("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"),
        )
        assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("verb", [("fit",), ("loop", "bare"), ("loop", "lightning")], ids=" ".join)
def test_a_net_is_compiled_and_laid_out_where_it_should(
    verb: tuple[str, ...], woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda net: compiled.append(net))
    few = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 1, "--trainer.limit_val_batches", 1)
    for name, value, count in (("off", "false", 0), ("on", "true", 1)):
        options = ("--model.compile", value, "--model.channels_last", value, "--name", name)
        assert woof(*verb, *small_fit, *few, *options).code == 0
        assert len(compiled) == count
    (net,) = compiled
    filters = next(weight for weight in net.parameters() if weight.ndim == 4)
    assert filters.is_contiguous(memory_format=torch.channels_last)
