"""Compares what each exported file says of real images with `woof predict`.

python docs/results/export/measure.py NAME RUN IMAGES

NAME is the folder for the rows, RUN that of a run, and IMAGES one with images. Each file is read by the script of its
format in docs/examples/export, which knows nothing of this package.
"""

from __future__ import annotations

import csv
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torchvision.transforms import v2

from woof_lightning.data.decoding import read_image
from woof_lightning.data.listing import images_below
from woof_lightning.data.transforms import eval_transform, normalise, short_side_px
from woof_lightning.export.formats import FORMATS
from woof_lightning.export.graph import Preprocess, resized, rounded
from woof_lightning.measure.conditions import add_call
from woof_lightning.recipe.checkpoint import load_net, read_checkpoint, recipe_of
from woof_lightning.recipe.prediction import predict
from woof_lightning.recipe.preprocessing import Preprocessing, preprocessing_of
from woof_lightning.runs.folder import checkpoint_file
from woof_lightning.runs.record import machine, versions

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "export"
IMAGES = 100
# What is compared: the answers to the same normalised tensor, or to the same image file.
TENSOR, FILE = "normalised tensor", "image file"
PIXEL_COLUMNS = ("size_px", "rounded", "images", "share_that_differs", "largest_levels")
SIZES_PX = (64, 128, 224)
ONCE, EACH = "at the end", "after each direction"
COLUMNS = ("format", "given", "preprocess_in_graph", "images", "same_top1", "largest_difference", "size_bytes")
EXAMPLE_OF = {name: f"load_{name.replace('.', '_')}" for name in FORMATS}


def exported(checkpoint: Path, to: str, out: Path, *more: str) -> Path:
    """Returns a file that `woof export` wrote."""
    words = ["export", "--ckpt", str(checkpoint), "--to", to, "--out", str(out), *more]
    subprocess.run([sys.executable, "-m", "woof_lightning", *words], check=True, stdout=subprocess.DEVNULL)
    return out


def predicted(checkpoint: Path, images: list[Path]) -> torch.Tensor:
    """Returns the probability of each class as `woof predict` has it, [images, classes]."""
    classes = recipe_of(read_checkpoint(checkpoint)).classes
    rows = []
    for answer in predict(checkpoint, images, top=len(classes)):
        shares = {guess.class_name: guess.probability for guess in answer.top}
        rows.append([shares[name] for name in classes])
    return torch.tensor(rows)


def normalised(checkpoint: Path, images: list[Path]) -> torch.Tensor:
    """Returns what the net sees of the images, [images, 3, S, S]."""
    size = preprocessing_of(recipe_of(read_checkpoint(checkpoint))).image_size
    return normalise(torch.stack([eval_transform(size)(read_image(image)) for image in images]))


def compared(answers: torch.Tensor, expected: torch.Tensor) -> tuple[int, str]:
    """Returns how many images have the same most probable class, and the largest difference of a probability."""
    same = int((answers.argmax(1) == expected.argmax(1)).sum())
    return same, f"{float((answers - expected).abs().max()):.3g}"


def answers_to_tensors(file: Path, to: str, batch: torch.Tensor) -> torch.Tensor:
    """Returns the probabilities of a file without preprocessing, all images in one batch."""
    example: Any = importlib.import_module(EXAMPLE_OF[to])
    net, about = example.load(str(file))
    if to == "onnx":
        return torch.from_numpy(net.run(None, {about["input"]["name"]: batch.numpy()})[0])
    with torch.inference_mode():
        if FORMATS[to].graph:
            return torch.as_tensor(net(batch))
        return torch.as_tensor(net[1](batch)[:, : len(about["classes"])].softmax(1))


def answers_to_files(file: Path, to: str, images: list[Path]) -> torch.Tensor:
    """Returns the probabilities as the script of the format has them, image by image."""
    example: Any = importlib.import_module(EXAMPLE_OF[to])
    net, about = example.load(str(file))
    more = () if FORMATS[to].graph else (about,)
    return torch.stack([torch.as_tensor(example.classify(net, *more, str(image))) for image in images])


def measured(checkpoint: Path, images: list[Path]) -> list[tuple[Any, ...]]:
    """Returns the rows: each format by the same tensor, and by the same files."""
    batch = normalised(checkpoint, images)
    with torch.inference_mode():
        by_tensor = load_net(checkpoint)(batch)[:, : len(recipe_of(read_checkpoint(checkpoint)).classes)].softmax(1)
    by_file = predicted(checkpoint, images)
    rows: list[tuple[Any, ...]] = []
    for to, found in FORMATS.items():
        with TemporaryDirectory() as folder:
            plain = exported(checkpoint, to, Path(folder) / f"plain{found.suffixes[0]}")
            by_plain = compared(answers_to_tensors(plain, to, batch), by_tensor)
            rows.append((to, TENSOR, False, len(images), *by_plain, plain.stat().st_size))
            whole = plain
            if found.graph:
                whole = exported(checkpoint, to, Path(folder) / f"whole{found.suffixes[0]}", "--preprocess")
            by_whole = compared(answers_to_files(whole, to, images), by_file)
            rows.append((to, FILE, found.graph, len(images), *by_whole, whole.stat().st_size))
    return rows


def rounded_once(images: torch.Tensor, resize_px: int) -> torch.Tensor:
    """Returns a batch resized in floats, as one would at first."""
    height, width = images.shape[2:]
    sides = (resize_px * side // min(height, width) for side in (height, width))
    return rounded(resized(images.float(), *sides))


def pixels(images: list[Path]) -> list[tuple[Any, ...]]:
    """Returns the rows: how many pixels differ from torch's resize of bytes if floats are resized."""
    rows = []
    for size_px in SIZES_PX:
        preprocessing = Preprocessing(size_px, short_side_px(size_px), (0.0,) * 3, (1 / 255,) * 3)
        in_bytes, in_floats = Preprocess(preprocessing), Preprocess(preprocessing, resize_floats=True)
        levels: dict[str, list[torch.Tensor]] = {ONCE: [], EACH: []}
        for image in images:
            batch = read_image(image)[None]
            levels[EACH].append((in_floats(batch) - in_bytes(batch)).flatten())
            crop = v2.CenterCrop(size_px)(rounded_once(batch, preprocessing.resize_px))
            levels[ONCE].append((crop - in_bytes(batch)).flatten())
        for name, found in levels.items():
            differences = torch.cat(found).round().abs()
            share, most = float((differences > 0).float().mean()), int(differences.max())
            rows.append((size_px, name, len(images), f"{share:.3g}", most))
    return rows


def write(file: Path, rows: list[tuple[Any, ...]]) -> None:
    """Writes rows, the first of them the names of the columns."""
    with file.open("w", newline="", encoding="utf-8") as text:
        csv.writer(text, lineterminator="\n").writerows(rows)


def main() -> None:
    """Writes the rows and their conditions."""
    name, run, folder = sys.argv[1:]
    sys.path.insert(0, str(EXAMPLES))
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    checkpoint = checkpoint_file(Path(run))
    images = sorted(images_below(Path(folder)))
    images = images[:: max(1, len(images) // IMAGES)][:IMAGES]
    out = HERE / name
    out.mkdir(exist_ok=True)
    write(out / "rows.csv", [COLUMNS, *measured(checkpoint, images)])
    write(out / "pixels.csv", [PIXEL_COLUMNS, *pixels(images)])
    trained = recipe_of(read_checkpoint(checkpoint))
    result = Path(run) / "result.json"
    top1 = json.loads(result.read_text(encoding="utf-8"))["best"]["val/acc1"] if result.exists() else None
    call = {
        "command": f"python docs/results/export/measure.py {name} RUN IMAGES",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(1),
        "versions": versions(("onnx", "onnxscript", "onnxruntime", "safetensors", "pillow")),
        "run": {"arch": trained.model["arch"], "image_size_px": trained.data["image_size"], "best_top1": top1},
    }
    add_call(out / "conditions.json", call, replaces=lambda earlier: earlier["command"] == call["command"])


if __name__ == "__main__":
    main()
