"""LightningCLI with the keys of the recipe, a run folder, and messages for users."""

from __future__ import annotations

import argparse
import inspect
import re
import traceback
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, Namespace
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.io import CheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from woof_lightning.cli.classes import DATA_CLASS, MODEL_CLASS, Classes, chosen_classes, current_folder_importable
from woof_lightning.cli.config_files import with_config_files, with_origin
from woof_lightning.cli.environment import PARSER_MODE, register_parser_mode
from woof_lightning.cli.messages import readable
from woof_lightning.cli.options import (
    CALL_KEYS,
    NOT_SAVED,
    SEED_KEYS,
    default_name,
    dotted_keys,
    experiment_problems,
    keep_whole_numbers,
    with_expanded_paths,
)
from woof_lightning.data.config import DataConfig
from woof_lightning.errors import UserError, raise_together
from woof_lightning.lit.averaging import averaging
from woof_lightning.lit.callbacks.checkpoints import DurableCheckpointIO
from woof_lightning.lit.callbacks.foreign import callback_problems
from woof_lightning.lit.lr_finder import check_one_device, check_sweep
from woof_lightning.lit.run import FitRun, as_list
from woof_lightning.lit.trainer import (
    TRAINER_DEFAULTS,
    WoofTrainer,
    check_accelerator,
    check_precision,
    requeued_by_its_script,
    run_callbacks,
)
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.runs.alone import check_alone
from woof_lightning.runs.config import PRECISION_KEY, canonical, flatten
from woof_lightning.runs.folder import RunFolder, made_folder

FIT, LR_FIND = "fit", "lr_find"
# Arguments of the verbs' Trainer methods that the verbs give themselves.
NOT_OPTIONS = {
    FIT: {"model", "train_dataloaders", "val_dataloaders", "datamodule", "ckpt_path", "weights_only"},
    LR_FIND: {"model", "datamodule"},
}
# What jsonargparse writes before a value that it cannot write.
EXCUSE = "Unable to serialize instance "
SWEEP_KEYS = ("min_lr", "max_lr", "num_training", "early_stop_threshold")


def run_cli(verb: str, args: Sequence[str], held: ExitStack) -> WoofCLI:
    """Runs a verb of LightningCLI and returns the CLI. Turns errors of its parser into a UserError.

    Args:
        verb: The name of the Trainer's method.
        args: The options.
        held: Takes what must be undone at the end: the lock on the run's folder, the empty folder of a failed sweep.

    Raises:
        UserError: For everything that the user can fix.
    """
    register_parser_mode()
    options: dict[str, Any] = {"exit_on_error": False, "allow_abbrev": False, "parser_mode": PARSER_MODE}
    shown = verb.replace("_", "-")
    held.enter_context(current_folder_importable())
    classes = chosen_classes(args)
    known = known_keys(verb, classes)
    words = [verb, *with_config_files(args, known, shown)]
    try:
        return WoofCLI(
            classes.model,
            classes.data,
            verb=verb,
            held=held,
            trainer_class=WoofTrainer,
            trainer_defaults=TRAINER_DEFAULTS,
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={**options, verb: {**options, "prog": f"woof {shown}"}},
            load_from_checkpoint_support=False,
            auto_configure_optimizers=False,
            args=words,
        )
    except (ArgumentError, argparse.ArgumentError) as error:
        raise UserError(with_origin(readable(str(error), known, shown), words)) from error
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        if not raised_by_lightning(error):
            raise
        raise UserError(f"Lightning cannot use the trainer's settings (trainer.*): {error}") from error


class WoofCLI(LightningCLI):
    """LightningCLI with a run folder.

    Args:
        verb: FIT or LR_FIND.
        held: Takes what must be undone at the end.
    """

    folder: RunFolder
    fit_run: FitRun
    settings: dict[str, Any]

    def __init__(self, *args: Any, verb: str, held: ExitStack, **kwargs: Any) -> None:
        self.verb, self.held = verb, held
        super().__init__(*args, **kwargs)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # A method: a parser takes 60 ms to build.
        """Returns the verb, with the arguments of its Trainer method that are not options."""
        return {self.verb: NOT_OPTIONS[self.verb]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the options of a run, and links seed_everything to the seeds of model and data."""
        parser.add_argument("--name", type=str | None, help="The run's name; by default the first config's name.")
        parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="Folder of all runs.")
        parser.add_argument(f"--{MODEL_CLASS}", type=str | None, help="A WoofClassifier subclass, as FILE.CLASS.")
        parser.add_argument(f"--{DATA_CLASS}", type=str | None, help="An ImagewoofDataModule subclass, as FILE.CLASS.")
        if parser.prog == "woof lr-find":
            parser.add_argument("--json", action="store_true", help="Print the result as JSON.")
            parser.add_argument("--overwrite", action="store_true", help="Replace the sweep that is there.")
        else:
            parser.add_argument("--resume", action="store_true", help="Resume the run, or start it if there is none.")
            parser.add_argument("--save_every", type=int | None, help="Steps between checkpoints within an epoch.")
            parser.add_argument("--allow_nan", action="store_true", help="Continue if the loss is NaN or infinite.")
            parser.add_argument("--overwrite", action="store_true", help="Replace the run if there is one.")
        for key in SEED_KEYS:
            parser.link_arguments("seed_everything", key)
        keep_whole_numbers(parser)

    @property
    def options(self) -> Namespace:
        """The verb's options."""
        options: Namespace = self.config[self.config.subcommand]
        return options

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses the options and checks all settings.

        Raises:
            UserError: If settings cannot be used. The error lists all of them.
        """
        super().parse_arguments(parser, args)
        with_expanded_paths(self.options)
        raise_together([*setting_problems(self.options), *experiment_problems(self.options)])

    def before_instantiate_classes(self) -> None:
        """Checks the run's folder, before anything is built.

        Raises:
            UserError: If it cannot be used.
        """
        options = self.options
        self.folder = RunFolder(options.runs_dir / (options.name or default_name(options.config)))
        self.settings = self._settings()
        if self.config.subcommand == LR_FIND:
            check_sweep(options.min_lr, options.max_lr, options.num_training, options.early_stop_threshold)
            if not options.overwrite:
                self.folder.check_no_sweep()
            return
        self.fit_run = FitRun(
            self.folder, self.settings, resume=options.resume, overwrite=options.overwrite, held=self.held
        )
        if not options.trainer.fast_dev_run:
            self.fit_run.look()

    def instantiate_classes(self) -> None:
        """Builds model, data and Trainer.

        Raises:
            UserError: If a class among the settings cannot be built, as a logger whose package is missing.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            if "Problem with given class_path" not in str(error):
                raise
            raise UserError(readable(str(error), (), FIT)) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Returns the Trainer, with the loggers, callbacks and plugins of a run."""
        call = self.config_init[self.config.subcommand]
        options = call.trainer
        if options.barebones or options.fast_dev_run:
            return super().instantiate_trainer(**kwargs)
        check_accelerator(options.accelerator, "trainer.accelerator")
        if self.config.subcommand == LR_FIND:
            if options.devices == "auto":  # On a machine with several GPUs, auto would take all.
                options.devices = 1
            # Made now: an error should not come after a sweep that takes minutes.
            self.held.enter_context(made_folder(self.folder.lr_find, "--runs_dir"))
            unseen: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
            trainer = super().instantiate_trainer(**unseen, **kwargs)
            check_precision(trainer, options.precision)
            check_one_device(trainer)
            check_alone(trainer.world_size)
            return trainer
        callbacks, plugins = as_list(options.callbacks), as_list(options.plugins)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(DurableCheckpointIO())
        if not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            plugins += requeued_by_its_script()
        schedule, resuming = self.options.model.schedule, self.fit_run.resume_from is not None
        raise_together(callback_problems(callbacks, schedule, resuming=resuming))
        if options.profiler == "overhead":
            from woof_lightning.profile.overhead import OverheadProfiler

            kwargs["profiler"] = OverheadProfiler(self.folder.path)
        own_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        trainer = super().instantiate_trainer(
            callbacks=[
                *callbacks,
                *averaging(self.options.model.ema_decay, callbacks),
                *run_callbacks(
                    self.folder,
                    self.settings,
                    progress=options.enable_progress_bar is not False and not own_bar,
                    checkpoints=options.enable_checkpointing is not False,
                    save_every=call.save_every,
                    max_time=options.max_time,
                    stop_on_nan=not call.allow_nan,
                ),
            ],
            logger=self.fit_run.loggers(options.logger),
            plugins=plugins,
            **kwargs,
        )
        assert isinstance(trainer, WoofTrainer)
        check_precision(trainer, options.precision)
        check_alone(trainer.world_size)
        trainer.resume_from = self.fit_run.resume_from
        return trainer

    def before_fit(self) -> None:
        """Prepares the data, then locks the run's folder."""
        self.fit_run.take(self.trainer, self.model, self.datamodule)

    def after_fit(self) -> None:
        """Prints the summary of the run."""
        if summary := self.fit_run.summary(self.trainer, self.datamodule):
            print(summary)

    def _settings(self) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=f"(?s).*{EXCUSE}")
            try:
                text = self.parser.dump(self.config, skip_unset=False)
            except ValueError as error:  # Such as for Timer's interval, whose default is no plain text.
                raise UserError(
                    f"the settings cannot be written to config.yaml ({unwritable(error)}): give that argument a plain "
                    "value, such as a text"
                ) from error
        settings: dict[str, Any] = yaml.safe_load(text)[self.config.subcommand]
        settings = without_excuses(settings)
        settings["trainer"]["precision"] = canonical(flatten(settings))[PRECISION_KEY]
        usual = [key for key in (MODEL_CLASS, DATA_CLASS) if settings[key] is None]
        return {key: value for key, value in settings.items() if key not in (*NOT_SAVED, *usual)}


def without_excuses(value: Any) -> Any:
    """Returns settings as they were given, where jsonargparse could not write them.

    It takes a text for the path of a function if the setting may be either, as ModelPruning's pruning_fn
    (`serialize_as_import_path` in jsonargparse/_typehints.py).

    Args:
        value: Settings, nested.
    """
    if isinstance(value, dict):
        return {key: without_excuses(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_excuses(item) for item in value]
    return value.removeprefix(EXCUSE) if isinstance(value, str) else value


def unwritable(error: ValueError) -> str:
    """Returns what jsonargparse says of the value that it cannot write, which is in the midst of a long message."""
    found = re.search(r"\('cannot represent an object', (.*?)\)\n", str(error))
    return found[1] if found else str(error).splitlines()[0]


def raised_by_lightning(error: BaseException) -> bool:
    """Returns whether Lightning itself raised an error, as it does about settings, and not torch or this project."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, MisconfigurationException) or (
        bool(frames) and str(frames[-1].f_globals.get("__name__")).startswith("lightning.")
    )


def setting_problems(options: Namespace) -> list[str]:
    """Returns one sentence for each setting that cannot be used, among those that only LightningCLI's verbs take."""
    problems = []
    save_every = options.get("save_every")
    if save_every is not None and save_every < 1:
        problems.append(f"save_every is {save_every}: expected a number of steps, at least 1")
    endless = options.trainer.max_epochs == -1 and options.trainer.max_steps == -1
    if options.model.schedule == "onecycle" and endless:
        problems.append(
            "model.schedule is 'onecycle' with trainer.max_epochs -1: expected a finite number of steps; "
            "set trainer.max_epochs or trainer.max_steps, or use model.schedule step"
        )
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if options.trainer[name] == 0:
            problems.append(f"trainer.{name} is {options.trainer[name]}: nothing would be trained; expected above 0")
    for unit in ("epochs", "steps"):
        least, most = options.trainer[f"min_{unit}"], options.trainer[f"max_{unit}"]
        if least is not None and most not in (None, -1) and least > most:
            problems.append(f"trainer.min_{unit} is {least}: expected at most trainer.max_{unit}, which is {most}")
    if options.trainer.overfit_batches:
        problems.append(
            f"trainer.overfit_batches is {options.trainer.overfit_batches}: Lightning would take the first images, "
            "which are all of one class; use trainer.limit_train_batches"
        )
    return problems


def known_keys(verb: str = FIT, classes: Classes | None = None) -> list[str]:
    """Returns all keys that a verb takes, dotted.

    Args:
        verb: The verb.
        classes: The classes that it trains with; by default this project's.
    """
    trainer = [f"trainer.{name}" for name in list(inspect.signature(Trainer.__init__).parameters)[1:]]
    of_the_call = ["resume", "save_every", "allow_nan"] if verb == FIT else ["json", *SWEEP_KEYS]
    nested = dotted_keys({"model": ModelConfig, "data": DataConfig})
    own = [key for key in (classes or Classes()).own_arguments() if key not in (*nested, *SEED_KEYS)]
    return [*CALL_KEYS, *of_the_call, MODEL_CLASS, DATA_CLASS, "seed_everything", *nested, *own, *trainer]
