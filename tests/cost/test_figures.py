"""What the figures show: the places and lengths of their bars and lines."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.cost.test_summary import in_order, rows
from woof_lightning.cost.draw import TWO, draw_figures, draw_fixed, draw_share, draw_waterfall, fingerprint
from woof_lightning.cost.features import FEATURES
from woof_lightning.cost.rows import STEP
from woof_lightning.cost.summary import summary


def estimates(*added: Any) -> dict[tuple[str, str], Any]:
    found = summary(list(added), {})["estimates"]
    return {(e["way"], e["condition"]): e for e in found if e["measure"] == STEP}


FIXED = (
    *rows("bare", "off", in_order(100, 110, 120)),
    *rows("bare", "on", in_order(130, 135, 150)),
    *rows("woof_fit", "on", in_order(400, 420, 490)),
    *rows("fabric", "off", in_order(103, 112, 121)),
    *rows("fabric", "on", in_order(150, 160, 180)),
)


def bars(axes: Any) -> list[tuple[float, float, float]]:
    """Place, start and length of each bar that has a length, from below."""
    found = [(bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_width()) for bar in axes.patches]
    return sorted((round(y, 3), round(x, 3), round(width, 3)) for y, x, width in found if width)


def test_bars_of_fixed_cost_are_what_a_way_adds_sorted_with_their_intervals() -> None:
    axes: Any = Figure().add_subplot()
    found = estimates(*FIXED)
    draw_fixed(axes, found)
    # Pairs over bare in the same condition: fabric 3, 2, 1 without reports; 20, 25, 30 and woof fit 270, 285, 340 with.
    assert bars(axes) == [(0, 0, 2), (1, 0, 25), (2, 0, 285)]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["Fabric", "Fabric", "woof fit"]
    colours = {round(bar.get_width()): bar.get_facecolor() for bar in axes.patches if bar.get_width()}
    assert colours[2] != colours[25] == colours[285]
    assert TWO[0] != TWO[1]
    lines = [
        tuple(round(x) for x, _ in path.vertices) for collection in axes.collections for path in collection.get_paths()
    ]
    assert sorted(lines) == [(1, 3), (20, 30), (270, 340)]
    texts = [annotation.get_text() for annotation in axes.texts]
    assert texts == ["2", "25", "285"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "no bar, no reports", "as its users have it, with reports",
    ]  # fmt: skip


def test_the_waterfall_goes_on_where_the_feature_before_ended() -> None:
    values = {
        side: [100.0 * start + 10 * n * n for n in range(len(FEATURES))]
        for start, side in enumerate(("hand", "lightning"), 1)
    }
    made = [
        row
        for side, steps in values.items()
        for feature, step_us in zip(FEATURES, steps, strict=True)
        for row in rows(f"{side}:{feature}", "waterfall", in_order(step_us, step_us, step_us))
    ]
    axes: Any = Figure().add_subplot()
    draw_waterfall(axes, estimates(*made))
    found = bars(axes)
    for side, offset in (("lightning", -0.2), ("hand", 0.2)):
        own = [(y - offset, x, width) for y, x, width in found if round(y - offset, 3) == round(y - offset)]
        starts = [0.0, *values[side][:-1]]
        assert [(round(y), x) for y, x, _ in own] == list(enumerate(starts))
        assert [width for _, _, width in own] == [
            pytest.approx(step - start) for step, start in zip(values[side], starts, strict=True)
        ]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        name if place == 0 else f"+ {name}" for place, name in enumerate(FEATURES)
    ]
    assert axes.yaxis_inverted()


def test_the_share_falls_with_the_step() -> None:
    axes: Any = Figure().add_subplot()
    real = rows("bare", "resnet18 128 px", in_order(200_000, 200_000, 200_000))
    draw_share(axes, estimates(*FIXED[:-1], *rows("fabric", "on", in_order(90, 95, 100)), *real))
    curves = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    # Fabric costs less than nothing, which a logarithm cannot show.
    assert set(curves) == {"woof fit"}
    steps_ms, shares = curves["woof fit"].get_data()
    assert shares[list(steps_ms).index(1.0)] == pytest.approx(100 * 0.285 / 1)
    assert shares[list(steps_ms).index(100.0)] == pytest.approx(0.285)
    straight = [line for line in axes.lines if line.get_label().startswith("_")]
    assert any(list(line.get_ydata()) == [1, 1] for line in straight), "The line of one percent."
    assert any(list(line.get_xdata()) == [200, 200] for line in straight), "The step of ResNet-18."
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_only_what_was_measured_is_drawn(tmp_path: Any) -> None:
    found = summary(list(FIXED), {})
    assert [file.name for file in draw_figures(found, tmp_path)] == ["fixed.png", "share.png"]
    assert draw_figures(summary(list(rows("bare", "off", in_order(1, 2))), {}), tmp_path) == []
    other = summary([*FIXED, *rows("ignite", "on", in_order(500, 500, 500))], {})
    assert fingerprint(found) == fingerprint(summary(list(FIXED), {"other": "conditions"})) != fingerprint(other)
    assert fingerprint(found).encode() in (tmp_path / "fixed.png").read_bytes()
    with Image.open(tmp_path / "fixed.png") as picture:
        assert picture.size == (990, 605)
