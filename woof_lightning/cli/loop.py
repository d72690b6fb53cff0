"""`woof loop NAME` and `woof loop --check`."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace  # type: ignore[attr-defined]

from woof_lightning.cli.config_files import with_config_files, with_origin
from woof_lightning.cli.environment import PARSER_MODE, register_parser_mode
from woof_lightning.cli.messages import readable
from woof_lightning.cli.options import (
    CALL_KEYS,
    NOT_SAVED,
    Parser,
    default_name,
    dotted_keys,
    experiment_problems,
    keep_whole_numbers,
    path_of,
    with_expanded_paths,
)
from woof_lightning.data.config import DataConfig
from woof_lightning.errors import UserError, raise_together
from woof_lightning.lit.quiet import quieten_libraries
from woof_lightning.loops.experiment import TrainerConfig, devices_problems, trainer_problems
from woof_lightning.loops.find import find_loop
from woof_lightning.loops.processes import are_started, launch
from woof_lightning.loops.start import LoopCall, prepare, start
from woof_lightning.loops.ways import LOOPS, REFERENCE, SEVERAL_DEVICES, WAYS, WOOF_FIT
from woof_lightning.parity import (
    FINE_TUNING,
    TRAININGS,
    Case,
    Verb,
    compare_ways,
    phrase,
    random_weights,
    small_training,
)
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.resources import prepare_to_compute
from woof_lightning.runs.alone import check_alone
from woof_lightning.runs.folder import RunFolder

FIT_ONLY = ("save_every", "allow_nan")
GROUPS: dict[str, type] = {"model": ModelConfig, "data": DataConfig, "trainer": TrainerConfig}


def run(args: Sequence[str]) -> None:
    """Trains with a loop, or compares all ways to train.

    Args:
        args: The loop's name and its options, or --check and its options.

    Raises:
        UserError: For everything that the user can fix.
    """
    if args and args[0] == "--check":
        check(args[1:])
        return
    if args and args[0] in ("-h", "--help"):
        print(f"usage: woof loop NAME [options]\n\nNAME is one of {', '.join(LOOPS)}.\n")
        print("woof loop NAME --help lists the options, woof loop --check compares all ways bit for bit.")
        return
    if not args or args[0].startswith("-"):
        raise UserError(f"woof loop needs the name of a loop first: expected one of {', '.join(LOOPS)}")
    train = find_loop(args[0])
    prepare_to_compute()
    call = parse(args[0], args[1:])
    devices = call.trainer.device_count
    if devices > 1 and not are_started():
        check_alone(1)
        prepare(call)  # What is wrong is said once, and the images are prepared once.
        launch(devices, ["loop", *args])
    elif summary := start(train, call):
        print(summary)


def parse(name: str, args: Sequence[str]) -> LoopCall:
    """Returns the options of a loop after checking all settings.

    Args:
        name: The loop's name.
        args: Its options.

    Raises:
        UserError: If settings cannot be used. The error lists all of them.
    """
    register_parser_mode()
    parser = ArgumentParser(prog=f"woof loop {name}", exit_on_error=False, allow_abbrev=False, parser_mode=PARSER_MODE)
    parser.add_argument(
        "-c", "--config", action=ActionConfigFile, help="A YAML file. Later ones override earlier ones."
    )
    parser.add_argument("--name", type=str | None, help="The run's name; by default the first config's name and NAME.")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="Folder of all runs.")
    parser.add_argument("--resume", action="store_true", help="Resume the run, or start it if there is none.")
    parser.add_argument("--overwrite", action="store_true", help="Replace the run if there is one.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Seed of weights, order and augmentation.")
    for group, settings_class in GROUPS.items():
        parser.add_class_arguments(settings_class, group)
    keep_whole_numbers(parser)
    words = list(with_config_files(args, known_keys(), f"loop {name}"))
    try:
        options = parser.parse_args(words)
    except (ArgumentError, argparse.ArgumentError) as error:
        raise UserError(with_origin(_complaint(str(error), name), words)) from error
    with_expanded_paths(options)
    trainer = options.trainer
    raise_together([*experiment_problems(options), *trainer_problems(trainer), *_too_many_devices(name, trainer)])
    return _call(name, parser, options)


def known_keys() -> list[str]:
    """Returns all keys that `woof loop` takes, dotted."""
    return [*CALL_KEYS, "resume", "seed_everything", *dotted_keys(GROUPS)]


def _call(name: str, parser: ArgumentParser, options: Namespace) -> LoopCall:
    settings = yaml.safe_load(parser.dump(options, skip_unset=False))
    parts = parser.instantiate(options)
    stem = options.name or (f"{default_name(options.config)}-{name}" if options.config else name)
    return LoopCall(
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


def _too_many_devices(name: str, trainer: Any) -> list[str]:
    if WAYS[name].several_devices or str(trainer.devices) in ("auto", "1") or devices_problems(trainer):
        return []
    able = [other for other in SEVERAL_DEVICES if other != WOOF_FIT]
    return [
        f"trainer.devices is {trainer.devices}: woof loop {name} trains on one device; expected auto or 1; "
        f"{', '.join(able)} and woof fit take several"
    ]


def _complaint(text: str, name: str) -> str:
    message = readable(text, known_keys(), f"loop {name}")
    if message.startswith("trainer.") and "is no known setting" in message:
        honoured = ", ".join(key.partition(".")[2] for key in dotted_keys({"trainer": TrainerConfig}))
        return f"{message.split()[0]} is not honoured by woof loop: of trainer.* it takes {honoured}"
    if message.split()[0] in FIT_ONLY:
        return f"{message.split()[0]} is an option of woof fit: woof loop does not take it"
    return message


def verbs() -> Mapping[str, Verb]:
    """Returns the command that trains each way, by the way's name."""
    from woof_lightning.cli.fit import run as fit

    return {**{name: partial(_loop, name) for name in LOOPS}, WOOF_FIT: fit}


def _loop(name: str, args: Sequence[str]) -> None:
    run([name, *args])


def check(args: Sequence[str]) -> None:
    """Runs `woof loop --check`: trains in every way and compares the results bit for bit.

    Args:
        args: The options.

    Raises:
        UserError: If there is a difference that is not known.
    """
    parser = Parser(prog="woof loop --check", description="Train in every way and compare the results bit for bit.")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="the ways to compare")
    # The former name of --ways.
    parser.add_argument("--arms", dest="ways", nargs="+", choices=WAYS, default=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--experiments", nargs="+", choices=TRAININGS, default=list(TRAININGS))
    parser.add_argument("--precision", nargs="+", choices=("32-true", "bf16-mixed"), default=["32-true", "bf16-mixed"])
    parser.add_argument("--arch", default="shufflenet_v2_x0_5", help="a torchvision classifier")
    parser.add_argument("--image_size", type=int, default=32, help="px")
    parser.add_argument(
        "--data_root", type=path_of, default=Path("data"), help="folder of the drawn images, made if needed"
    )
    options = parser.parse_args(list(args))
    shared = small_training(options.data_root, options.arch, options.image_size)
    prepare_to_compute()
    quieten_libraries()  # After the import of Lightning, which sets its own level.
    with TemporaryDirectory(prefix="woof-parity-") as folder:
        weights = random_weights(Path(folder) / "weights.pth", options.arch)
        cases = [
            Case(experiment, workers, precision, cut, (*shared, *(weights if experiment == FINE_TUNING else ())))
            for precision, experiment, (workers, cut) in itertools.product(
                options.precision, options.experiments, ((0, None), (2, 1))
            )
        ]
        differing, commands, width = 0, verbs(), max(len(case.name) for case in cases) + 2
        for verdict in compare_ways(cases, options.ways, Path(folder), commands):
            differing += verdict.difference is not None and verdict.known is None
            print(f"{verdict.way:<12}{verdict.case.name:<{width}}{phrase(verdict)}", flush=True)
    if differing:
        raise UserError(f"{differing} trainings differ from {REFERENCE}: expected equal bits; see the table above")
