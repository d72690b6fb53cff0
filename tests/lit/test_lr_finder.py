"""`woof lr-find` and lr_find(): the sweep is Lightning's, its answer is right, and it leaves nothing behind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateFinder
from torch.utils.data import DataLoader, TensorDataset

from tests.conftest import CONFIGS, Woof
from woof_lightning.errors import UserError
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.lr_finder import FEWEST_STEPS, lr_find
from woof_lightning.lit.lr_suggestion import SMOOTHING, steepest, valley
from woof_lightning.runs.lr_curve import read_lr_curve

SMALL = ("--num_training", "40", "--min_lr", "1e-5", "--max_lr", "10")
SWEEP = Path("runs/adamw_onecycle/lr_find")
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Foreign(LightningModule):
    """A module as other people write it: AdamW with one-cycle, a path among its hyper-parameters, a validation."""

    def __init__(self, folder: Path = Path("somewhere"), lr: float = 0.02) -> None:
        super().__init__()
        self.save_hyperparameters()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 3))
        self.dropout = torch.nn.Dropout(0.1)
        self.betas: set[tuple[float, float]] = set()

    def train_dataloader(self) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(160, 8, generator=generator)
        return DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(1)), batch_size=16, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        self.betas.add(self.trainer.optimizers[0].param_groups[0]["betas"])
        return torch.nn.functional.cross_entropy(self.dropout(self.net(batch[0])), batch[1])

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        pytest.fail("a sweep validates")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.02)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Fixed(Foreign):
    """Gives the losses that it is told to, in turn."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.losses = iter(losses)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return next(self.net.parameters()).sum() * 0 + next(self.losses)


def trainer(folder: Path, **options: Any) -> Trainer:
    return Trainer(default_root_dir=folder, **{**QUIET, "max_epochs": 1, **options})


def test_the_checkpoint_of_another_sweep_stays(tmp_path: Path) -> None:
    other = tmp_path / ".lr_find_other.ckpt"
    other.touch()
    lr_find(Foreign(), trainer=trainer(tmp_path), num_training=30)
    assert list(tmp_path.iterdir()) == [other]


def test_without_a_trainer_nothing_is_written_or_summed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = lr_find(Foreign(), num_training=30)
    assert len(found.curve) > 0
    assert list(tmp_path.iterdir()) == []
    assert "params" not in "".join(capfd.readouterr())


def test_the_sweep_on_a_foreign_module(tmp_path: Path) -> None:
    model = Foreign()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    sweeper = trainer(tmp_path)
    found = lr_find(model, trainer=sweeper, num_training=60, early_stop_threshold=None)
    assert len(found.curve) == 60, "max_epochs cut it off: an epoch has 10 batches"
    assert found.curve.lr[:: len(found.curve) - 1] == pytest.approx((1e-8, 10))
    assert model.betas == {(0.9, 0.999)}, "one-cycle has rewritten the betas"
    assert 1e-3 < found.suggestion < 2
    assert found.lightning is not None
    assert found.suggestion > 20 * found.lightning
    assert (found.suggested_by, found.note) == ("steepest", None)
    assert list(tmp_path.iterdir()) == []
    assert sweeper.max_epochs == 1
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize("own_trainer", [True, False])
def test_a_fit_after_a_sweep_is_the_fit_without_it(tmp_path: Path, own_trainer: bool) -> None:
    class Validated(Foreign):
        def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
            self.log("val", self.net(batch[0]).sum())

    def trained(sweep: bool) -> dict[str, torch.Tensor]:
        model, fitter = Validated(), trainer(tmp_path, max_epochs=3)
        torch.manual_seed(1)
        if sweep:
            lr_find(model, trainer=fitter if own_trainer else trainer(tmp_path), num_training=30)
        fitter.fit(model)
        return model.state_dict()

    without, after = trained(False), trained(True)
    for name, value in without.items():
        assert torch.equal(value, after[name]), name


@pytest.mark.process
def test_the_same_with_the_recipe(tmp_path: Path, drawn_root: Path) -> None:
    def trained(sweep: bool) -> dict[str, torch.Tensor]:
        model = WoofClassifier(arch="shufflenet_v2_x0_5", lr=0.005)
        data = ImagewoofDataModule(
            root=drawn_root, variant="synthetic", image_size=32, batch_size=64, num_workers=1, eval_batch_size=64
        )
        fitter = trainer(tmp_path, max_epochs=2, use_distributed_sampler=False)
        if sweep:
            lr_find(model, datamodule=data, trainer=fitter, num_training=18)
        fitter.fit(model, datamodule=data)
        return model.state_dict()

    without, after = trained(False), trained(True)
    for name, value in without.items():
        assert torch.equal(value, after[name]), name


def test_a_constant_loss_comes_back_constant(tmp_path: Path) -> None:
    found = lr_find(Fixed([2.3026] * 30), trainer=trainer(tmp_path), num_training=30)
    assert found.curve.loss == pytest.approx([2.3026] * 30, rel=1e-6)
    assert found.problem is not None
    with pytest.raises(UserError, match="never falls"):
        _ = found.suggestion


def test_a_fall_within_the_noise_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noisy = (2.3 + 0.05 * rng.standard_normal(60) - np.linspace(0, 0.03, 60)).tolist()
    found = lr_find(Fixed(noisy), trainer=trainer(tmp_path), num_training=60)
    assert found.suggested_by == "valley"
    assert found.suggestion == pytest.approx(valley(found.curve), rel=0.01)
    assert next(iter(found.marks().values())) == found.valley
    assert f"{found.clearness:.1f} standard errors" in (found.note or "")
    assert "--num_training" in (found.note or "")


def test_the_smoothed_losses_are_lightning_s_without_their_bias(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch.tuner import lr_finder

    recorded: list[lr_finder._LRFinder] = []
    suggestion = lr_finder._LRFinder.suggestion

    def seen(self: lr_finder._LRFinder) -> float | None:
        recorded.append(self)
        return suggestion(self)

    monkeypatch.setattr(lr_finder._LRFinder, "suggestion", seen)
    found = lr_find(Foreign(), trainer=trainer(tmp_path), num_training=40)
    theirs = recorded[0].results
    unbiased = [
        loss * (1 - SMOOTHING ** (step + 1)) / (1 - SMOOTHING**step) for step, loss in enumerate(theirs["loss"], 1)
    ]
    assert found.curve.loss == pytest.approx(unbiased, rel=1e-9)
    assert found.curve.lr == pytest.approx(theirs["lr"], rel=1e-12)


def test_every_step_is_recorded_with_accumulated_gradients(tmp_path: Path) -> None:
    """Lightning's own curve leaves out the last step of each epoch: 10 batches in groups of 4."""
    losses = [float(n) for n in range(200)]
    sweeper = trainer(tmp_path, accumulate_grad_batches=4)
    found = lr_find(Fixed(losses), trainer=sweeper, num_training=20, early_stop_threshold=None)
    assert len(found.curve) == 20
    assert found.curve.raw_loss[:4] == pytest.approx((1.5, 5.5, 8.5, 11.5))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_loss_ends_the_sweep(tmp_path: Path, bad: float) -> None:
    falling = [2.3 - 0.05 * step for step in range(25)]
    found = lr_find(Fixed([*falling, bad] + [1.0] * 50), trainer=trainer(tmp_path), num_training=60)
    assert (found.stopped, len(found.curve)) == ("not finite", 26)
    assert found.suggestion == pytest.approx(steepest(found.curve.finite()), rel=0.01)
    early = lr_find(Fixed([2.3, bad] + [1.0] * 50), trainer=trainer(tmp_path), num_training=60)
    assert "became NaN or infinite at lr" in (early.problem or "")
    assert "--min_lr" in (early.problem or "")
    late = lr_find(Fixed([*falling[:13], bad] + [1.0] * 50), trainer=trainer(tmp_path), num_training=60)
    assert "13 points" in (late.problem or "")


def test_divergence_ends_the_sweep(tmp_path: Path) -> None:
    losses = [2.3] * 5 + [1e6] * 50
    found = lr_find(Fixed(losses), trainer=trainer(tmp_path), num_training=50)
    assert (found.stopped, len(found.curve)) == ("diverged", 6)
    assert f"expected at least {FEWEST_STEPS}" in (found.problem or "")
    whole = lr_find(Fixed(losses), trainer=trainer(tmp_path), num_training=50, early_stop_threshold=None)
    assert len(whole.curve) == 50


def test_losses_below_zero_may_fall(tmp_path: Path) -> None:
    falling = [1.0 - 0.1 * step for step in range(40)]
    found = lr_find(Fixed([*falling, *[1e3] * 20]), trainer=trainer(tmp_path), num_training=60)
    assert (found.stopped, len(found.curve)) == ("diverged", 41)


def test_nothing_is_left_when_the_sweep_fails(tmp_path: Path) -> None:
    class Failing(Foreign):
        def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
            raise ZeroDivisionError

    model, sweeper = Failing(), trainer(tmp_path)
    with pytest.raises(ZeroDivisionError):
        lr_find(model, trainer=sweeper)
    assert list(tmp_path.iterdir()) == []
    assert "configure_optimizers" not in vars(model)
    assert sweeper.max_epochs == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_lr": 1.0, "max_lr": 0.1}, "min_lr < max_lr"),
        ({"min_lr": 0.0}, "min_lr is 0.0"),
        ({"num_training": 3}, f"at least {FEWEST_STEPS}"),
        ({"early_stop_threshold": 1.0}, "early_stop_threshold is 1.0: expected above 1"),
        ({"trainer": "fast"}, "fast_dev_run"),
    ],
)
def test_arguments_that_cannot_be_used(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    if options.get("trainer") == "fast":
        options["trainer"] = trainer(tmp_path, fast_dev_run=True)
    with pytest.raises(UserError, match=words):
        lr_find(Foreign(), **options)


def test_modules_that_cannot_be_swept(tmp_path: Path) -> None:
    by_hand = Foreign()
    by_hand.automatic_optimization = False
    with pytest.raises(UserError, match="automatic_optimization is False: expected True"):
        lr_find(by_hand, trainer=trainer(tmp_path))
    with pytest.raises(UserError, match="LearningRateFinder"):
        lr_find(Foreign(), trainer=trainer(tmp_path, callbacks=[LearningRateFinder()]))

    class WithoutData(Foreign):
        train_dataloader = LightningModule.train_dataloader

    with pytest.raises(UserError, match="train_dataloader"):
        lr_find(WithoutData(), trainer=trainer(tmp_path))


@pytest.fixture
def small_sweep(small_fit: list[str]) -> list[str]:
    return [*small_fit, "--trainer.limit_train_batches", "1.0", *SMALL]


def test_the_verb(woof: Woof, small_sweep: list[str]) -> None:
    outcome = woof("lr-find", *small_sweep)
    assert outcome.code == 0, outcome.err
    assert [str(p) for p in sorted(Path().rglob("*")) if p.is_file()] == [
        str(SWEEP / name) for name in ("curve.csv", "lr.yaml", "plot.png", "result.json")
    ]
    result = json.loads((SWEEP / "result.json").read_text(encoding="utf-8"))
    last_line = outcome.out.splitlines()[-1]
    assert float(last_line) == result["suggestion"]
    assert yaml.safe_load((SWEEP / "lr.yaml").read_text(encoding="utf-8")) == {"model": {"lr": result["suggestion"]}}
    assert result["steepest"] == steepest(read_lr_curve(SWEEP / "curve.csv"))
    assert result["sweep"]["num_training"] == 40
    assert outcome.err == ""
    assert f"woof fit {' '.join(small_sweep[: -len(SMALL)])} --config {SWEEP / 'lr.yaml'}\n" in outcome.out

    taken = woof("lr-find", *small_sweep)
    assert taken.code == 2
    assert "--overwrite" in taken.err
    again = woof("lr-find", *small_sweep, "--overwrite", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["suggestion"] == result["suggestion"]

    fitted = woof("fit", *small_sweep[: -len(SMALL)], "--config", SWEEP / "lr.yaml", "--trainer.max_epochs", "1")
    assert fitted.code == 0, fitted.err
    saved = Path("runs/adamw_onecycle/config.yaml")
    assert yaml.safe_load(saved.read_text(encoding="utf-8"))["model"]["lr"] == result["suggestion"]
    from_run = woof("lr-find", "--config", saved, "--num_training", "14", "--overwrite")
    assert (SWEEP / "lr.yaml").exists() == (from_run.code == 0)
    assert from_run.code == (0 if json.loads((SWEEP / "result.json").read_text(encoding="utf-8"))["suggestion"] else 2)
    assert len(read_lr_curve(SWEEP / "curve.csv")) <= 14


@pytest.mark.parametrize("config", ["sgd_step", "sgd_step_found_lr", "sgd_onecycle", "adamw_onecycle"])
def test_every_config_can_be_swept(woof: Woof, small_fit: list[str], config: str) -> None:
    outcome = woof(
        *("lr-find", "--config", CONFIGS / f"{config}.yaml", "--config", CONFIGS / "demo.yaml", *small_fit[4:]),
        *("--num_training", "14", "--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0"),
    )
    curve = read_lr_curve(Path("runs") / config / "lr_find" / "curve.csv")
    assert len(curve) > 0
    folder = Path("runs") / config / "lr_find"
    assert outcome.code == (0 if json.loads((folder / "result.json").read_text(encoding="utf-8"))["suggestion"] else 2)
    assert (folder / "lr.yaml").exists() == (outcome.code == 0)
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--min_lr", "1", "--max_lr", "0.1"], ["min_lr is 1.0", "max_lr 0.1"]),
        (["--num_training", "2"], ["num_training is 2", "at least"]),
        (["--trainer.fast_dev_run", "true"], ["fast_dev_run"]),
        (["--data.batch_size", "1000"], ["data.batch_size is 1000", "480"]),
        (["--num_trainin", "20"], ["did you mean num_training"]),
        (["--resume"], ["resume is no known setting", "woof lr-find --help"]),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    woof: Woof, small_sweep: list[str], options: list[str], words: list[str]
) -> None:
    outcome = woof("lr-find", *small_sweep, *options)
    assert outcome.code == 2
    assert all(word in outcome.err for word in words), outcome.err
    assert list(Path().iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_before_the_sweep(
    woof: Woof, small_sweep: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("woof_lightning.lit.trainer.lr_find", lambda *_, **__: pytest.fail("it swept"))
    SWEEP.parent.mkdir(parents=True)
    SWEEP.touch()
    outcome = woof("lr-find", *small_sweep, "--overwrite")
    assert outcome.code == 2
    assert "cannot be made" in outcome.err
    assert "--runs_dir" in outcome.err


def test_a_model_that_diverges_at_once(woof: Woof, small_sweep: list[str]) -> None:
    outcome = woof("lr-find", *small_sweep, "--min_lr", "1e6", "--max_lr", "1e9")
    assert outcome.code == 2
    assert "--min_lr" in outcome.err
    assert sorted(p.name for p in SWEEP.iterdir()) == ["curve.csv", "plot.png", "result.json"]
    assert json.loads((SWEEP / "result.json").read_text(encoding="utf-8"))["suggestion"] is None
