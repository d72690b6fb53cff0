"""`woof fit` and `woof lr-find`: LightningCLI with the recipe's keys, a run folder, and errors for people."""

from __future__ import annotations

import argparse
import inspect
import json
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, Namespace
from lightning.fabric.plugins.io import CheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from woof_lightning.compare.draw import draw_lr_curve
from woof_lightning.data.config import DataConfig, data_problems
from woof_lightning.errors import UserError, raise_together
from woof_lightning.lit.checkpoints import DurableCheckpointIO
from woof_lightning.lit.classifier import WoofClassifier
from woof_lightning.lit.datamodule import ImagewoofDataModule
from woof_lightning.lit.lr_finder import LRFound, check_sweep
from woof_lightning.lit.quiet import quieten_libraries
from woof_lightning.lit.recorder import MetricsLogger, Recorder
from woof_lightning.lit.trainer import (
    TRAINER_DEFAULTS,
    WoofTrainer,
    check_accelerator,
    imitated_precision,
    run_callbacks,
    run_loggers,
)
from woof_lightning.recipe.checkpoint import check_same_images, read_checkpoint, recipe_of
from woof_lightning.recipe.config import ModelConfig, model_problems
from woof_lightning.runs.command_line import CALL_KEYS, NOT_SAVED, SEED_KEYS, call_problems, default_name, readable
from woof_lightning.runs.config import check_resumable
from woof_lightning.runs.folder import RunFolder, made_folder, write_text_durably
from woof_lightning.runs.metrics import MetricsFile
from woof_lightning.runs.record import machine, versions

SWEEP_KEYS = ("min_lr", "max_lr", "num_training", "early_stop_threshold")


def fit(args: Sequence[str]) -> None:
    """Runs `woof fit`.

    Args:
        args: What follows `fit` on the command line.

    Raises:
        UserError: For everything that the user can mend.
    """
    quieten_libraries()
    with ExitStack() as held:
        run_cli(["fit", *args], held)


def lr_find(args: Sequence[str]) -> None:
    """Runs `woof lr-find`.

    Args:
        args: What follows `lr-find` on the command line.

    Raises:
        UserError: For everything that the user can mend, a curve without a suggestion included.
    """
    quieten_libraries()
    # The scratch folder is for the sweep's temporary checkpoint.
    with TemporaryDirectory(prefix="woof-lr-find-") as scratch, ExitStack() as held:
        cli = run_cli(["lr-find", *args, "--trainer.default_root_dir", scratch], held)
        assert isinstance(cli.trainer, WoofTrainer)
        found, folder = cli.trainer.lr_found, cli.run.lr_find
        assert found is not None, "the verb has run"
        write_sweep(found, folder, {**cli.sweep_record(), **found.as_dict()})
    if found.problem:
        raise UserError(f"{found.problem} (the curve is in {folder})")
    if cli.config["lr-find"].json:
        print(json.dumps({**found.as_dict(), "folder": str(folder)}))
        return
    print(f"{len(found.curve)} steps from lr {found.curve.lr[0]:.3g} to {found.curve.lr[-1]:.3g} ({found.stopped})")
    for label, lr in found.marks().items():
        print(f"  {label:<36}{'none' if lr is None else f'{lr:.3g}'}")
    if found.note:
        print(f"note: {found.note}")
    print(f"curve and plot: {folder}")
    print(f"train with the first: woof fit {fit_options(args, cli.run)} --config {folder / 'lr.yaml'}")
    print(f"{found.suggestion:g}")


def run_cli(args: list[str], held: ExitStack) -> WoofCLI:
    """Runs a verb of LightningCLI, and turns its parser's complaints into a UserError.

    Args:
        args: The verb and its options.
        held: Gets what is to be undone at the end: the lock on the run's folder, an empty folder of a failed sweep.
    """
    options: dict[str, Any] = {"exit_on_error": False, "allow_abbrev": False}
    try:
        return WoofCLI(
            WoofClassifier,
            ImagewoofDataModule,
            held=held,
            trainer_class=WoofTrainer,
            trainer_defaults=TRAINER_DEFAULTS,
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={**options, **{verb: {**options, "prog": f"woof {verb}"} for verb in WoofCLI.subcommands()}},
            load_from_checkpoint_support=False,
            auto_configure_optimizers=False,
            args=args,
        )
    except (ArgumentError, argparse.ArgumentError) as error:
        raise UserError(readable(str(error), known_keys(args[0]), args[0])) from error
    except MisconfigurationException as error:
        raise UserError(f"the trainer's settings (trainer.*) cannot be used: {error}") from error


class WoofCLI(LightningCLI):
    """LightningCLI with a run folder around `fit`."""

    run: RunFolder
    settings: dict[str, Any]
    resume_from: Path | None = None
    resume_step: int | None = None
    resume_fingerprint: str = ""
    saved_at_ns: int | None = None

    def __init__(self, *args: Any, held: ExitStack, **kwargs: Any) -> None:
        self.held = held
        super().__init__(*args, **kwargs)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The verbs, and the arguments of their Trainer methods that are no options."""
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "ckpt_path", "weights_only"},
            "lr-find": {"model", "datamodule"},
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the options of a run, and leads the one seed to those who draw from it."""
        parser.add_argument("--name", type=str | None, help="The run's name; by default the first config's stem.")
        parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="Folder of all runs.")
        if parser.prog == "woof lr-find":
            parser.add_argument("--json", action="store_true", help="Print the result as JSON.")
            parser.add_argument("--overwrite", action="store_true", help="Replace the sweep that is there.")
        else:
            parser.add_argument("--resume", action="store_true", help="Go on with the run, or start it.")
            parser.add_argument("--save_every", type=int | None, help="Save every so many steps, within epochs too.")
            parser.add_argument("--allow_nan", action="store_true", help="Train on when the loss is NaN or infinite.")
            parser.add_argument("--overwrite", action="store_true", help="Replace the run that is there.")
        for key in SEED_KEYS:
            parser.link_arguments("seed_everything", key)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses, and checks all settings at once."""
        super().parse_arguments(parser, args)
        options = self.config[self.config.subcommand]
        raise_together([*setting_problems(options), *model_problems(options.model), *data_problems(options.data)])

    def before_instantiate_classes(self) -> None:
        """Checks whether the run's folder can be taken."""
        options = self.config[self.config.subcommand]
        self.run = RunFolder(options.runs_dir / (options.name or default_name(options.config)))
        self.saved_at_ns = self.run.saved_at_ns()
        self.settings = self._settings()
        if self.config.subcommand == "lr-find":
            check_sweep(options.min_lr, options.max_lr, options.num_training, options.early_stop_threshold)
            if not options.overwrite:
                self.run.check_no_sweep()
            return
        if options.trainer.fast_dev_run:
            return
        if options.resume and self.run.config.exists():
            check_resumable(self.run.config, self.settings)
            self._read_resume_point()
        # Lightning starts the processes of further devices by this same command, when the first has taken the folder.
        elif not options.overwrite and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            self.run.check_free()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Adds what every run has: its files, checkpoints and progress."""
        try:
            return self._run_trainer(**kwargs)
        except ValueError as error:
            raise UserError(f"the trainer's settings (trainer.*) cannot be used: {error}") from error

    def _run_trainer(self, **kwargs: Any) -> Trainer:
        call = self.config_init[self.config.subcommand]
        options = call.trainer
        if options.barebones or options.fast_dev_run:
            return super().instantiate_trainer(**kwargs)
        check_accelerator(options.accelerator, "trainer.accelerator")
        if self.config.subcommand == "lr-find":
            # Now, not after a sweep of minutes.
            self.held.enter_context(made_folder(self.run.lr_find, "--runs_dir"))
            unseen: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
            return super().instantiate_trainer(**unseen, **kwargs)
        plugins = _as_list(options.plugins)
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(DurableCheckpointIO())
        trainer = super().instantiate_trainer(
            callbacks=[
                *_as_list(options.callbacks),
                *run_callbacks(
                    self.run,
                    self.settings,
                    progress=options.enable_progress_bar is not False,
                    checkpoints=options.enable_checkpointing is not False,
                    save_every=call.save_every,
                    max_time=options.max_time,
                    stop_on_nan=not call.allow_nan,
                ),
            ],
            logger=self._loggers(options.logger),
            plugins=plugins,
            **kwargs,
        )
        assert isinstance(trainer, WoofTrainer)
        trainer.resume_from = self.resume_from
        return trainer

    def before_fit(self) -> None:
        """Makes the data ready, and only then takes the run's folder."""
        options = self.config[self.config.subcommand]
        self.datamodule.prepare_data()
        self.datamodule.setup("fit")
        self.model.number_of_classes(self.datamodule.index)
        if self.resume_from is not None:
            check_same_images(self.resume_fingerprint, self.datamodule.index, self.run.path)
        if options.trainer.fast_dev_run or not self.trainer.is_global_zero:
            return
        self.run.create()
        self.held.enter_context(self.run.locked())
        self._check_untouched()
        self.run.clear_leftovers()
        if self.resume_step is not None:
            lost = MetricsFile(self.run.metrics).cut_after(self.resume_step)
            print(f"going on from {self.resume_from}", flush=True)
            if lost:
                print(f"note: {lost}", flush=True)
        elif options.resume or options.overwrite:
            self.run.clear()
        write_text_durably(self.run.config, yaml.safe_dump(self.settings, sort_keys=False))
        if hint := imitated_precision(self.trainer):
            print(f"note: {hint}", flush=True)

    def after_fit(self) -> None:
        """Says what was learned and where it lies."""
        recorder = next((c for c in getattr(self.trainer, "callbacks", []) if isinstance(c, Recorder)), None)
        if recorder is None or not self.trainer.is_global_zero or not recorder.record.best:
            return
        learned = f"learned to tell {len(self.datamodule.index.classes)} classes apart"
        print(f"{learned}: {recorder.record.summary(self.run.path)}")

    def sweep_record(self) -> dict[str, Any]:
        """What a sweep was made with, for its result.json."""
        settings = {key: value for key, value in self.settings.items() if key not in SWEEP_KEYS}
        # A folder of this call alone.
        settings["trainer"]["default_root_dir"] = None
        return {
            "sweep": {key: self.settings[key] for key in SWEEP_KEYS},
            "seed": self.model.seed,
            "data": {"fingerprint": self.datamodule.index.fingerprint, **self.datamodule.index.counts()},
            "versions": versions(),
            "machine": machine(torch.get_num_threads()),
            "config": settings,
        }

    def _check_untouched(self) -> None:
        """Raises a UserError when another process trained here between our first look and our lock."""
        options = self.config[self.config.subcommand]
        if self.run.saved_at_ns() != self.saved_at_ns and not options.overwrite:
            raise UserError(f"another process has just trained in {self.run.path}: look at it, and call again")

    def _read_resume_point(self) -> None:
        self.resume_from = self.run.last_good_checkpoint()
        if self.resume_from is not None:
            checkpoint = read_checkpoint(self.resume_from)
            self.resume_step = int(checkpoint["global_step"])
            self.resume_fingerprint = recipe_of(checkpoint).fingerprint

    def _settings(self) -> dict[str, Any]:
        text = self.parser.dump(self.config, skip_unset=False)
        settings: dict[str, Any] = yaml.safe_load(text)[self.config.subcommand]
        return {key: value for key, value in settings.items() if key not in NOT_SAVED}

    def _loggers(self, chosen: Logger | list[Logger] | bool | None) -> list[Logger]:
        default = run_loggers(self.run, self.resume_step)
        if chosen is None or chosen is True:
            return default
        others = [] if chosen is False else _as_list(chosen)
        return [*others, *(logger for logger in default if isinstance(logger, MetricsLogger))]


def write_sweep(found: LRFound, folder: Path, record: dict[str, Any]) -> None:
    """Writes curve.csv, plot.png, result.json, and lr.yaml where there is a suggestion."""
    found.curve.write(folder / "curve.csv")
    draw_lr_curve(found.curve, {label: lr for label, lr in found.marks().items() if lr}, folder / "plot.png")
    (folder / "lr.yaml").unlink(missing_ok=True)
    if not found.problem:
        write_text_durably(folder / "lr.yaml", yaml.safe_dump({"model": {"lr": found.suggestion}}))
    write_text_durably(folder / "result.json", json.dumps(record, indent=2) + "\n")


def fit_options(args: Sequence[str], run: RunFolder) -> str:
    """A sweep's options without those that `woof fit` does not take, to show them in a command."""
    kept, words = [], iter(args)
    for word in words:
        key = word.removeprefix("--").partition("=")[0] if word.startswith("--") else ""
        if key in SWEEP_KEYS and "=" not in word:
            next(words, None)
        elif key not in (*SWEEP_KEYS, "json", "overwrite"):
            kept.append(word)
    named = any(word.partition("=")[0] in ("--config", "-c", "--name") for word in kept)
    return shlex.join(kept if named else [*kept, "--name", run.path.name])


def setting_problems(options: Namespace) -> list[str]:
    """What cannot be used in the settings that belong to neither model nor data."""
    problems = call_problems(options.seed_everything, options.get("resume", False), options.overwrite)
    save_every = options.get("save_every")
    if save_every is not None and save_every < 1:
        problems.append(f"save_every is {save_every}: expected a number of steps, at least 1")
    endless = options.trainer.max_epochs == -1 and options.trainer.max_steps == -1
    if options.model.schedule == "onecycle" and endless:
        problems.append(
            "model.schedule is 'onecycle' with trainer.max_epochs -1: expected a finite number of steps; "
            "set trainer.max_epochs or trainer.max_steps, or use model.schedule step"
        )
    return problems


def known_keys(verb: str = "fit") -> list[str]:
    """Every key that a verb takes, dotted."""
    trainer = list(inspect.signature(Trainer.__init__).parameters)[1:]
    keys = {"model": [f.name for f in fields(ModelConfig)], "data": [f.name for f in fields(DataConfig)]}
    nested = [f"{group}.{name}" for group, names in {**keys, "trainer": trainer}.items() for name in names]
    calls = [*CALL_KEYS, "resume", "save_every", "allow_nan"] if verb == "fit" else [*CALL_KEYS, "json", *SWEEP_KEYS]
    return [*calls, "seed_everything", *nested]


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
