"""`woof lr-find`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from woof_lightning.cli.lightning_cli import LR_FIND, SWEEP_KEYS, WoofCLI, run_cli
from woof_lightning.compare.draw import draw_lr_curve
from woof_lightning.data.notes import tell
from woof_lightning.errors import UserError
from woof_lightning.lit.lr_finder import LRFound
from woof_lightning.lit.quiet import quieten_libraries
from woof_lightning.lit.trainer import WoofTrainer
from woof_lightning.resources import prepare_to_compute
from woof_lightning.runs.folder import write_text_durably
from woof_lightning.runs.record import machine, versions


def run(args: Sequence[str]) -> None:
    """Sweeps the learning rate and suggests one.

    Args:
        args: The options.

    Raises:
        UserError: For everything that the user can fix, including a curve without a suggestion.
    """
    quieten_libraries()
    prepare_to_compute()
    # Lightning writes the temporary checkpoint of the sweep into the scratch folder.
    with TemporaryDirectory(prefix="woof-lr-find-") as scratch, ExitStack() as held:
        cli = run_cli(LR_FIND, [*args, "--trainer.default_root_dir", scratch], held)
        assert isinstance(cli.trainer, WoofTrainer)
        found, folder = cli.trainer.lr_found, cli.folder.lr_find
        tell(cli.datamodule.index)
        assert found is not None, "run_cli has swept"
        write_sweep(found, folder, {**sweep_record(cli), **found.as_dict()})
    if found.problem:
        raise UserError(f"{found.problem} (the curve is in {folder})")
    if cli.options.json:
        print(json.dumps({**found.as_dict(), "folder": str(folder)}))
        return
    print(f"{len(found.curve)} steps from lr {found.curve.lr[0]:.3g} to {found.curve.lr[-1]:.3g} ({found.stopped})")
    for label, lr in found.marks().items():
        print(f"  {label:<36}{'none' if lr is None else f'{lr:.3g}'}")
    if found.note:
        print(f"note: {found.note}")
    print(f"curve and plot: {folder}")
    options = fit_options(args, cli.folder.path.name)
    print(f"train with the first: woof fit {options} --config {shlex.quote(str(folder / 'lr.yaml'))}")
    print(f"{found.suggestion:g}")


def sweep_record(cli: WoofCLI) -> dict[str, Any]:
    """Returns the conditions of a sweep for its result.json: settings, seed, data, versions and machine."""
    settings = {key: value for key, value in cli.settings.items() if key not in SWEEP_KEYS}
    # The scratch folder of this call is gone afterwards.
    settings["trainer"]["default_root_dir"] = None
    index = cli.datamodule.index
    return {
        "sweep": {key: cli.settings[key] for key in SWEEP_KEYS},
        "seed": cli.model.seed,
        "data": index.described(),
        "versions": versions(),
        "machine": machine(torch.get_num_threads()),
        "config": settings,
    }


def write_sweep(found: LRFound, folder: Path, record: dict[str, Any]) -> None:
    """Writes curve.csv, plot.png and result.json, and lr.yaml if there is a suggestion.

    Args:
        found: The sweep.
        folder: The folder for the files.
        record: The content of result.json.
    """
    found.curve.write(folder / "curve.csv")
    draw_lr_curve(found.curve, {label: lr for label, lr in found.marks().items() if lr}, folder / "plot.png")
    (folder / "lr.yaml").unlink(missing_ok=True)
    if not found.problem:
        write_text_durably(folder / "lr.yaml", yaml.safe_dump({"model": {"lr": found.suggestion}}))
    write_text_durably(folder / "result.json", json.dumps(record, indent=2) + "\n")


def fit_options(args: Sequence[str], name: str) -> str:
    """Returns the options of a sweep that `woof fit` takes as well, as text for a command.

    Args:
        args: The options of the sweep.
        name: The run's name. It is added if no option determines it.
    """
    kept, words = [], iter(args)
    for word in words:
        key = word.removeprefix("--").partition("=")[0] if word.startswith("--") else ""
        if key in SWEEP_KEYS and "=" not in word:
            next(words, None)
        elif key not in (*SWEEP_KEYS, "json", "overwrite"):
            kept.append(word)
    named = any(word.partition("=")[0] in ("--config", "-c", "--name") for word in kept)
    return shlex.join(kept if named else [*kept, "--name", name])
