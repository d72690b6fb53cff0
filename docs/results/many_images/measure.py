"""Measures how long `woof fit` takes to list and check as many images as ImageNet has, and the memory for it.

`python docs/results/many_images/measure.py FOLDER`, on a free machine. In a minute FOLDER gets ImageNet's layout: 1,000
classes with 1,281 training and 50 validation images each, all of them hard links to 300 tiny images. Each reading is
taken in a fresh process.
"""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from woof_lightning.measure.machine import machine_id
from woof_lightning.runs.record import machine, versions

HERE = Path(__file__).parent
CLASSES, IMAGES = 1000, {"train": 1281, "val": 50}
FILES, REPEATS = 300, 5


def link_images(root: Path) -> None:
    """Makes the folder, unless it is there."""
    from PIL import Image

    if root.exists():
        return
    draw = random.Random(0)
    sources = [root / ".files" / f"{number}.jpeg" for number in range(FILES)]
    sources[0].parent.mkdir(parents=True)
    for number, source in enumerate(sources):
        Image.new("RGB", (40 + number % 7, 32 + number % 5), tuple(draw.randrange(256) for _ in range(3))).save(source)
    for split, count in IMAGES.items():
        for label in range(CLASSES):
            folder = root / split / f"n{label:08d}"
            folder.mkdir(parents=True)
            for number in range(count):
                os.link(sources[(label * count + number) % FILES], folder / f"{folder.name}_{number}.JPEG")


def asked_s(root: Path) -> float:
    """What the system takes to name the files and to say their sizes and times, s."""
    start_s = time.perf_counter()
    for split in IMAGES:
        for folder in os.scandir(root / split):
            for entry in os.scandir(folder.path):
                entry.stat()
    return time.perf_counter() - start_s


def reading(root: Path) -> dict[str, float]:
    """The times of one start, s, and the memory that it adds, MB."""
    from woof_lightning.data.config import DataConfig
    from woof_lightning.data.imagewoof import prepare_checked_data

    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    start_s = time.perf_counter()
    prepare_checked_data(DataConfig(folder=root, image_size=32, cache="off"))
    prepared_s = time.perf_counter() - start_s
    added_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - before_mb
    return {"prepared_s": prepared_s, "added_mb": added_mb, "asked_s": asked_s(root)}


def main(root: Path) -> None:
    """Measures a first start and REPEATS further ones."""
    link_images(root)
    conditions = {
        "command": "python docs/results/many_images/measure.py FOLDER",
        "machine": machine(0) | {"threads": "one per usable core"},
        "machine_id": machine_id(),
        "date": time.strftime("%Y-%m-%d"),
        "images": CLASSES * sum(IMAGES.values()),
        "versions": versions(),
    }
    (HERE / "conditions.json").write_text(json.dumps([conditions], indent=2) + "\n", encoding="utf-8")
    with TemporaryDirectory() as cache, (HERE / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("start", "name", "value"))
        for start in range(1 + REPEATS):
            command = [sys.executable, __file__, "reading", str(root)]
            output = subprocess.check_output(command, env={**os.environ, "XDG_CACHE_HOME": cache})
            for name, value in json.loads(output).items():
                rows.writerow((start, name, f"{value:.4g}"))
            file.flush()


if __name__ == "__main__":
    if sys.argv[1] == "reading":
        print(json.dumps(reading(Path(sys.argv[2]))))
    else:
        main(Path(sys.argv[1]).resolve())
