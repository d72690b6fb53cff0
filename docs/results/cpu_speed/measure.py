"""Training speed of the recipe's net on a CPU, by precision, memory layout and memory allocator.

python docs/results/cpu_speed/measure.py OUT    # rows to OUT/rows.csv; nothing else may run
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from woof_lightning.recipe.config import ModelConfig
from woof_lightning.recipe.model import build_net
from woof_lightning.recipe.optim import build_optimizer

REPEATS, WARM_UP, STEPS, BATCH_SIZE, SIZE_PX = 5, 2, 4, 128, 128
# glibc gives large blocks back to the system at once, which hands them out anew page by page, in each step.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**27)}
ARMS: dict[str, tuple[str, bool, dict[str, str]]] = {
    "fp32": ("fp32", False, {}),
    "fp32 channels_last": ("fp32", True, {}),
    "fp32 channels_last, memory kept": ("fp32", True, KEEP_MEMORY),
    "bf16 channels_last": ("bf16", True, {}),
    "bf16 channels_last, memory kept": ("bf16", True, KEEP_MEMORY),
}


def images_per_s(precision: str, channels_last: bool) -> float:
    """Images per second of whole training steps on random pixels."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = build_net("resnet18", 10, seed=0, channels_last=channels_last)
    optimizer = build_optimizer(net.parameters(), ModelConfig())
    images = torch.randn(BATCH_SIZE, 3, SIZE_PX, SIZE_PX).to(memory_format=layout)
    labels = torch.randint(10, (BATCH_SIZE,))
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            start_s = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return STEPS * BATCH_SIZE / (time.perf_counter() - start_s)


def main() -> None:
    if sys.argv[1] == "setting":
        precision, channels_last, _ = ARMS[sys.argv[2]]
        print(images_per_s(precision, channels_last))
        return
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with (out / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("repeat", "setting", "images_per_s"))
        for repeat in range(REPEATS):
            for name, (_, _, environment) in ARMS.items():
                command = [sys.executable, __file__, "setting", name]
                done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True)
                writer.writerow((repeat, name, f"{float(done.stdout):.4g}"))
                file.flush()


if __name__ == "__main__":
    main()
