"""The synthetic stand-in for Imagewoof: drawings of ten "breeds", as JPEGs in the same folder layout.

A breed is a coat pattern and an ear shape. Colours, size, position and background are random for each dog, so the mean
colour of an image says next to nothing about the breed.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from woof_lightning.data.temporary import alone_at, temporary_folder_beside
from woof_lightning.errors import UserError

SIZE_PX = 128
IMAGES_PER_BREED = {"train": 48, "val": 16}
SEED = 2020
JPEG_QUALITY = 90
# Increase it with every change of the drawing: a folder drawn by another version is drawn again.
DRAWING_VERSION = 1
VERSION_FILE = ".drawing_version"

COATS = ("plain", "striped", "banded", "spotted", "checkered")
EARS = ("pointed", "floppy")
BREEDS = {
    f"s{number:08d}": f"{coat} {ears}-eared hound"
    for number, (coat, ears) in enumerate(itertools.product(COATS, EARS), start=1)
}

Array = NDArray[np.float64]


def draw(folder: Path) -> None:
    """Draws the data set if it is not there yet. The files are the same each time.

    Args:
        folder: The folder to create, with train/<class>/ and val/<class>/.

    Raises:
        UserError: If the folder exists and was not drawn by this function.
    """
    if _is_drawn(folder):
        return
    with alone_at(folder), temporary_folder_beside(folder, "drawing") as temporary:
        if _is_drawn(folder):  # Another process drew it while this one waited.
            return
        if folder.exists() and not (folder / VERSION_FILE).is_file():
            raise UserError(
                f"{folder} exists and was not drawn by woof: expected the synthetic data set or no such folder; choose "
                "another data.root, or name your own images with data.folder"
            )
        drawn = temporary / folder.name
        for split, count in IMAGES_PER_BREED.items():
            for label, name in enumerate(BREEDS):
                _draw_breed(drawn / split / name, split, label, count)
        (drawn / VERSION_FILE).write_text(str(DRAWING_VERSION), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        drawn.replace(folder)


def _is_drawn(folder: Path) -> bool:
    version = folder / VERSION_FILE
    return version.is_file() and version.read_text(encoding="utf-8") == str(DRAWING_VERSION)


def _draw_breed(folder: Path, split: str, label: int, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng([SEED, list(IMAGES_PER_BREED).index(split), label, number])
        image = draw_dog(COATS[label // len(EARS)], EARS[label % len(EARS)], rng)
        Image.fromarray(image).save(folder / f"{folder.name}_{number:03d}.JPEG", quality=JPEG_QUALITY)


def draw_dog(coat: str, ears: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draws the head of one dog.

    Args:
        coat: One of COATS.
        ears: One of EARS.
        rng: Source of the random colours, position, size, background and noise.

    Returns:
        [SIZE_PX, SIZE_PX, 3], uint8, RGB.
    """
    y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX] / SIZE_PX
    u, v = _placed(x, y, rng)
    light, dark = _two_colours(rng)
    fur = np.where(_coat_mask(coat, u, v, rng)[..., None], dark, light)

    image = _background(x, y, rng)
    head = (u / 0.8) ** 2 + v**2 < 1
    image[_ear_mask(ears, u, v)] = dark * 0.9
    image[head] = fur[head]
    for side in (-1, 1):
        image[(u - 0.3 * side) ** 2 + (v + 0.25) ** 2 < 0.012] = 0.05
    image[(u / 1.4) ** 2 + (v - 0.35) ** 2 < 0.02] = 0.05
    image += rng.normal(0, 0.03, image.shape)
    return (image.clip(0, 1) * 255).astype(np.uint8)


def _placed(x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Returns coordinates in which the head is a unit disc around the origin."""
    scale = rng.uniform(0.26, 0.36)
    centre_x, centre_y = rng.uniform(0.4, 0.6, 2)
    angle = rng.uniform(-0.25, 0.25)
    dx, dy = (x - centre_x) / scale, (y - centre_y) / scale
    return dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)


def _two_colours(rng: np.random.Generator) -> tuple[Array, Array]:
    base = rng.uniform(0.35, 0.75, 3)
    contrast = rng.uniform(0.2, 0.3)
    return base + contrast, base - contrast


def _coat_mask(coat: str, u: Array, v: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Returns where the fur is dark."""
    waves = rng.uniform(9, 13)
    phase_u, phase_v = rng.uniform(0, 2 * np.pi, 2)
    across, along = np.sin(waves * u + phase_u), np.sin(waves * v + phase_v)
    masks = {
        "plain": np.full(u.shape, rng.random() < 0.5),
        "striped": across > 0,
        "banded": along > 0,
        "spotted": across * along > 0.45,
        "checkered": (across > 0) ^ (along > 0),
    }
    return np.asarray(masks[coat])


def _ear_mask(ears: str, u: Array, v: Array) -> NDArray[np.bool_]:
    mask = np.zeros(u.shape, dtype=bool)
    for side in (-1, 1):
        if ears == "pointed":
            mask |= (np.abs(u - 0.55 * side) < (v + 1.5) * 0.4) & (v > -1.5) & (v < -0.4)
        else:
            mask |= ((u - 0.95 * side) / 0.28) ** 2 + ((v - 0.1) / 0.75) ** 2 < 1
    return mask


def _background(x: Array, y: Array, rng: np.random.Generator) -> Array:
    here, there = rng.uniform(0.1, 0.9, (2, 3))
    slope = rng.uniform(-1, 1, 2)
    blend = (0.5 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5)).clip(0, 1)
    return np.asarray(here + (there - here) * blend[..., None])
