"""Runs `woof` in true fp32: without TF32, which PyTorch uses for convolutions by default.

python -m docs.results.gpu.true_fp32 FLAGS.json fit --config configs/adamw_onecycle.yaml …

FLAGS.json gets what PyTorch says about TF32 after the run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from woof_lightning.cli import main as woof


def tf32_off() -> None:
    """Makes PyTorch compute in fp32 alone."""
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def flags() -> dict[str, object]:
    """Returns what PyTorch says about TF32."""
    return {
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def main(args: list[str]) -> int:
    """Runs `woof`, notes the flags, and returns its exit code."""
    tf32_off()
    code = woof(args[1:])
    file = Path(args[0])
    if file.parent.is_dir():  # Otherwise no run was begun.
        file.write_text(json.dumps(flags(), indent=2) + "\n", encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
