"""The table of docs/fine-tuning.md: the order, and differences between trainings with the same seed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from docs.generate.finetune_tables import FINETUNE_TABLES, FINETUNE_VALUES, default_variant
from docs.results.finetune.measure import Size, Variant, variants


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The default, a worse and a better variant; the seeds stand in another order for each."""
    better, worse = Variant(0.7, 0.1, 1, 0.1), Variant(0.02, scratch=True)
    top1 = {default_variant(): (0.5, 0.7), worse.name: (0.4, 0.3), better.name: (0.6, 0.9)}
    rows: list[tuple[object, ...]] = []
    for seed in (1, 0):
        for name, values in top1.items():
            settings = ("0.02", "1.0", 0, 0.0, "True") if name == worse.name else ("0.7", "0.1", 1, 0.1, "False")
            rows.append((name, seed, *settings, values[seed]))
        top1 = dict(reversed(top1.items()))
    header = ("variant", "seed", "lr", "factor", "frozen", "smoothing", "scratch", "acc1")
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return tmp_path


def test_the_best_is_first_and_seeds_are_compared_with_themselves(folder: Path) -> None:
    lines = FINETUNE_TABLES["finetune"](folder).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in cells] == ["trained", "trained", "random"]
    assert [row[-2] for row in cells] == ["0.750 (0.600 to 0.900)", "0.600 (0.500 to 0.700)", "0.350 (0.300 to 0.400)"]
    assert [row[-1] for row in cells] == ["+15.0 (+10.0 to +20.0)", "the default", "-25.0 (-40.0 to -10.0)"]
    assert cells[2][2:4] == ["", ""], "a net from scratch has no share of the backbone, and no frozen epochs"


def test_the_default_is_one_of_the_measured_variants() -> None:
    assert default_variant() in [one.name for one in variants(Size().epochs)]


def test_a_value_is_the_mean_over_the_seeds(folder: Path) -> None:
    assert FINETUNE_VALUES["finetune"](folder, "default") == "0.600"
    assert FINETUNE_VALUES["finetune"](folder, Variant(0.7, 0.1, 1, 0.1).name) == "0.750"
