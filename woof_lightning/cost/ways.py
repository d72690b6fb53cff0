"""What is measured: every way to train, and Lightning's Trainer in three more set-ups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from woof_lightning.cost.ready import ReadyExperiment
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.run import LoopRun
from woof_lightning.loops.ways import LOOPS, REFERENCE, WAYS, WOOF_FIT, Way, find_loop
from woof_lightning.measure.code import framework_names, logical_lines
from woof_lightning.recipe.optim import Schedule
from woof_lightning.runs.folder import RunFolder

# A way's framework is imported where it trains: its start-up is measured, and no other framework may be part of it.
if TYPE_CHECKING:
    from lightning.pytorch import LightningModule
    from lightning.pytorch.callbacks import Callback

PACKAGE = Path(__file__).parents[1]
Train = Callable[[ReadyExperiment, RunFolder], None]


@dataclass(frozen=True)
class MeasuredWay:
    """A way to train, as it is measured.

    Args:
        train: Trains an experiment into a run's folder.
        way: Its files and its framework.
    """

    train: Train
    way: Way


def looped(name: str) -> Train:
    """Trains with a loop of `woof_lightning.loops`."""

    def train(experiment: ReadyExperiment, folder: RunFolder) -> None:
        run = LoopRun(folder, name, experiment, {})
        find_loop(name)(experiment, run)
        run.finish()

    return train


def early_zero_grad(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains with the bare loop, old gradients freed before the forward pass instead of after it."""
    from woof_lightning.loops import bare

    bare.train(EarlyZeroGrad(**vars(experiment)), LoopRun(folder, "bare", experiment, {}))


class EarlyZeroGrad(ReadyExperiment):
    """An experiment in which gradients are set to None before the forward pass, wherever the loop does it."""

    def build(self) -> tuple[nn.Module, Optimizer, Schedule]:
        """The net, its optimizer and its schedule."""
        net, optimizer, schedule = super().build()
        net.register_forward_pre_hook(lambda *_: optimizer.zero_grad())
        return net, optimizer, schedule


def woof_fit(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains as `woof fit` does: its module, its callbacks, its loggers, its checkpoints."""
    from woof_lightning.lit.callbacks.checkpoints import DurableCheckpointIO
    from woof_lightning.lit.trainer import TRAINER_DEFAULTS, WoofTrainer, run_callbacks, run_loggers

    options = (
        TRAINER_DEFAULTS | trainer_options(experiment) | {"log_every_n_steps": experiment.trainer.log_every_n_steps}
    )
    trainer = WoofTrainer(
        callbacks=run_callbacks(folder, {}),
        logger=run_loggers(folder),
        plugins=[DurableCheckpointIO()],
        **options,
    )
    fit(trainer, woof_module(experiment), experiment)


def lightning_off(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains the same module with all of the Trainer's features off."""
    from lightning.pytorch import Trainer

    trainer = Trainer(
        default_root_dir=folder.path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **trainer_options(experiment),
    )
    fit(trainer, woof_module(experiment), experiment)


def lightning_barebones(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains the same module under `Trainer(barebones=True)`, which validates once and does nothing else."""
    from lightning.pytorch import Trainer

    trainer = Trainer(barebones=True, default_root_dir=folder.path, **trainer_options(experiment))
    fit(trainer, woof_module(experiment), experiment)


def lightning_barebones_no_search(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains as `lightning_barebones`, without the search for NVIDIA's driver that `woof fit` leaves out."""
    from woof_lightning.lit.trainer import no_search_for_a_driver

    with no_search_for_a_driver():
        lightning_barebones(experiment, folder)


def default_bar() -> Callback:
    """Lightning's bar where Lightning is installed alone; fastai brings rich, and Lightning would take its bar."""
    from lightning.pytorch.callbacks import TQDMProgressBar

    return TQDMProgressBar()


def trainer_options(experiment: Experiment) -> dict[str, Any]:
    """The Trainer's settings that every Lightning arm shares."""
    return {
        "max_epochs": experiment.trainer.max_epochs,
        "accelerator": experiment.device.type,
        "devices": 1,
        "precision": experiment.trainer.precision,
        "use_distributed_sampler": False,
    }


def woof_module(experiment: ReadyExperiment) -> LightningModule:
    """The project's LightningModule around the experiment's net."""
    from dataclasses import asdict

    from woof_lightning.lit.classifier import WoofClassifier

    module = WoofClassifier(**asdict(experiment.model))
    module.net = experiment.net()
    return module


def fit(trainer: Any, module: LightningModule, experiment: ReadyExperiment) -> None:
    """Trains on the experiment's batches."""
    from woof_lightning.lit.datamodule import ImagewoofDataModule
    from woof_lightning.lit.quiet import quieten_libraries

    class ReadyDataModule(ImagewoofDataModule):
        def train_dataloader(self) -> Any:
            return experiment.loaders()[0]

        def val_dataloader(self) -> Any:
            return experiment.loaders()[1]

    quieten_libraries()
    data = ReadyDataModule(**vars(experiment.data))
    data.index = experiment.index
    trainer.fit(module, datamodule=data)


MEASURED: dict[str, MeasuredWay] = {
    **{name: MeasuredWay(looped(name), WAYS[name]) for name in LOOPS},
    WOOF_FIT: MeasuredWay(woof_fit, WAYS[WOOF_FIT]),
    "bare_again": MeasuredWay(looped(REFERENCE), WAYS[REFERENCE]),
    "bare_early_zero_grad": MeasuredWay(early_zero_grad, WAYS[REFERENCE]),
    # The module of `woof fit` in Lightning's own Trainer.
    "lightning_off": MeasuredWay(lightning_off, WAYS[WOOF_FIT]),
    "lightning_barebones": MeasuredWay(lightning_barebones, WAYS[WOOF_FIT]),
    "lightning_barebones_no_search": MeasuredWay(lightning_barebones_no_search, WAYS[WOOF_FIT]),
}


def code_of(way: Way) -> dict[str, float]:
    """What a way's files hold.

    Returns:
        logical_lines: Statements as Python counts them, without docstrings and comments.
        framework_names: Distinct names of the framework that they use.
    """
    texts = [(PACKAGE / file).read_text() for file in way.files]
    names = set().union(*(framework_names(text, way.packages) for text in texts))
    return {"logical_lines": float(sum(map(logical_lines, texts))), "framework_names": float(len(names))}
