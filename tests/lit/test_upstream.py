"""Faults of the libraries that this project works around: each test fails on the day its fault is mended."""

from __future__ import annotations

import errno
import gc
import io
import math
import pickle
import re
import signal
import subprocess
import sys
import warnings
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fastai.callback.progress  # noqa: F401  Gives Learner no_bar().
import pytest
import torch
import torchvision
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from fastai.callback.core import Callback as FastaiCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from ignite.engine import Engine, Events, supervised_training_step_amp
from lightning.fabric import Fabric
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.tuner.tuning import Tuner
from torch.utils.data import DataLoader, Sampler
from torchmetrics import MeanMetric

from tests.conftest import Woof
from woof_lightning.lit.callbacks.hooks import STEP_HOOKS, without_idle_step_hooks
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.quiet import NOT_FOR_USERS
from woof_lightning.lit.trainer import NVML_CHECK

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Shuffled(Sampler[int]):
    """Yields its epoch, so that a batch tells which epoch's order it is of."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter([self.epoch] * 4)

    def __len__(self) -> int:
        return 4


class Tiny(LightningModule):
    def __init__(self, workers: int = 0) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.workers = workers
        self.orders: list[int] = []

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.arange(9.0)[:, None], sampler=Shuffled(), batch_size=2, num_workers=self.workers)  # type: ignore[arg-type]

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.orders.append(int(batch[0, 0]))
        loss: torch.Tensor = self.layer(batch).sum()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def last(folder: Path, **options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False, **options)


@pytest.mark.parametrize(("workers", "order"), [(0, 2), (1, 0)])
def test_a_resumed_epoch_takes_the_wrong_order_with_workers(tmp_path: Path, workers: int, order: int) -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/19764; see ImagewoofDataModule.state_dict."""
    Trainer(max_epochs=2, callbacks=[last(tmp_path)], **QUIET).fit(Tiny(workers))
    resumed = Tiny(workers)
    Trainer(max_epochs=3, callbacks=[last(tmp_path)], **QUIET).fit(resumed, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.orders == [order, order]


def test_steps_are_estimated_before_the_epoch_is_known(tmp_path: Path) -> None:
    """Why the datamodule cannot ask the Trainer; see ImagewoofDataModule.state_dict."""
    seen = []

    class Estimating(Tiny):
        def train_dataloader(self) -> DataLoader[Any]:
            seen.append(self.trainer.fit_loop.epoch_progress.current.ready)
            return super().train_dataloader()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            assert self.trainer.estimated_stepping_batches
            return super().configure_optimizers()

    Trainer(max_epochs=2, callbacks=[last(tmp_path)], **QUIET).fit(Tiny())
    Trainer(max_epochs=3, callbacks=[last(tmp_path)], **QUIET).fit(Estimating(), ckpt_path=tmp_path / "last.ckpt")
    assert seen == [0]


def test_save_last_is_not_the_last(tmp_path: Path) -> None:
    """See best_and_last."""

    class Worsening(Tiny):
        def on_train_epoch_end(self) -> None:
            self.log("score", -float(self.current_epoch))

    callback = ModelCheckpoint(tmp_path, monitor="score", mode="max", save_last=True, save_on_train_epoch_end=True)
    Trainer(max_epochs=3, callbacks=[callback], **QUIET).fit(Worsening())
    assert torch.load(tmp_path / "last.ckpt")["epoch"] == 0


def test_a_moved_checkpoint_forgets_its_best_score(tmp_path: Path) -> None:
    """See MovableModelCheckpoint."""
    there, here = ModelCheckpoint(tmp_path / "there"), ModelCheckpoint(tmp_path / "here")
    there.best_model_score = torch.tensor(0.7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here.load_state_dict(there.state_dict())
    assert here.best_model_score is None


def test_checkpoints_are_staged_without_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/21800; see DurableCheckpointIO."""
    flushed = []
    monkeypatch.setattr("os.fsync", lambda descriptor: flushed.append(descriptor))
    Trainer(max_epochs=1, callbacks=[last(tmp_path)], **QUIET).fit(Tiny())
    assert (tmp_path / "last.ckpt").is_file()
    assert not flushed


def test_torch_loads_a_damaged_checkpoint(tmp_path: Path) -> None:
    """See zip_problem."""
    torch.save({"weights": torch.zeros(10_000)}, tmp_path / "x.ckpt")
    content = bytearray((tmp_path / "x.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "x.ckpt").write_bytes(content)
    assert torch.load(tmp_path / "x.ckpt")["weights"].count_nonzero() == 1


def test_csv_logger_deletes_the_metrics_of_a_resumed_run(tmp_path: Path) -> None:
    """See MetricsLogger."""
    for value in (1.0, 2.0):
        logger = CSVLogger(tmp_path, name="", version="")
        logger.log_metrics({"a": value}, 0)
        logger.save()
    assert "1.0" not in (tmp_path / "metrics.csv").read_text()


def test_tensorboard_logger_writes_an_empty_hparams_file(tmp_path: Path) -> None:
    """See EventsLogger.save."""
    logger = TensorBoardLogger(tmp_path, name="", version="")
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    assert (tmp_path / "hparams.yaml").is_file()


def test_tensorboard_prints_the_disk_s_error_and_hands_it_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """See disk_errors_told_once."""
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


class Widened(Tiny):
    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width = width


def test_a_checkpoint_s_settings_overrule_those_of_the_command_line(tmp_path: Path) -> None:
    """See WoofTrainer."""
    options: dict[str, Any] = {
        "model_class": Widened,
        "save_config_callback": None,
        "auto_configure_optimizers": False,
        "trainer_defaults": {**QUIET, "max_epochs": 1, "default_root_dir": tmp_path},
    }
    LightningCLI(**options, args=["fit", "--model.width", "1"]).trainer.save_checkpoint(tmp_path / "one.ckpt")
    resumed = LightningCLI(**options, args=["fit", "--model.width", "2", "--ckpt_path", str(tmp_path / "one.ckpt")])
    assert resumed.model.width == 1


def test_ctrl_c_is_exit_code_1() -> None:
    """See WoofTrainer.fit."""
    import signal

    class Interrupting(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as caught:
        Trainer(max_epochs=1, callbacks=[Interrupting()], enable_checkpointing=False, **QUIET).fit(Tiny())
    signal.signal(signal.SIGINT, handler)
    assert caught.value.code == 1


def test_a_tip_is_advertised() -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/21294; see quieten_libraries."""
    code = "from lightning.pytorch import Trainer; Trainer(accelerator='cpu')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Tip" in done.stderr + done.stdout


def test_torchvision_still_decodes() -> None:
    """0.29 deprecates it in favour of torchcodec; see read_image."""
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoded = torchvision.io.encode_jpeg(image)
    with pytest.warns(DeprecationWarning, match="TorchCodec"):
        assert torchvision.io.decode_image(encoded).shape == (3, 4, 4)


class Sweeping(Tiny):
    """Gives a constant loss, and notes what a sweep does to it."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.validations = 0
        self.beta1: set[float] = set()

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.zeros(4, 1), batch_size=2)  # type: ignore[arg-type]

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.beta1.add(self.trainer.optimizers[0].param_groups[0]["betas"][0])
        loss: torch.Tensor = self.layer(batch).sum() * 0 + 2.3026
        return loss

    def val_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.validations += 1

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), 0.1)
        return [optimizer], [torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100)]


def swept(folder: Path, model: LightningModule, steps: int, **options: Any) -> Any:
    trainer = Trainer(default_root_dir=folder, enable_checkpointing=False, **{**QUIET, "max_epochs": 99, **options})
    return Tuner(trainer).lr_find(model, num_training=steps, update_attr=False)


def test_lr_find_records_a_constant_loss_as_half_of_itself(tmp_path: Path) -> None:
    """See SweepRecorder."""
    losses = swept(tmp_path, Sweeping(), 20).results["loss"]
    assert losses[0] == pytest.approx(2.3026 / 1.98)
    assert losses[-1] < 2.25


def test_lr_find_takes_the_steepest_descent_on_the_linear_axis() -> None:
    """https://github.com/Lightning-AI/pytorch-lightning/issues/21141; see runs/lr_curve.py."""
    from lightning.pytorch.tuner.lr_finder import _LRFinder

    finder = _LRFinder("exponential", 1e-8, 10, 100)
    rates = [1e-8 * 10 ** (9 * step / 99) for step in range(100)]
    # Falls by 1e-4 per step at 1e-6, and by ten thousand times that at 0.01.
    losses = [2.3 - (1e-4 if lr > 1e-6 else 0) - (1.0 if lr > 1e-2 else 0) for lr in rates]
    finder.results = {"lr": rates, "loss": losses}
    assert finder.suggestion() < 2e-6  # type: ignore[operator]


def test_lr_find_ends_at_max_epochs(tmp_path: Path) -> None:
    """See _prepared in lit/lr_finder.py."""
    assert len(swept(tmp_path, Sweeping(), 50, max_epochs=1).results["lr"]) == 2


def test_lr_find_validates_even_when_told_not_to(tmp_path: Path) -> None:
    """See _prepared in lit/lr_finder.py."""
    model = Sweeping()
    swept(tmp_path, model, 20, limit_val_batches=0)
    assert model.validations > 0


def test_lr_find_runs_with_the_betas_of_one_cycle(tmp_path: Path) -> None:
    """See _stated_momentum."""
    model = Sweeping()
    swept(tmp_path, model, 20)
    assert model.beta1 == {0.95}


def test_lr_find_dies_of_a_path_and_leaves_its_checkpoint(tmp_path: Path) -> None:
    """See _no_checkpoint_left."""
    with pytest.raises(pickle.UnpicklingError, match="PosixPath"):
        swept(tmp_path, Sweeping(folder=tmp_path), 20)
    assert len(list(tmp_path.glob(".lr_find_*.ckpt"))) == 1


def test_lr_find_leaves_out_partly_accumulated_steps(tmp_path: Path) -> None:
    """See SweepRecorder: epochs of 2 batches never make a group of 4, and yet each ends with a step."""
    results = swept(tmp_path, Sweeping(), 20, accumulate_grad_batches=4).results
    assert len(results["lr"]) == 0


def test_lr_find_shows_a_bar_even_when_told_not_to(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """See started in lit/lr_finder.py; the bar that the Trainer itself would show is turned off here."""
    swept(tmp_path, Sweeping(), 20)
    assert "Finding best initial lr" in capfd.readouterr().err


def test_lr_find_returns_nothing_for_few_points(tmp_path: Path) -> None:
    """See LRFound.problem."""
    assert swept(tmp_path, Sweeping(), 12).suggestion() is None


def test_lr_find_drops_callbacks(tmp_path: Path) -> None:
    """Why the recorder is added in on_train_start; see _prepared in lit/lr_finder.py."""
    called = []

    class Watching(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            called.append(1)

    swept(tmp_path, Sweeping(), 20, callbacks=[Watching()])
    assert not called


def test_a_moved_metric_forgets_its_type(tmp_path: Path) -> None:
    """See WoofClassifier.on_validation_epoch_start."""

    class Measuring(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.mean = MeanMetric()

        def setup(self, stage: str) -> None:
            self.mean.set_dtype(torch.float64)

    model = Measuring()
    Trainer(max_epochs=1, default_root_dir=tmp_path, enable_checkpointing=False, **QUIET).fit(model)
    assert model.mean.dtype == torch.float32


def test_fabric_tells_the_sampler_its_own_count_of_rounds() -> None:
    """Why loops/fabric.py does not set up its loaders: a resumed run would begin with epoch 0's order."""
    sampler = Shuffled()
    loader: DataLoader[Any] = DataLoader(torch.arange(9.0)[:, None], sampler=sampler, batch_size=2)  # type: ignore[arg-type]
    prepared: Any = Fabric(accelerator="cpu").setup_dataloaders(loader, use_distributed_sampler=False)
    sampler.set_epoch(2)
    assert int(next(iter(prepared))[0, 0]) == 0


def test_accelerate_tells_the_sampler_its_own_count_of_rounds() -> None:
    """See loops/accelerate.py, which tells the prepared loader the epoch."""
    sampler = Shuffled()
    loader: DataLoader[Any] = DataLoader(torch.arange(9.0)[:, None], sampler=sampler, batch_size=2)  # type: ignore[arg-type]
    prepared = Accelerator(cpu=True).prepare_data_loader(loader)
    sampler.set_epoch(2)
    assert int(next(iter(prepared))[0, 0]) == 0


def test_accelerate_refuses_another_precision_in_one_process() -> None:
    """See the reset of its state in loops/accelerate.py."""
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(cpu=True, mixed_precision="no")
    with pytest.raises(ValueError, match="already been initialized"):
        Accelerator(cpu=True, mixed_precision="bf16")


def test_accelerate_s_bar_ignores_the_terminal() -> None:
    """See loops/accelerate.py: tqdm's disable=None means bars on terminals alone."""
    from accelerate.utils import tqdm

    assert not tqdm([], disable=None).disable


def test_fastprogress_takes_every_output_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """See Bars in loops/hand_rolled.py."""
    from fastprogress import fastprogress

    monkeypatch.setattr(fastprogress, "stdout", io.StringIO())
    assert fastprogress.printing()


class Counting(FastaiCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.ended: list[int] = []
        self.rates: list[float] = []

    def after_epoch(self) -> None:
        self.ended.append(self.learn.epoch)

    def before_batch(self) -> None:
        self.rates.append(self.learn.opt.opt.param_groups[0]["lr"])


def fastai_learner(folder: Path, callback: FastaiCallback | None = None) -> Learner:
    net = torch.nn.Linear(1, 1)
    loader = DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 1), torch.ones(4, 1)), batch_size=4)
    return Learner(
        DataLoaders(loader, loader, device=torch.device("cpu")),
        net,
        loss_func=torch.nn.functional.mse_loss,
        opt_func=OptimWrapper(opt=torch.optim.SGD(net.parameters(), lr=0.5)),
        cbs=[callback] if callback else [],
        path=folder,
    )


def test_fastai_overwrites_the_rate_and_ends_skipped_epochs(tmp_path: Path) -> None:
    """See Recipe.before_fit and after_epoch in loops/fastai.py."""
    counting = Counting()
    learner = fastai_learner(tmp_path, counting)
    with learner.no_bar(), learner.no_logging():
        learner.fit(3, start_epoch=2)
    assert counting.ended == [0, 1, 2]
    assert set(counting.rates) == {0.001}


def test_a_fastai_learner_outlives_its_use(tmp_path: Path) -> None:
    """See the end of train in loops/fastai.py."""
    learner = fastai_learner(tmp_path)
    loaders = weakref.ref(learner.dls)
    gc.disable()
    try:
        del learner
        assert loaders() is not None
    finally:
        gc.enable()


def test_ignite_s_helper_does_not_autocast_on_the_cpu() -> None:
    """See update in loops/ignite.py."""
    types = []

    class Looking(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            output = super().forward(input)
            types.append(output.dtype)
            return output

    net = Looking(1, 1)
    step = supervised_training_step_amp(net, torch.optim.SGD(net.parameters()), torch.nn.functional.mse_loss, "cpu")
    step(Engine(lambda engine, batch: None), (torch.ones(2, 1), torch.ones(2, 1)))
    assert types == [torch.float32]


def test_an_ignite_engine_at_its_end_starts_over() -> None:
    """See the end of train in loops/ignite.py."""
    begun: list[int] = []
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: begun.append(engine.state.epoch))
    engine.load_state_dict({"epoch": 2, "max_epochs": 2, "epoch_length": 1})
    engine.run([0], max_epochs=2, epoch_length=1)
    assert begun == [1, 2]


def test_fastai_warns_when_it_is_imported() -> None:
    """See import_quietly in loops/verb.py."""
    code = "import fastai.learner, fastai.optimizer, fastai.callback.progress, fastai.data.core"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch.jit.script" in done.stderr


def test_importing_lightning_asks_for_a_search_for_nvidia_s_driver() -> None:
    """See no_search_for_a_driver: https://github.com/Lightning-AI/pytorch-lightning/pull/15110."""
    script = "import os; os.environ.pop('{0}', None); import lightning.fabric; print(os.environ.get('{0}'))"
    command = [sys.executable, "-c", script.format(NVML_CHECK)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "1"


def test_a_checkpoint_callback_makes_its_key_anew_each_time() -> None:
    """See MovableModelCheckpoint.state_key."""
    callback = ModelCheckpoint(monitor="val/acc1")
    before = callback.state_key
    callback.monitor = "val/loss"
    assert callback.state_key != before


def test_lightning_trains_on_after_nan() -> None:
    """See NonFiniteLossGuard."""

    class Spoilt(Tiny):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            return super().training_step(batch, batch_idx) * math.nan

    trainer = Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)
    trainer.fit(Spoilt())
    assert trainer.state.finished


def test_sigterm_is_exit_code_0_without_a_checkpoint(tmp_path: Path) -> None:
    """See StopOnSignal."""
    code = (
        "import signal\n"
        "from tests.lit.test_upstream import QUIET, Tiny, Trainer, last\n"
        "from pathlib import Path\n"
        "class Stopped(Tiny):\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "        return super().training_step(batch, batch_idx)\n"
        f"Trainer(max_epochs=1, callbacks=[last(Path({str(tmp_path)!r}))], **QUIET).fit(Stopped())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, (tmp_path / "last.ckpt").exists()) == (0, False), done.stderr


def test_a_save_after_an_epoch_s_last_batch_loses_its_validation(tmp_path: Path) -> None:
    """See can_save."""
    validated: list[int] = []

    class Validated(Tiny):
        def val_dataloader(self) -> DataLoader[Any]:
            return self.train_dataloader()

        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            validated.append(self.current_epoch)

    class SaveAtTheEnd(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            if trainer.is_last_batch:
                trainer.save_checkpoint(tmp_path / "end.ckpt")
                raise RuntimeError("cut")

    options = {**QUIET, "num_sanity_val_steps": 0, "enable_checkpointing": False}
    with pytest.raises(RuntimeError, match="cut"):
        Trainer(max_epochs=2, callbacks=[SaveAtTheEnd()], **options).fit(Validated())
    Trainer(max_epochs=2, **options).fit(Validated(), ckpt_path=tmp_path / "end.ckpt")
    assert set(validated) == {1}


def test_a_hook_that_is_no_callable_is_passed_over() -> None:
    """See without_idle_step_hooks."""

    @without_idle_step_hooks
    class Lean(Callback):
        ended = 0

        def on_train_batch_end(self, *args: Any) -> None:
            Lean.ended += 1

    Trainer(max_epochs=1, enable_checkpointing=False, callbacks=[Lean()], **QUIET).fit(Tiny())
    assert Lean.ended == 2
    idle = [name for name in STEP_HOOKS if getattr(Lean, name) is None]
    assert idle == [name for name in STEP_HOOKS if name != "on_train_batch_end"]


def test_lightning_warns_of_what_needs_no_warning(
    woof: Woof, small_fit: list[str], monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """lit/quiet.py; of sync_dist with several devices alone, of workers with more than two cores."""
    monkeypatch.setattr("woof_lightning.lit.cli.quieten_libraries", lambda: None)
    monkeypatch.setattr(sys, "argv", ["woof", "fit"])
    warnings.simplefilter("always")
    options = [*small_fit, "--trainer.log_every_n_steps", "9", "--save_every", "1"]
    real = WoofClassifier.training_step

    def stopped(self: WoofClassifier, batch: Any, batch_idx: int) -> torch.Tensor:
        if batch_idx == 1:
            signal.raise_signal(signal.SIGTERM)
        return real(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(WoofClassifier, "training_step", stopped)
        assert woof("fit", *options).code == 143
    assert woof("fit", *options, "--resume").code == 0
    seen = [str(warning.message) for warning in recwarn]
    expected = set(NOT_FOR_USERS) - {"sync_dist=True", "does not have many workers"}
    assert [text for text in expected if not any(re.search(text, message) for message in seen)] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no file that is always full")
def test_torch_hides_why_a_file_cannot_be_written() -> None:
    """lit/checkpoints.py catches RuntimeError too."""
    full = Path("/dev/full").open("wb")  # noqa: SIM115  Its end fails as well.
    with pytest.raises(RuntimeError):
        torch.save({"weights": torch.zeros(100_000)}, full)
    with suppress(OSError):
        full.close()


def test_the_post_s_accuracy_cannot_be_computed() -> None:
    """docs/hand-rolled-and-lightning.md: why the recipe's metrics stand in the place of the post's."""
    correct = torch.zeros(4, 5, dtype=torch.bool).t()
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        correct[:5].view(-1)
