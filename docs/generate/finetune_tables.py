"""The table of docs/fine-tuning.md: ways to train on 300 photos, from the rows of docs/results/finetune/measure.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import yaml

from docs.generate.result_tables import read_rows
from docs.generate.speed_tables import machine_text
from docs.results.finetune.measure import Variant
from woof_lightning.compare.tables import markdown_table

CONFIG = Path(__file__).parents[2] / "configs" / "finetune.yaml"
# Top-1 of the last epoch by seed, in the order of the seeds.
Top1 = Mapping[str, Sequence[float]]


def top1_of(folder: Path) -> Top1:
    """Returns the top-1 of each variant's last epochs, by its name."""
    found: dict[str, list[float]] = {}
    for row in sorted(read_rows(folder / "rows.csv"), key=lambda row: int(row["seed"])):
        found.setdefault(row["variant"], []).append(float(row["acc1"]))
    return found


def default_variant() -> str:
    """Returns the name of the variant that configs/finetune.yaml is."""
    model = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["model"]
    return Variant(
        model["lr"], model["backbone_lr_factor"], model["freeze_epochs"], model.get("label_smoothing", 0.0)
    ).name


def finetune_table(folder: Path) -> str:
    """The variants, the best first: mean top-1, and how far each is from the default for the same seeds."""
    rows = {row["variant"]: row for row in read_rows(folder / "rows.csv")}
    top1, default = top1_of(folder), default_variant()
    table = []
    for name in sorted(top1, key=lambda name: -fmean(top1[name])):
        row, scratch = rows[name], rows[name]["scratch"] == "True"
        points = [100 * (own - its) for own, its in zip(top1[name], top1[default], strict=True)]
        table.append(
            [
                "random" if scratch else "trained",
                row["lr"],
                "" if scratch else row["factor"],
                "" if scratch else row["frozen"],
                row["smoothing"],
                spread(top1[name], ".3f"),
                "the default" if name == default else spread(points, "+.1f"),
            ]
        )
    header = ("weights", "`lr`", "backbone's share", "frozen epochs", "smoothing", "top-1", "points above the default")
    return markdown_table(header, table)


def spread(values: Sequence[float], digits: str) -> str:
    """The mean with the lowest and the highest value.

    Args:
        values: One for each seed.
        digits: How a number is written.
    """
    return f"{fmean(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"


def finetune_text(folder: Path, variant: str) -> str:
    """The mean top-1 of a variant, or of the default."""
    return f"{fmean(top1_of(folder)[default_variant() if variant == 'default' else variant]):.3f}"


FINETUNE_TABLES: dict[str, Callable[[Path], str]] = {
    "finetune": finetune_table,
    "finetune-conditions": machine_text,
}
FINETUNE_VALUES: dict[str, Callable[..., str]] = {"finetune": finetune_text}
