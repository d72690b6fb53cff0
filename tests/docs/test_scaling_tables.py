"""The tables of docs/scaling.md: the formula of the ring, differences within a repeat, what the assumptions give."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from docs.generate.scaling_tables import (
    LINKS,
    SCALING_TABLES,
    SCALING_VALUES,
    measured,
    ring_s,
    scaling_hidden_text,
    speed_left,
)
from docs.results.scaling.measure import COLUMNS, EXCHANGE, PARAMETERS, STEP, STEP_ALONE

MILLION = 10**6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three repeats, in the second of which the machine was half as fast."""
    rows: list[tuple[object, ...]] = [(2, 64, 4, 0, PARAMETERS, 25 * MILLION)]
    for repeat, slower in enumerate((1, 2, 1)):
        # Not in the order of the repeats, as a cut measurement might leave it.
        rows = [(2, 64, 4, repeat, EXCHANGE, 0.1 * slower), *rows, (2, 64, 4, repeat, STEP, 0.45 * slower)]
        rows.append((2, 64, 4, repeat, STEP_ALONE, 0.4 * slower))
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return tmp_path


def test_differences_are_within_a_repeat(folder: Path) -> None:
    medians = {name: one.median for name, one in measured(folder).items()}
    assert medians == pytest.approx(
        {"exchange": 100, "step": 450, "step_alone": 400, "extra": 50, "visible": 50, "more": 12.5, "gb_per_s": 1}
    )
    assert measured(folder)["visible"].low == pytest.approx(50), "no repeat differs"
    table = SCALING_TABLES["scaling-exchange"](folder)
    assert "25 million parameters, 100 MB of gradients in fp32; 2 processes, 4 images of 64 px for each; 3 rep" in table


def test_a_ring_sends_nearly_twice_the_bytes() -> None:
    assert ring_s(1e9, 2, 1) == pytest.approx(1)
    assert ring_s(1e9, 4, 1) == pytest.approx(1.5)
    assert ring_s(1e9, 1000, 2) == pytest.approx(0.999)


def test_the_speed_that_is_left() -> None:
    """A step of 300 images takes 100 ms, two thirds of which can hide an exchange."""
    assert speed_left(0.1, 300) == pytest.approx((0.5, 0.1 / (0.1 + 0.1 / 3)))
    assert speed_left(0.05, 300) == pytest.approx((0.1 / 0.15, 1))


def test_the_exchange_is_hidden_from_that_many_images_on(folder: Path) -> None:
    for number, link in enumerate(LINKS):
        images = float(scaling_hidden_text(folder, str(number)).replace(",", ""))
        exchange_s = ring_s(1e8, link.gpus, link.gb_per_s)
        assert speed_left(exchange_s, 1.01 * images)[1] == 1
        assert speed_left(exchange_s, 0.98 * images)[1] < 1


def test_states_and_loading(folder: Path) -> None:
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in SCALING_TABLES["scaling-states"](folder).splitlines()
    ]
    by_net = {row[0]: row[1:] for row in rows}
    assert by_net["ResNet-18"] == ["0.4", "yes", "0.05", "0.0125"]
    assert by_net["a net of 7 billion"][:2] == ["112", "no"]
    assert SCALING_VALUES["scaling_most"](folder) == "5"
    speed = Path(__file__).parents[2] / "docs" / "results" / "speed" / "amd-25-1"
    lines = SCALING_TABLES["scaling-loading"](speed).splitlines()
    one, eight, many = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:5])
    assert (one[1], eight[1], many[1]) == ("3,000", "24,000", "96,000")
    assert float(eight[2]) == pytest.approx(8 * float(one[2]), rel=0.01)
    assert many[2] == eight[2], "each node loads for its own GPUs"
