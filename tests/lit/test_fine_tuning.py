"""Fine-tuning with `woof fit`: what is loaded, said, frozen and resumed, and what predicts and validates with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging

from tests.conftest import Woof
from tests.cuts import cut
from woof_lightning import ImagewoofDataModule, WoofClassifier, load_net
from woof_lightning.data.decoding import read_untrusted_image
from woof_lightning.data.transforms import IMAGENET, Normalisation, eval_transform, normalise
from woof_lightning.errors import UserError
from woof_lightning.lit.callbacks.freezing import FrozenBackbone
from woof_lightning.lit.sweep import SweepRecorder
from woof_lightning.recipe.checkpoint import normalisation_of, read_checkpoint, recipe_of
from woof_lightning.recipe.head import head_names
from woof_lightning.recipe.model import build_net
from woof_lightning.runs.folder import RunFolder

ARCH = "shufflenet_v2_x0_5"
HEAD = {f"net.{name}" for name in head_names(ARCH)}
SMALL, HALF = (0.01, 0.01, 0.01), (0.5, 0.5, 0.5)


@pytest.fixture
def few(small_folder: Path) -> list[str]:
    """Options of a fine-tuning on two breeds: three epochs of four steps, the first two frozen."""
    return [
        *("--data.folder", str(small_folder), "--data.image_size", "32", "--data.batch_size", "4"),
        *("--data.num_workers", "0", "--model.arch", ARCH, "--trainer.accelerator", "cpu", "--trainer.max_epochs", "3"),
        *("--trainer.log_every_n_steps", "1", "--model.freeze_epochs", "2", "--name", "tuned"),
    ]


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A file of random weights with ten outputs."""
    torch.save(build_net(ARCH, 10, seed=5).state_dict(), tmp_path / "net.pth")
    return str(tmp_path / "net.pth")


def tuned() -> dict[str, Any]:
    return read_checkpoint(RunFolder(Path("runs/tuned")).last)


def differing(one: dict[str, Any], two: dict[str, Any]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], two[name])}


def test_a_run_starts_from_another_run(woof: Woof, small_fit: list[str], few: list[str]) -> None:
    assert woof("fit", *small_fit, "--name", "before").code == 0
    outcome = woof("fit", *few, "--model.weights", "runs/before")
    assert outcome.code == 0, outcome.err
    file = "runs/before/checkpoints/best.ckpt"
    tail = "336 tensors; left out: fc.weight, fc.bias; made anew: fc.weight, fc.bias"
    assert f"weights from runs/before ({file}): {tail}\n" in outcome.out
    expected = {
        "weights": "runs/before", "file": file, "image_size": 32, "loaded": 336,
        "left_out": ["fc.weight", "fc.bias"], "made_anew": ["fc.weight", "fc.bias"],
    }  # fmt: skip
    assert json.loads(Path("runs/tuned/result.json").read_text(encoding="utf-8"))["pretrained"] == expected
    assert recipe_of(tuned()).pretrained == expected
    assert (
        yaml.safe_load(Path("runs/tuned/config.yaml").read_text(encoding="utf-8"))["model"]["weights"] == "runs/before"
    )
    assert json.loads(Path("runs/before/result.json").read_text(encoding="utf-8"))["pretrained"] is None


def test_what_is_frozen_stays_to_the_bit_and_then_trains(woof: Woof, few: list[str], weights: str) -> None:
    """Two of three epochs are frozen. The weights of the file are those of the backbone then, BatchNorm's included."""
    before = {f"net.{name}": value for name, value in torch.load(weights).items()}
    states = {}
    for epochs in (1, 2, 3):
        schedule = ("--model.schedule", "step", "--model.optimizer", "sgd", "--model.lr", "0.01")
        outcome = woof(
            "fit", *few, *schedule, "--model.weights", weights, "--trainer.max_epochs", epochs, "--name", f"e{epochs}"
        )
        assert outcome.code == 0, outcome.err
        states[epochs] = read_checkpoint(RunFolder(Path(f"runs/e{epochs}")).last)["state_dict"]
    for epochs in (1, 2):
        assert {name for name in before if name not in HEAD} - differing(before, states[epochs]) == before.keys() - HEAD
    assert differing(states[1], states[2]) == HEAD
    backbone = {name for name in before if name not in HEAD}
    assert backbone == differing(states[2], states[3]) - HEAD


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_run_that_is_cut_within_an_epoch_is_resumed_exactly(
    epoch: int, woof: Woof, few: list[str], weights: str
) -> None:
    """Lightning does not say that an epoch starts if it resumes within one."""
    options = [*few, "--model.weights", weights, "--model.label_smoothing", "0.1", "--model.ema_decay", "0.6"]
    assert woof("fit", *options, "--name", "straight").code == 0
    with cut(lambda module, batch_idx: (module.current_epoch, batch_idx) == (epoch, 1)):
        assert woof("fit", *options).code == 143
    Path(weights).unlink()  # Nobody loads it again.
    outcome = woof("fit", *options, "--resume")
    assert outcome.code == 0, outcome.err
    assert "weights from" not in outcome.out
    straight = read_checkpoint(RunFolder(Path("runs/straight")).last)
    assert differing(straight["current_model_state"], tuned()["current_model_state"]) == set()
    assert differing(straight["state_dict"], tuned()["state_dict"]) == set()
    assert recipe_of(tuned()) == recipe_of(straight)
    results = [
        json.loads(Path(f"runs/{name}/result.json").read_text(encoding="utf-8")) for name in ("straight", "tuned")
    ]
    assert results[0]["pretrained"] == results[1]["pretrained"]


def test_a_loop_is_resumed_without_the_weights_too(woof: Woof, few: list[str], weights: str) -> None:
    options = ["--model.weights", weights, "--model.schedule", "step"]
    assert woof("loop", "bare", *few, *options, "--trainer.max_epochs", 1).code == 0
    Path(weights).unlink()
    outcome = woof("loop", "bare", *few, *options, "--resume")
    assert outcome.code == 0, outcome.err
    assert json.loads(Path("runs/tuned/result.json").read_text(encoding="utf-8"))["pretrained"]["loaded"] == 336
    refused = woof("loop", "bare", *few, *options, "--name", "other")
    assert refused.code == 2
    assert "that is no file" in refused.err
    assert not Path("runs/other").exists()


def with_normalisation(run: Path, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    for file in (RunFolder(run).best, RunFolder(run).last):
        checkpoint = torch.load(file)
        checkpoint["recipe"]["normalisation"] = Normalisation(mean, std)._asdict()
        torch.save(checkpoint, file)


def magnified(file: Path, image: Path, right: Normalisation) -> None:
    """Changes the head of a net that hardly sees an image yet: its answer is 0.5 if the image is normalised right."""
    pixels = eval_transform(32)(read_untrusted_image(image))[None]
    net, checkpoint = load_net(file), torch.load(file)
    weight, bias = (checkpoint["state_dict"][f"net.fc.{name}"] for name in ("weight", "bias"))
    with torch.no_grad():
        answer, wrong = (net(normalise(pixels, False, chosen))[0] - bias for chosen in (right, IMAGENET))
    scale = 2 / (answer - wrong).diff().abs()
    weight *= scale
    bias.copy_(-answer * scale)
    torch.save(checkpoint, file)


@pytest.mark.parametrize("verb", [["fit"], ["loop", "bare"], ["loop", "lightning"]], ids=" ".join)
def test_the_weights_normalisation_is_used_kept_and_passed_on(
    verb: list[str], woof: Woof, small_fit: list[str], few: list[str], small_folder: Path
) -> None:
    assert woof("fit", *small_fit, "--name", "before").code == 0
    with_normalisation(Path("runs/before"), HALF, SMALL)
    assert woof(*verb, *few, "--model.weights", "runs/before").code == 0
    assert normalisation_of(recipe_of(tuned())) == Normalisation(HALF, SMALL)

    image = next(file for file in (small_folder / "val").rglob("*") if file.is_file())
    magnified(RunFolder(Path("runs/tuned")).best, image, Normalisation(HALF, SMALL))
    answer = json.loads(woof("predict", "--ckpt", "runs/tuned", "--json", image).out)[0]["top"]
    assert [guess["probability"] for guess in answer] == pytest.approx([0.5, 0.5], abs=0.02)

    last = RunFolder(Path("runs/tuned")).last
    validated = json.loads(woof("validate", "--ckpt", last, "--json").out)
    if verb != ["loop", "lightning"]:  # It leaves no result.json.
        trained = json.loads(Path("runs/tuned/result.json").read_text(encoding="utf-8"))["final"]
        assert {name: validated[name] for name in ("val/loss", "val/acc1")} == pytest.approx(
            {name: trained[name] for name in ("val/loss", "val/acc1")}
        )
    with_normalisation(Path("runs/tuned"), IMAGENET.mean, IMAGENET.std)
    other = json.loads(woof("validate", "--ckpt", last, "--json").out)
    assert other["val/loss"] != pytest.approx(validated["val/loss"])


def test_a_size_other_than_the_weights_is_noted(woof: Woof, small_fit: list[str], few: list[str]) -> None:
    assert woof("fit", *small_fit, "--name", "before").code == 0
    outcome = woof("fit", *few, "--model.weights", "runs/before", "--data.image_size", "40")
    assert "note: these weights were trained at 32 px, and data.image_size is 40\n" in outcome.out


def test_checkpoints_of_before_are_read(woof: Woof, small_fit: list[str]) -> None:
    """Their recipe has neither the new keys nor a normalisation; their config.yaml has no new key."""
    assert woof("fit", *small_fit, "--name", "old", "--model.schedule", "step", "--trainer.max_epochs", 1).code == 0
    run = RunFolder(Path("runs/old"))
    new = ("weights", "freeze_epochs", "backbone_lr_factor", "label_smoothing", "class_weights", "ema_decay")
    for file in (run.best, run.last):
        checkpoint = torch.load(file)
        for name in ("normalisation", "pretrained"):
            del checkpoint["recipe"][name]
        for name in new:
            del checkpoint["recipe"]["model"][name]
        torch.save(checkpoint, file)
    settings = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    for name in new:
        del settings["model"][name]
    run.config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert normalisation_of(recipe_of(read_checkpoint(run.last))) == IMAGENET
    assert woof("validate", "--ckpt", "runs/old").code == 0
    outcome = woof("fit", *small_fit, "--name", "old", "--model.schedule", "step", "--resume")
    assert outcome.code == 0, outcome.err


def test_defaults_add_no_callback_and_no_group(drawn_root: Path) -> None:
    module = WoofClassifier(arch=ARCH)
    assert module.configure_callbacks() == []
    data = ImagewoofDataModule(root=drawn_root, variant="synthetic", image_size=32, batch_size=8, num_workers=0)
    trainer = plain_trainer()
    trainer.fit(module, datamodule=data)
    assert [group.get("name") for group in trainer.optimizers[0].param_groups] == [None]
    assert not any(isinstance(callback, FrozenBackbone) for callback in trainer.callbacks)  # type: ignore[attr-defined]


def plain_trainer(**options: Any) -> Trainer:
    return Trainer(
        max_epochs=1, limit_train_batches=2, limit_val_batches=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", **options,
    )  # fmt: skip


def test_any_trainer_fine_tunes_the_module(drawn_root: Path, weights: str) -> None:
    """Without `woof fit`: the module brings its callback, and loads the weights where it builds the net."""
    module = WoofClassifier(arch=ARCH, weights=weights, freeze_epochs=1, class_weights="balanced", label_smoothing=0.1)
    data = ImagewoofDataModule(root=drawn_root, variant="synthetic", image_size=32, batch_size=8, num_workers=0)
    plain_trainer().fit(module, datamodule=data)
    assert module.net is not None
    before = torch.load(weights)
    assert differing(before, module.net.state_dict()) == head_names(ARCH)
    images, labels = next(iter(data.val_dataloader()))
    logits = module(images)
    assert float(module.loss(logits, labels)) == pytest.approx(
        float(F.cross_entropy(logits, labels, label_smoothing=0.1))
    )


@pytest.mark.parametrize("schedule", ["step", "onecycle"])
def test_the_backbone_gets_its_share_of_the_rate(schedule: str, woof: Woof, few: list[str], weights: str) -> None:
    options = ("--model.weights", weights, "--model.schedule", schedule, "--model.lr", "0.004")
    assert woof("fit", *few, *options, "--model.backbone_lr_factor", "0.25").code == 0
    rows = Path("runs/tuned/metrics.csv").read_text(encoding="utf-8").splitlines()
    columns = rows[0].split(",")
    reports = [dict(zip(columns, row.split(","), strict=True)) for row in rows[1:]]
    rates = [(float(row["lr/backbone"]), float(row["lr/head"])) for row in reports if row["lr/head"]]
    assert len(rates) == 12
    assert all(backbone == pytest.approx(head / 4) for backbone, head in rates)
    assert max(head for _, head in rates) == pytest.approx(0.004, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.weights", "nothing.pth"], "model.weights is nothing.pth: that is no file"),
        (["--model.freeze_epochs", "1"], "without model.weights"),
        (["--model.class_weights", "[1,2,3]"], "model.class_weights has 3 numbers, but the net has 2 outputs"),
        (["--model.class_weights", "equal"], "expected null, balanced, or a list"),
        (["--model.label_smoothing", "2"], "label_smoothing is 2.0"),
    ],
)
@pytest.mark.parametrize("verb", [["fit"], ["loop", "bare"]], ids=" ".join)
def test_what_cannot_be_used_is_refused_before_a_run_is_made(
    verb: list[str], options: list[str], message: str, woof: Woof, few: list[str]
) -> None:
    without = few[: few.index("--model.freeze_epochs")]
    outcome = woof(*verb, *without, *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not list(Path().glob("runs/*"))


def test_the_average_is_the_formula_s_and_is_validated_and_saved(woof: Woof, few: list[str], weights: str) -> None:
    """After each step: average = decay * average + (1 - decay) * weights. The first step begins it."""
    without = [*few[: few.index("--model.freeze_epochs")], "--name", "tuned", "--model.weights", weights]
    options = [*without, "--model.schedule", "step", "--trainer.max_epochs", "1", "--model.ema_decay", "0.6"]
    weights_after: list[torch.Tensor] = []
    real = EMAWeightAveraging.on_train_batch_end

    def noting(self: Any, trainer: Any, pl_module: Any, *args: Any) -> None:
        weights_after.append(pl_module.net.fc.weight.detach().clone())
        real(self, trainer, pl_module, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EMAWeightAveraging, "on_train_batch_end", noting)
        assert woof("fit", *options).code == 0
    average = weights_after[0]
    for weight in weights_after[1:]:
        average = 0.6 * average + 0.4 * weight
    assert torch.allclose(tuned()["state_dict"]["net.fc.weight"], average, atol=1e-7)
    assert torch.equal(tuned()["current_model_state"]["net.fc.weight"], weights_after[-1])
    trained = json.loads(Path("runs/tuned/result.json").read_text(encoding="utf-8"))["final"]["val/loss"]
    assert json.loads(woof("validate", "--ckpt", "runs/tuned", "--json").out)["val/loss"] == pytest.approx(trained)


def test_an_average_that_nobody_could_make_is_refused(woof: Woof, few: list[str], weights: str) -> None:
    options = [*few, "--model.weights", weights, "--model.ema_decay", "0.9"]
    twice = woof("fit", *options, "--trainer.callbacks", "EMAWeightAveraging")
    assert (twice.code, "expected one of them" in twice.err) == (2, True)
    with pytest.raises(UserError, match="expected that callback"):
        plain_trainer().fit(
            WoofClassifier(arch=ARCH, num_classes=2, schedule="step", ema_decay=0.9), train_dataloaders=[]
        )


def test_a_sweep_trains_the_whole_net_and_keeps_the_backbone_s_share(
    woof: Woof, few: list[str], weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[tuple[float, ...]] = []
    frozen: list[bool] = []
    real = SweepRecorder.on_before_optimizer_step

    def noting(self: Any, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        real(self, trainer, pl_module, optimizer)
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
        frozen.append(not all(weight.requires_grad for weight in pl_module.parameters()))

    monkeypatch.setattr(SweepRecorder, "on_before_optimizer_step", noting)
    sweep = ("--min_lr", "1e-5", "--max_lr", "1", "--num_training", "20", "--early_stop_threshold", "null")
    options = ("--model.weights", weights, "--model.ema_decay", "0.9", *sweep)
    outcome = woof("lr-find", *few, *options, "--json")
    assert outcome.code == 0 or "never falls" in outcome.err, outcome.err
    assert len(rates) == 20
    assert not any(frozen)
    assert all(backbone == pytest.approx(head / 10) for backbone, head in rates)
    assert rates[-1][1] == pytest.approx(1)
