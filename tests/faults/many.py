"""Kills many runs at random moments: `python -m tests.faults.many DATA OUT.csv`.

DATA is a folder with train/ and val/. A chain is a run that is killed again and again, resumed each time, and
at last compared with a run that was never cut. The rows that OUT holds already are not run again.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.faults.harness import killed_until_done
from tests.faults.test_faults import CONFIGS, EPOCHS, EXPERIMENTS, STEPS
from tests.processes import Ended, Process, woof
from woof_lightning.parity import differing, first_difference
from woof_lightning.runs.folder import RunFolder
from woof_lightning.runs.metrics import read_metrics

KILLS_OF_A_CHAIN = 8
# The plain script trains this one alone.
PLAIN_EXPERIMENT = "adamw_onecycle"
CHAINS = {"woof fit": 30, "woof loop hand_rolled": 5, "plain Lightning": 5}


@dataclass(frozen=True)
class Row:
    """A chain.

    Args:
        way: Which way trained.
        experiment: Whose configuration.
        workers: Loading processes.
        save_every: Steps between saves within an epoch; empty for none.
        seed: Of the moments.
        kills: Times it was killed.
        outcome: equal, differs or failed.
        detail: What differs, or how it failed.
    """

    way: str
    experiment: str
    workers: int
    save_every: str
    seed: int
    kills: int
    outcome: str
    detail: str


Start = Callable[[RunFolder], Process]


def chain(way: str, seed: int, data: Path) -> Row:
    """Runs a chain."""
    drawn = random.Random(f"{way} {seed}")
    experiment = PLAIN_EXPERIMENT if way == "plain Lightning" else EXPERIMENTS[seed % len(EXPERIMENTS)]
    workers = drawn.choice((0, 2))
    save_every = drawn.choice(("", "2")) if way == "woof fit" else ""
    with TemporaryDirectory(prefix="woof-faults-") as folder:
        place = Path(folder)
        start = starter(way, experiment, workers, save_every, data, place)
        unbroken, run = RunFolder(place / "runs" / "unbroken"), RunFolder(place / "runs" / "run")
        reference = start(unbroken).wait()
        assert reference.code == 0, reference.err
        kills, ended = killed_until_done(lambda: start(run), run, STEPS * EPOCHS, KILLS_OF_A_CHAIN, drawn)
        outcome, detail = judged(way, run, unbroken, ended)
    return Row(way, experiment, workers, save_every, seed, kills, outcome, detail)


def starter(way: str, experiment: str, workers: int, save_every: str, data: Path, place: Path) -> Start:
    """What starts a run of a way, or goes on with it."""
    if way == "plain Lightning":
        words = ["--steps", STEPS, "--epochs", EPOCHS, "--workers", workers]
        command = ["-m", "tests.faults.plain_lightning", data]
        here = str(Path(__file__).parents[2])
        return lambda run: Process([*command, run.path, *words], place, PYTHONPATH=here)
    options = [
        *("--config", CONFIGS / f"{experiment}.yaml", "--config", CONFIGS / "demo.yaml", "--data.folder", data),
        *("--data.image_size", 32, "--data.num_workers", workers, "--model.arch", "shufflenet_v2_x0_5"),
        *("--trainer.accelerator", "cpu", "--trainer.limit_train_batches", STEPS, "--trainer.limit_val_batches", 3),
        *("--trainer.max_epochs", EPOCHS, "--trainer.log_every_n_steps", 1, "--resume"),
        *(("--save_every", save_every) if save_every else ()),
    ]
    verb, *name = way.split()[1:]
    return lambda run: woof(verb, [*name, *options, "--name", run.path.name], place)


def judged(way: str, run: RunFolder, unbroken: RunFolder, ended: Ended) -> tuple[str, str]:
    """How a chain came out."""
    if ended.code != 0:
        return "failed", (ended.err.strip().splitlines() or ["no message"])[-1][:200]
    found = differs_plain(run, unbroken) if way == "plain Lightning" else first_difference(unbroken, run)
    return ("differs", found) if found else ("equal", "")


def differs_plain(run: RunFolder, unbroken: RunFolder) -> str:
    """What differs between two runs of plain Lightning: the final weights, or the steps that were logged."""
    one, two = (torch.load(r.path / "final.ckpt", weights_only=True)["state_dict"] for r in (run, unbroken))
    steps = [{row["step"] for row in read_metrics(r.metrics)} for r in (run, unbroken)]
    told = ["final weights"] if differing(two, one, "state_dict") else []
    return ", ".join(told + ([] if steps[0] == steps[1] else [f"{len(steps[1] - steps[0])} steps not in metrics.csv"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ways", nargs="+", choices=CHAINS, default=list(CHAINS))
    parser.add_argument("--at_once", type=int, default=2, help="chains that run at the same time (2)")
    options = parser.parse_args()
    done = set()
    if options.out.exists():
        with options.out.open(newline="", encoding="utf-8") as file:
            done = {(row["way"], int(row["seed"])) for row in csv.DictReader(file)}
    left = [(way, seed) for way in options.ways for seed in range(CHAINS[way]) if (way, seed) not in done]
    with ThreadPoolExecutor(options.at_once) as pool, options.out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__), lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        data = options.data.resolve()
        for row in pool.map(lambda key: chain(key[0], key[1], data), left):
            writer.writerow(asdict(row))
            file.flush()
            print(row, flush=True)


if __name__ == "__main__":
    main()
