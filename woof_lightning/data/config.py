"""The settings of the data: which images are used and how they are loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from woof_lightning.data.splitting import Split
from woof_lightning.errors import UserError, raise_together
from woof_lightning.resources import usable_cores

VARIANTS = ("full", "320px", "160px", "synthetic")
NOISE_LEVELS_PERCENT = (0, 1, 5, 25, 50)
OFF, DISK, AUTO = "off", "disk", "auto"
CACHES = (OFF, DISK, AUTO)


@dataclass(frozen=True)
class DataConfig:
    """Which images are used and how they are loaded.

    Args:
        root: Folder that contains the data sets.
        variant: full, 320px, 160px (the official archives) or synthetic (drawn by this program, needs no network).
            Each has its own folder in root.
        folder: A folder with train/CLASS/ and val/CLASS/, or with CLASS/ alone, used instead of root and variant.
        val_share: Share of the images used for validation, if folder has no train/ and val/. An image's own name
            decides its split, so it stays there when others are added. A class has this share on average.
        split_seed: Seed of that split. seed_everything does not change the split: runs with different seeds are
            validated on the same images.
        archive: A local archive to unpack into root if the variant is not there.
        download: Download the official archive if the variant is not there.
        image_size: Side of the square images that the net sees, in px.
        batch_size: Images per training step, over all devices together.
        eval_batch_size: Images per validation batch, per device.
        num_workers: Number of worker processes that load images. 0 loads in the training process, null takes one per
            core. Results do not depend on it.
        skip_unreadable: Train without the images that cannot be read. If false, they end the run before the training.
        noisy_labels: Percentage of training labels replaced by wrong ones: 0, 1, 5, 25 or 50.
        pin_memory: Load into page-locked memory, for faster copies to a CUDA device.
        cache: Whether decoded images are kept in the user's cache folder: off, disk, or auto, which keeps them if they
            need at most half of the free disk. Results do not depend on it.
        on_device: Keep all training images on the training device and augment there, which takes no processor time. The
            augmentation then draws other random numbers, so the same seed gives other results than without it.

    Raises:
        UserError: If a setting cannot be used. The error lists all such settings.
    """

    root: Path = Path("data")
    variant: str = "320px"
    folder: Path | None = None
    val_share: float = 0.2
    split_seed: int = 0
    archive: Path | None = None
    download: bool = True
    image_size: int = 224
    batch_size: int = 128
    eval_batch_size: int = 16
    num_workers: int | None = None
    skip_unreadable: bool = False
    noisy_labels: int = 0
    pin_memory: bool = False
    cache: str | bool = "auto"
    on_device: bool = False

    def __post_init__(self) -> None:
        for name in ("root", "folder", "archive"):
            if (place := getattr(self, name)) is not None:
                object.__setattr__(self, name, expanded(place))  # The class is frozen.
        if self.cache is False:  # YAML reads off as false.
            object.__setattr__(self, "cache", OFF)
        raise_together(data_problems(self))

    @property
    def worker_count(self) -> int:
        """The number of loading processes; null means one per usable core."""
        return usable_cores() if self.num_workers is None else self.num_workers

    @property
    def split(self) -> Split:
        """How the images of a folder without train/ and val/ are divided."""
        return Split(self.val_share, self.split_seed)

    def as_plain(self) -> dict[str, Any]:
        """Returns the settings as plain values, with paths as text."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


def expanded(place: Path) -> Path:
    """Returns a path with ~ at its beginning replaced by the user's home.

    Raises:
        UserError: If the home is not known.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"the path {place} begins with ~: this user's home is not known; write the whole path"
        ) from error


def data_problems(config: DataConfig) -> list[str]:
    """Returns one sentence for each setting that cannot be used."""
    problems = []
    if config.variant not in VARIANTS:
        problems.append(f"data.variant is {config.variant!r}: expected one of {', '.join(VARIANTS)}")
    if not 0 < config.val_share < 1:
        problems.append(f"data.val_share is {config.val_share}: expected a share above 0 and below 1, such as 0.2")
    for key, value in (
        ("image_size", config.image_size),
        ("batch_size", config.batch_size),
        ("eval_batch_size", config.eval_batch_size),
    ):
        if value <= 0:
            problems.append(f"data.{key} is {value}: expected at least 1")
    if config.num_workers is not None and config.num_workers < 0:
        problems.append(f"data.num_workers is {config.num_workers}: expected 0 or more, or null for one per core")
    if config.noisy_labels not in NOISE_LEVELS_PERCENT:
        levels = ", ".join(map(str, NOISE_LEVELS_PERCENT))
        problems.append(f"data.noisy_labels is {config.noisy_labels}: expected one of the percentages {levels}")
    if config.cache not in (*CACHES, False):
        problems.append(f"data.cache is {config.cache!r}: expected one of {', '.join(CACHES)}")
    return problems
