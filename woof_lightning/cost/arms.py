"""The arms of the comparison: every loop of the project, and the Lightning way in three dresses."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from woof_lightning.cost.ready import ReadyExperiment
from woof_lightning.loops.experiment import Experiment
from woof_lightning.loops.run import LoopRun
from woof_lightning.recipe.optim import Schedule
from woof_lightning.runs.folder import RunFolder

# An arm's frameworks are imported where it trains: its start-up is measured, and no other's may be in it.
if TYPE_CHECKING:
    from lightning.pytorch import LightningModule
    from lightning.pytorch.callbacks import Callback

PACKAGE = Path(__file__).parents[1]
Train = Callable[[ReadyExperiment, RunFolder], None]


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Args:
        train: Trains an experiment into a run's folder.
        user_files: What a person writes for it, relative to the package.
        frameworks: The distributions to install beside torch, torchvision and tensorboard.
        packages: The import names of what it calls.
        entry: The modules of its framework that a script imports first.
    """

    train: Train
    user_files: tuple[str, ...]
    frameworks: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    entry: tuple[str, ...] = ()


def looped(name: str) -> Train:
    """Trains with a loop of `woof_lightning.loops`."""

    def train(experiment: ReadyExperiment, folder: RunFolder) -> None:
        module = importlib.import_module(f"woof_lightning.loops.{name}")
        run = LoopRun(folder, name, experiment, {})
        module.train(experiment, run)
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


def lightning(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains as `woof fit` does: its module, its callbacks, its loggers, its checkpoints."""
    from woof_lightning.lit.checkpoints import DurableCheckpointIO
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


def lightning_usual(experiment: ReadyExperiment, folder: RunFolder) -> None:
    """Trains as the tutorials do: default bar, logger and checkpoint, every metric logged at every step."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import ModelSummary

    from woof_lightning.cost.ready import ready_net
    from woof_lightning.cost.usual import UsualClassifier

    net = ready_net(experiment.arch, channels_last=experiment.model.channels_last)
    trainer = Trainer(
        default_root_dir=folder.path,
        log_every_n_steps=experiment.trainer.log_every_n_steps,
        num_sanity_val_steps=0,
        callbacks=[default_bar(), ModelSummary()],
        **trainer_options(experiment),
    )
    fit(trainer, UsualClassifier(net, experiment.model), experiment)


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

    from woof_lightning.cost.ready import ready_net
    from woof_lightning.lit.classifier import WoofClassifier

    module = WoofClassifier(**asdict(experiment.model))
    module.net = ready_net(experiment.arch, channels_last=experiment.model.channels_last)
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


# Batches come from elsewhere in every arm: no datamodule counts.
LIGHTNING_FILES = ("lit/classifier.py",)


def lightning_arm(train: Train, user_files: tuple[str, ...] = LIGHTNING_FILES) -> Arm:
    """An arm of the Lightning way."""
    packages = ("lightning", "lightning_utilities", "torchmetrics")
    return Arm(train, user_files, ("lightning",), packages, ("lightning.pytorch",))


ARMS: dict[str, Arm] = {
    "bare": Arm(looped("bare"), ("loops/bare.py",)),
    "bare_again": Arm(looped("bare"), ("loops/bare.py",)),
    "bare_early_zero_grad": Arm(early_zero_grad, ("loops/bare.py",)),
    "hand_rolled": Arm(
        looped("hand_rolled"),
        ("loops/hand_rolled.py",),
        ("pytorch-nn-tools", "fastprogress"),
        ("pytorch_nn_tools", "fastprogress"),
        ("pytorch_nn_tools.train.checkpoint", "fastprogress.fastprogress"),
    ),
    "fabric": Arm(
        looped("fabric"), ("loops/fabric.py",), ("lightning",), ("lightning", "lightning_fabric"), ("lightning.fabric",)
    ),
    "accelerate": Arm(
        looped("accelerate"), ("loops/accelerate.py",), ("accelerate",), ("accelerate",), ("accelerate",)
    ),
    "ignite": Arm(looped("ignite"), ("loops/ignite.py",), ("pytorch-ignite",), ("ignite",), ("ignite.engine",)),
    "fastai": Arm(
        looped("fastai"),
        ("loops/fastai.py",),
        ("fastai",),
        ("fastai", "fastcore", "fastprogress"),
        ("fastai.learner",),
    ),
    "lightning": lightning_arm(lightning),
    "lightning_off": lightning_arm(lightning_off),
    "lightning_barebones": lightning_arm(lightning_barebones),
    "lightning_barebones_no_search": lightning_arm(lightning_barebones_no_search),
    "lightning_usual": lightning_arm(lightning_usual, ("cost/usual.py",)),
}
