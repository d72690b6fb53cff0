"""The ways that are measured: every way to train, and variants of the bare loop and of Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from woof_lightning.cost.ready import ReadyExperiment
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.find import find_loop
from woof_lightning.loops.run import LoopRun
from woof_lightning.loops.ways import LOOPS, REFERENCE, WAYS, WOOF_FIT, Way
from woof_lightning.measure.code import framework_names, logical_lines
from woof_lightning.recipe.optim import Schedule
from woof_lightning.runs.folder import RunFolder

# Each function imports its framework itself: the start-up is measured, and other frameworks must not be part of it.
if TYPE_CHECKING:
    from lightning.pytorch import LightningModule
    from lightning.pytorch.callbacks import Callback

PACKAGE = Path(__file__).parents[1]
Train = Callable[[ReadyExperiment, RunFolder], None]


@dataclass(frozen=True)
class MeasuredWay:
    """A way to train that can be measured.

    Args:
        train: Trains an experiment and writes into a run's folder.
        way: Its files and its framework.
    """

    train: Train
    way: Way


def looped(name: str) -> Train:
    """Returns a function that trains with a loop of `woof_lightning.loops`."""

    def train(experiment: ReadyExperiment, folder: RunFolder) -> None:
        run = LoopRun(folder, name, experiment, {})
        find_loop(name)(experiment, run)
        run.finish()

    return train


def early_zero_grad(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains with the bare loop, but frees old gradients before the forward pass instead of after it."""
    from woof_lightning.loops import bare

    bare.train(EarlyZeroGrad(**vars(experiment)), LoopRun(folder, "bare", experiment, {}))


class EarlyZeroGrad(ReadyExperiment):
    """An experiment whose net sets gradients to None before its forward pass, in addition to what the loop does."""

    def build(self) -> tuple[nn.Module, Optimizer, Schedule]:
        """Returns the net, its optimizer and its schedule."""
        net, optimizer, schedule = super().build()
        net.register_forward_pre_hook(lambda *_: optimizer.zero_grad())
        return net, optimizer, schedule


def woof_fit(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains as `woof fit` does, with the same module, callbacks, loggers and checkpoints."""
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
    """Trains the module of `woof fit` with all features of Lightning's Trainer off."""
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
    """Trains the module of `woof fit` with `Trainer(barebones=True)`, which validates once and does nothing else."""
    from lightning.pytorch import Trainer

    trainer = Trainer(barebones=True, default_root_dir=folder.path, **trainer_options(experiment))
    fit(trainer, woof_module(experiment), experiment)


def lightning_barebones_no_search(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains as `lightning_barebones` does, but like `woof fit` without the search for NVIDIA's driver."""
    from woof_lightning.lit.trainer import no_search_for_a_driver

    with no_search_for_a_driver():
        lightning_barebones(experiment, folder)


def default_bar() -> Callback:
    """Returns Lightning's default bar. fastai installs rich; Lightning would then use the bar of rich."""
    from lightning.pytorch.callbacks import TQDMProgressBar

    return TQDMProgressBar()


def trainer_options(experiment: Experiment) -> dict[str, Any]:
    """Returns the settings that all ways with Lightning's Trainer share."""
    return {
        "max_epochs": experiment.trainer.max_epochs,
        "accelerator": experiment.device.type,
        "devices": 1,
        "precision": experiment.trainer.precision,
        "use_distributed_sampler": False,
    }


def woof_module(experiment: ReadyExperiment) -> LightningModule:
    """Returns the module of `woof fit` with the experiment's net."""
    from dataclasses import asdict

    from woof_lightning.lit.classifier import WoofClassifier

    module = WoofClassifier(**asdict(experiment.model))
    module.net = experiment.net()
    return module


def fit(trainer: Any, module: LightningModule, experiment: ReadyExperiment) -> None:
    """Trains a module with a Trainer on the experiment's batches."""
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
    # These use the module of `woof fit`, so its files are theirs.
    "lightning_off": MeasuredWay(lightning_off, WAYS[WOOF_FIT]),
    "lightning_barebones": MeasuredWay(lightning_barebones, WAYS[WOOF_FIT]),
    "lightning_barebones_no_search": MeasuredWay(lightning_barebones_no_search, WAYS[WOOF_FIT]),
}


def code_of(way: Way) -> dict[str, float]:
    """Returns counts of a way's code.

    Args:
        way: The way. Its files are read from the package.

    Returns:
        logical_lines: Logical lines in its files, without docstrings and comments.
        framework_names: Distinct names of the framework that its files use.
    """
    texts = [(PACKAGE / file).read_text() for file in way.files]
    names = set().union(*(framework_names(text, way.packages) for text in texts))
    return {"logical_lines": float(sum(map(logical_lines, texts))), "framework_names": float(len(names))}
