"""`woof loop NAME`: the keys of `woof fit`, and then the loop of that name."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace  # type: ignore[attr-defined]

from woof_lightning.data.config import DataConfig, data_problems
from woof_lightning.data.imagewoof import prepare_checked_data
from woof_lightning.data.loading import check_batch_size
from woof_lightning.data.workers import check_shared_memory
from woof_lightning.errors import UserError, raise_together
from woof_lightning.loops.experiment import Experiment, TrainerConfig, trainer_problems
from woof_lightning.loops.run import LoopRun
from woof_lightning.recipe.config import ModelConfig, model_problems
from woof_lightning.recipe.model import check_arch, outputs_for
from woof_lightning.recipe.optim import resolve_optimizer
from woof_lightning.runs.command_line import CALL_KEYS, NOT_SAVED, call_problems, default_name, readable
from woof_lightning.runs.config import check_resumable
from woof_lightning.runs.folder import RunFolder, write_text_durably

# Each loop and the packages that it needs beside torch; a module of this folder has its name.
LOOPS: dict[str, tuple[str, ...]] = {
    "bare": (),
    "hand_rolled": ("pytorch_nn_tools", "fastprogress"),
    "fabric": ("lightning",),
    "accelerate": ("accelerate",),
    "ignite": ("ignite",),
    "fastai": ("fastai",),
}
GROUPS = {"model": ModelConfig, "data": DataConfig, "trainer": TrainerConfig}


@dataclass(frozen=True)
class Call:
    """A parsed command line."""

    loop: str
    folder: RunFolder
    resume: bool
    overwrite: bool
    seed: int
    model: ModelConfig
    data: DataConfig
    trainer: TrainerConfig
    settings: dict[str, Any]


def loop(args: Sequence[str]) -> None:
    """Runs `woof loop`.

    Args:
        args: The loop's name and the options.

    Raises:
        UserError: For everything that the user can mend.
    """
    if not args or args[0].startswith("-"):
        if args and args[0] in ("-h", "--help"):
            print(f"usage: woof loop NAME [options]\n\nNAME is one of {', '.join(LOOPS)}.\n")
            print("woof loop NAME --help tells the options, woof loop --check compares all loops to the bit.")
            return
        raise UserError(f"woof loop needs the name of a loop first: expected one of {', '.join(LOOPS)}")
    train = find_loop(args[0])
    call = parse(args[0], args[1:])
    run_loop(train, call)


def find_loop(name: str) -> Callable[[Experiment, LoopRun], None]:
    """The `train` function of a loop.

    Raises:
        UserError: When there is none of that name, or its packages are not installed.
    """
    if name not in LOOPS:
        near = difflib.get_close_matches(name, LOOPS, n=1)
        raise UserError(f"{name} is no loop; {f'did you mean {near[0]}?' if near else 'expected ' + ', '.join(LOOPS)}")
    for package in LOOPS[name]:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"woof loop {name} needs {package}, which is not installed: install the extra `peers` "
                "(pip install '.[peers]' in the project's folder, or make setup)"
            )
    module = import_quietly(f"woof_lightning.loops.{name}")
    return cast(Callable[[Experiment, LoopRun], None], module.train)


def import_quietly(name: str) -> ModuleType:
    """Imports a module without the warning of fastai 2.8, which calls what torch 2.14 deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
        return importlib.import_module(name)


def parse(name: str, args: Sequence[str]) -> Call:
    """Parses the options of a loop, and checks all settings at once."""
    parser = ArgumentParser(prog=f"woof loop {name}", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="A YAML file; later ones win.")
    parser.add_argument("--name", type=str | None, help="The run's name; by default the first config's stem and NAME.")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="Folder of all runs.")
    parser.add_argument("--resume", action="store_true", help="Go on with the run, or start it.")
    parser.add_argument("--overwrite", action="store_true", help="Replace the run that is there.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Seed of weights, order and augmentation.")
    for group, settings_class in GROUPS.items():
        parser.add_class_arguments(settings_class, group)
    try:
        options = parser.parse_args(list(args))
    except (ArgumentError, argparse.ArgumentError) as error:
        raise UserError(_complaint(str(error), name)) from error
    problems = [
        *call_problems(options.seed_everything, options.resume, options.overwrite),
        *model_problems(options.model),
        *data_problems(options.data),
        *trainer_problems(options.trainer),
    ]
    raise_together(problems)
    return _call(name, parser, options)


def run_loop(train: Callable[[Experiment, LoopRun], None], call: Call) -> None:
    """Makes the data ready, takes the run's folder, and trains."""
    check_arch(call.model.arch)
    resolve_optimizer(call.model.optimizer)
    resuming = call.resume and call.folder.config.exists()
    if resuming:
        check_resumable(call.folder.config, call.settings)
    elif not call.overwrite:
        call.folder.check_free()
    index = prepare_checked_data(call.data)
    check_batch_size(call.data, index)
    check_shared_memory(call.data)
    model = replace(call.model, num_classes=outputs_for(call.model.num_classes, index))
    experiment = Experiment(model, call.data, call.trainer, call.seed, index)
    experiment.total_steps, experiment.val_batches  # noqa: B018  Limits that leave no batch are named here.
    call.folder.create()
    with call.folder.locked():
        if not resuming and not call.overwrite:  # Another process may have trained here since our first look.
            call.folder.check_free()
        run = LoopRun(call.folder, call.loop, experiment, call.settings, resume=resuming)
        if run.checkpoint is None:
            call.folder.clear()
        call.folder.clear_leftovers()
        write_text_durably(call.folder.config, yaml.safe_dump(call.settings, sort_keys=False))
        train(experiment, run)
        run.finish()
    print(run.record.summary(call.folder.path))


def known_keys() -> list[str]:
    """Every key that `woof loop` takes, dotted."""
    nested = [f"{group}.{field.name}" for group, cls in GROUPS.items() for field in fields(cls)]
    return [*CALL_KEYS, "resume", "seed_everything", *nested]


def _call(name: str, parser: ArgumentParser, options: Namespace) -> Call:
    settings = yaml.safe_load(parser.dump(options, skip_unset=False))
    parts = parser.instantiate(options)
    stem = options.name or (f"{default_name(options.config)}-{name}" if options.config else name)
    return Call(
        loop=name,
        folder=RunFolder(options.runs_dir / stem),
        resume=options.resume,
        overwrite=options.overwrite,
        seed=options.seed_everything,
        model=parts.model,
        data=parts.data,
        trainer=parts.trainer,
        settings={key: value for key, value in settings.items() if key not in NOT_SAVED},
    )


def _complaint(text: str, name: str) -> str:
    message = readable(text, known_keys(), f"loop {name}")
    if message.startswith("trainer.") and "is no known setting" in message:
        honoured = ", ".join(field.name for field in fields(TrainerConfig))
        return f"{message.split()[0]} is not honoured by woof loop: of trainer.* it takes {honoured}"
    return message
