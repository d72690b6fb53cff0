"""Measures what the exchange of gradients costs between two processes of one machine, with gloo.

python docs/results/scaling/measure.py NAME [--batch_size 16] [--size_px 128] [--steps 4] [--repeats 11]

Rows go to NAME/rows.csv beside this file; a call replaces what is there. Nothing else may run.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from woof_lightning.data.transforms import normalise
from woof_lightning.measure.conditions import add_call
from woof_lightning.measure.machine import machine_id
from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import build_net
from woof_lightning.recipe.optim import build_optimizer
from woof_lightning.recipe.processes import most_of_all
from woof_lightning.resources import prepare_to_compute, usable_cores
from woof_lightning.runs.record import machine, versions

HERE = Path(__file__).parent
PROCESSES, OUTPUTS, ARCH = 2, 10, "resnet18"
# What is measured: the exchange alone, a step of DDP, and the same step without its exchange.
EXCHANGE, STEP, STEP_ALONE, PARAMETERS = "exchange_s", "step_s", "step_alone_s", "parameters"
COLUMNS = ("processes", "size_px", "batch_size", "repeat", "name", "value")
Row = tuple[int, int, int, int, str, str]
NS_PER_S = 1e9


def step_of(net: DistributedDataParallel, optimizer: Optimizer, size_px: int, batch_size: int) -> Callable[..., None]:
    """Returns a function that takes a training step; with `exchanged=False` each process keeps its own gradients."""
    images = torch.randint(0, 256, (batch_size, 3, size_px, size_px), dtype=torch.uint8)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(OUTPUTS, (batch_size,))

    def step(*, exchanged: bool) -> None:
        with nullcontext() if exchanged else net.no_sync():
            loss = F.cross_entropy(net(normalise(images, True)), labels)
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()

    return step


def seconds(do: Callable[[], object], count: int) -> float:
    """Returns how long a call takes when all processes make it together: the time of the slowest."""
    dist.barrier()
    start_s = time.perf_counter()
    for _ in range(count):
        do()
    elapsed_s = time.perf_counter() - start_s
    return most_of_all(round(elapsed_s * NS_PER_S)) / NS_PER_S / count


def in_one_of_several(rank: int, port: int, threads: int, args: argparse.Namespace, rows_file: Path) -> None:
    """Measures as one of the processes; the first one writes the rows, repeat by repeat."""
    prepare_to_compute()
    torch.set_num_threads(threads)
    store = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES)
    net = build_net(ARCH, OUTPUTS, seed=0, channels_last=True)
    gradients = torch.randn(sum(parameter.numel() for parameter in net.parameters()))
    step = step_of(
        DistributedDataParallel(net), build_optimizer(net.parameters(), ModelConfig()), args.size_px, args.batch_size
    )
    jobs: dict[str, Callable[[], object]] = {
        EXCHANGE: partial(dist.all_reduce, gradients),
        STEP: partial(step, exchanged=True),
        STEP_ALONE: partial(step, exchanged=False),
    }
    for job in jobs.values():  # Memory is taken, and DDP orders its buckets anew after the first step.
        seconds(job, 2)
    keys = (PROCESSES, args.size_px, args.batch_size)
    append(rank, rows_file, [(*keys, 0, PARAMETERS, str(gradients.numel()))])
    for repeat in range(args.repeats):
        order = list(jobs)
        random.Random(repeat).shuffle(order)  # The same in all processes.
        gradients.fill_(1.0)  # Sums of sums would become infinite.
        values = {name: seconds(jobs[name], args.steps) for name in order}
        append(rank, rows_file, [(*keys, repeat, name, f"{value:.5g}") for name, value in values.items()])
    dist.destroy_process_group()


def append(rank: int, rows_file: Path, rows: Sequence[Row]) -> None:
    """Appends rows in the first process and shows them; does nothing in the others."""
    if rank == 0:
        with rows_file.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        print(time.strftime("%H:%M:%S"), *(f"{name} {value}" for *_, name, value in rows), flush=True)


def main() -> None:
    """Measures and writes rows.csv and conditions.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the folder for the rows: the kind of processor")
    parser.add_argument("--batch_size", type=int, default=16, help="images of each process in a step")
    parser.add_argument("--size_px", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4, help="steps, or exchanges, whose mean is a value")
    parser.add_argument("--repeats", type=int, default=11)
    args = parser.parse_args()
    out = HERE / args.name
    out.mkdir(exist_ok=True)
    (out / "rows.csv").write_text(",".join(COLUMNS) + "\n", encoding="utf-8", newline="\n")
    threads = max(1, usable_cores() // PROCESSES)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    call = {
        "command": " ".join(["python", "docs/results/scaling/measure.py", *sys.argv[1:]]),
        "machine": machine(threads),
        "machine_id": machine_id(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
    }
    add_call(out / "conditions.json", call, replaces=lambda earlier: True)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    spawn(in_one_of_several, (port, threads, args, out / "rows.csv"), nprocs=PROCESSES)


if __name__ == "__main__":
    main()
