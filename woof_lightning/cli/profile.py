"""`woof profile`."""

from __future__ import annotations

import importlib
import runpy
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from woof_lightning.cli.classes import current_folder_importable, named
from woof_lightning.cli.options import Parser, path_of, small_parser
from woof_lightning.errors import UserError

MOST_STEPS = 50_000
EXPECTED = "expected FILE:FUNCTION, whose function returns (trainer, module, data), or a script that calls trainer.fit"


def run(args: Sequence[str]) -> None:
    """Profiles the training of somebody's LightningModule.

    Args:
        args: The options.

    Raises:
        UserError: If there is no such training, or it cannot be profiled.
    """
    options = parse(args)
    trainers = trainer_classes()  # Both, before the profiler's class is made, which is then known to both.
    from woof_lightning.profile.overhead import OverheadProfiler
    from woof_lightning.profile.turns import Turns

    profiler = OverheadProfiler(options.out, trace=options.trace)
    turns = Turns(bare=options.bare, prove=options.prove)
    profiler.continue_with(turns, options.steps)
    with current_folder_importable():
        train_with(profiler, options, trainers)
    if profiler.profile_of_fit is None:
        raise UserError(f"{options.training} has trained no step: nothing to profile")
    if options.bare and profiler.profile_of_fit.bare is None:
        print(f"no comparison with a bare loop: {turns.problem or 'the training ended before it'}")


def parse(args: Sequence[str]) -> Namespace:
    """Returns the options.

    Raises:
        UserError: If they cannot be used.
    """
    parser: Parser = small_parser("profile")
    parser.add_argument("training", help="a script that calls trainer.fit, or FILE:FUNCTION for one that returns it")
    parser.add_argument("--steps", type=int, default=200, help="the number of steps to profile (200)")
    parser.add_argument("--prove", action="store_true", help="follow each piece of advice in turns, and measure it")
    parser.add_argument("--out", type=path_of, default=Path("profile"), help="folder for profile.json (profile)")
    parser.add_argument("--trace", action="store_true", help="write a trace for Chrome's viewer, too")
    parser.add_argument(
        "--no_bare", dest="bare", action="store_false", help="leave the comparison with a bare loop out"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the profile in --out")
    options = parser.parse_args(list(args))
    if options.steps < 1:
        raise UserError(f"--steps is {options.steps}: expected at least 1")
    if (options.out / "profile.json").exists() and not options.overwrite:
        raise UserError(f"--out: {options.out / 'profile.json'} is there already; replace it with --overwrite")
    return options


def trainer_classes() -> list[Any]:
    """Returns the classes Trainer of Lightning's packages that are installed: one package, or both."""
    from woof_lightning.profile.hooks import installed

    return [importlib.import_module(package).Trainer for package in installed()]


def train_with(profiler: Any, options: Namespace, trainers: Sequence[Any]) -> None:
    """Trains with a profiler.

    Args:
        profiler: The profiler.
        options: What to train, and for how many steps.
        trainers: The classes whose `fit` a script may call.

    Raises:
        UserError: If what is named does not train.
    """
    name = options.training
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise UserError(f"{name} is not there: {EXPECTED}")
        with fits_profiled(profiler, options.steps, trainers):
            runpy.run_path(name, run_name="__main__")
        return
    trainer, module, data = made(name)
    prepare(trainer, profiler, options.steps)
    trainer.fit(module, data)


def made(name: str) -> tuple[Any, Any, Any]:
    """Returns Trainer, module and data of the function that a name names.

    Raises:
        UserError: If there is no such function, or it returns something else.
    """
    module_name, _, function_name = name.replace(".py:", ":").partition(":")
    function = named(module_name, function_name, f"{name}: {EXPECTED}")
    if not callable(function):
        raise UserError(f"{name}: {module_name} has no function {function_name or '(none was named)'}; {EXPECTED}")
    returned = function()
    kinds = [kind_of(one) for one in returned] if isinstance(returned, tuple) else []
    if len(kinds) != 3 or kinds[:2] != ["Trainer", "LightningModule"]:
        told = ", ".join(type(one).__name__ for one in returned) if isinstance(returned, tuple) else type(returned)
        raise UserError(f"{name} has returned {told}: expected a tuple of a Trainer, a LightningModule and its data")
    trainer, module, data = returned
    return trainer, module, data


def kind_of(value: Any) -> str:
    """Returns the name of Lightning's class that a value is an instance of, if any."""
    names = [one.__name__ for one in type(value).__mro__]
    return next((name for name in ("Trainer", "LightningModule") if name in names), names[0])


def prepare(trainer: Any, profiler: Any, steps: int) -> None:
    """Gives a Trainer the profiler and an end.

    Raises:
        UserError: If it cannot be profiled.
    """
    if trainer.barebones:
        raise UserError("the Trainer is barebones, which allows no profiler: leave barebones=True out")
    if trainer.global_step:
        raise UserError(
            f"the Trainer has trained {trainer.global_step} steps already: profile a new one, before its first fit"
        )
    trainer.profiler = profiler
    # The turns end the training when they are over. A schedule that asks for its length gets one.
    trainer.fit_loop.epoch_loop.max_steps = MOST_STEPS + steps
    trainer.fit_loop.epoch_loop.min_steps = MOST_STEPS  # EarlyStopping would end it before.
    trainer.fit_loop.max_epochs = -1


@contextmanager
def fits_profiled(profiler: Any, steps: int, trainers: Sequence[Any]) -> Iterator[None]:
    """Gives the profiler to the first Trainer that fits within the block, and ends the script after it."""

    def profiled(fit: Callable[..., None]) -> Callable[..., None]:
        def fit_and_end(trainer: Any, *arguments: Any, **options: Any) -> None:
            prepare(trainer, profiler, steps)
            fit(trainer, *arguments, **options)
            raise Profiled

        return fit_and_end

    with ExitStack() as undo, suppress(Profiled):
        for cls in trainers:
            undo.callback(setattr, cls, "fit", cls.fit)
            cls.fit = profiled(cls.fit)
        yield


class Profiled(BaseException):
    """Ends a script whose training has been profiled."""
