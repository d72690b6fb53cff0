"""The ways that are measured: every way to train, and variants of the bare loop and of Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from woof_lightning.cost.ready import ReadyExperiment
from woof_lightning.loops.find import find_loop
from woof_lightning.loops.run import LoopRun
from woof_lightning.loops.ways import LOOPS, REFERENCE, WAYS, WOOF_FIT, Way
from woof_lightning.runs.folder import RunFolder

# Each function imports its framework itself: the start-up is measured, and other frameworks must not be part of it.
if TYPE_CHECKING:
    from lightning.pytorch import LightningModule
    from lightning.pytorch.callbacks import Callback

Train = Callable[[ReadyExperiment, RunFolder], None]


@dataclass(frozen=True)
class MeasuredWay:
    """A way to train that can be measured.

    Args:
        train: Trains an experiment and writes into a run's folder.
        way: Its files and its framework.
        beyond_api: What it does that its framework's public interface does not offer.
    """

    train: Train
    way: Way
    beyond_api: str = ""


def looped(name: str) -> Train:
    """Returns a function that trains with a loop of `woof_lightning.loops`."""

    def train(experiment: ReadyExperiment, folder: RunFolder) -> None:
        run = LoopRun(folder, name, experiment, {})
        find_loop(name)(experiment, run)
        run.finish()

    return train


def woof_fit(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains as `woof fit` does, with the same module, callbacks, loggers and checkpoints."""
    from woof_lightning.cost.lightnings import trainer_options
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


def lightning_variant(name: str) -> Train:
    """Returns a function that trains in a way of `woof_lightning.cost.lightnings`."""

    def train(experiment: ReadyExperiment, folder: RunFolder) -> None:
        from woof_lightning.cost import lightnings
        from woof_lightning.lit.quiet import quieten_libraries

        quieten_libraries()
        getattr(lightnings, name)(experiment, folder)

    return train


def lightning_barebones(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains the module of `woof fit` with `Trainer(barebones=True)`, which validates once and does nothing else."""
    from lightning.pytorch import Trainer

    from woof_lightning.cost.lightnings import trainer_options

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


NO_SEARCH = "no search for a driver: it unsets an environment variable that Lightning sets"
VARIANT = replace(WAYS["lightning"], files=("cost/lightnings.py",))
MEASURED: dict[str, MeasuredWay] = {
    **{name: MeasuredWay(looped(name), WAYS[name]) for name in LOOPS},
    WOOF_FIT: MeasuredWay(
        woof_fit,
        WAYS[WOOF_FIT],
        f"{NO_SEARCH}; ModelCheckpoint's key is kept, not made anew at each hook; step hooks that do nothing are None",
    ),
    "bare_again": MeasuredWay(looped(REFERENCE), WAYS[REFERENCE]),
    "lightning_one_log": MeasuredWay(lightning_variant("lightning_one_log"), VARIANT),
    "lightning_lean": MeasuredWay(lightning_variant("lightning_lean"), VARIANT),
    # These use the module of `woof fit`, so its files are theirs.
    "lightning_barebones": MeasuredWay(lightning_barebones, WAYS[WOOF_FIT]),
    "lightning_barebones_no_search": MeasuredWay(lightning_barebones_no_search, WAYS[WOOF_FIT], NO_SEARCH),
}
