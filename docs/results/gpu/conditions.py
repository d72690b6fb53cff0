"""Notes on what the measurements run: GPU, driver, libraries, and which imports fail.

python -m docs.results.gpu.conditions WORK_FOLDER cuda
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from docs.results.gpu.wheels import BROUGHT, THERE
from woof_lightning.loops.ways import WAYS
from woof_lightning.measure.machine import machine_id
from woof_lightning.resources import available_bytes
from woof_lightning.runs.record import machine, versions

IMPORTED = ("lightning.pytorch.cli", "jsonargparse", "docstring_parser", "torch.utils.tensorboard", "matplotlib.pyplot")


def main(work: Path, accelerator: str) -> str | None:
    """Writes conditions.json and returns what is wrong; None if nothing is."""
    failed = failed_imports((*IMPORTED, *(name for way in WAYS.values() for name in way.entry)))
    found = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "accelerator": accelerator,
        "gpu": gpu(),
        "machine": machine(torch.get_num_threads()),
        "machine_id": machine_id(),
        "free_memory_gb": round(available_bytes() / 1e9, 1),
        "versions": versions((*BROUGHT, *THERE)),
        "failed_imports": failed,
    }
    (work / "conditions.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    if failed:
        return f"cannot be imported: {', '.join(failed)}"
    return "torch sees no CUDA device" if accelerator == "cuda" and not torch.cuda.is_available() else None


def gpu() -> dict[str, Any] | None:
    """Returns name, memory, driver and libraries of the GPU; None if there is none."""
    if not torch.cuda.is_available():
        return None
    about = torch.cuda.get_device_properties(0)
    return {
        "name": about.name,
        "memory_gb": round(about.total_memory / 1e9, 1),
        "multiprocessors": about.multi_processor_count,
        "capability": f"{about.major}.{about.minor}",
        "driver": driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "bf16": torch.cuda.is_bf16_supported(),
    }


def driver() -> str | None:
    """Returns the version of NVIDIA's driver; None if nvidia-smi does not say."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def failed_imports(names: tuple[str, ...]) -> dict[str, str]:
    """Returns why modules cannot be imported, by name."""
    failed = {}
    for name in dict.fromkeys(names):
        try:
            importlib.import_module(name)
        except Exception as error:  # Whatever it is, the others are tried.
            failed[name] = f"{type(error).__name__}: {error}"
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
