"""The geometry of a drawn dog, in coordinates in which the head is a disc of radius 1 around the origin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from woof_lightning.data import synthetic
from woof_lightning.data.synthetic import BREEDS, COATS, EARS, SIZE_PX, draw_dog

GRID = np.linspace(-2.5, 2.5, 501)
U, V = np.meshgrid(GRID, GRID)


class Given:
    """A source of random numbers that gives the ones it was given, and notes between which bounds they were asked."""

    def __init__(self, *values: Any) -> None:
        self.values: Iterator[Any] = iter(values)
        self.bounds: list[tuple[float, float]] = []

    def uniform(self, low: float, high: float, size: Any = None) -> Any:
        self.bounds.append((low, high))
        return np.asarray(next(self.values), dtype=float)

    def random(self) -> float:
        return float(next(self.values))


def test_ten_breeds_are_each_coat_with_each_ear() -> None:
    assert len(BREEDS) == 10
    assert min(BREEDS) == "s00000001"
    assert max(BREEDS) == "s00000010"
    assert set(BREEDS.values()) == {f"{coat} {ears}-eared hound" for coat in COATS for ears in EARS}
    assert BREEDS["s00000002"] == "plain floppy-eared hound"


@pytest.mark.parametrize("angle", [0.0, 0.2, -0.25])
def test_the_head_is_placed_scaled_and_turned(angle: float) -> None:
    rng = Given(0.3, [0.45, 0.55], angle)
    u, v = synthetic._placed(np.array([0.45, 0.75, 0.45]), np.array([0.55, 0.55, 0.85]), rng)  # type: ignore[arg-type]
    assert (u[0], v[0]) == (0, 0)
    np.testing.assert_allclose([u[1], v[1]], [np.cos(angle), -np.sin(angle)])
    np.testing.assert_allclose([u[2], v[2]], [np.sin(angle), np.cos(angle)])
    assert rng.bounds == [(0.26, 0.36), (0.4, 0.6), (-0.25, 0.25)]


def test_two_colours_lie_on_both_sides_of_a_third() -> None:
    rng = Given([0.4, 0.5, 0.6], 0.25)
    light, dark = synthetic._two_colours(rng)  # type: ignore[arg-type]
    np.testing.assert_allclose(light, [0.65, 0.75, 0.85])
    np.testing.assert_allclose(dark, [0.15, 0.25, 0.35])
    # Every colour that can come of it is one.
    (least, most), (smallest, largest) = rng.bounds
    assert least - largest > 0
    assert most + largest <= 1.05
    assert smallest > 0.1, "A pattern can be seen."


def coat(name: str, chance: float = 0.7) -> Any:
    return synthetic._coat_mask(name, U, V, Given(10.0, [0.5, 1.0], chance))  # type: ignore[arg-type]


def test_stripes_and_bands_run_along_one_direction_and_fill_half() -> None:
    striped, banded = coat("striped"), coat("banded")
    assert (striped == striped[:1]).all()
    assert (banded == banded[:, :1]).all()
    for mask, line in ((striped, striped[0]), (banded, banded[:, 0])):
        assert 0.45 < mask.mean() < 0.55
        # Ten radians a unit over five units: eight waves, each with two edges.
        assert 15 <= np.count_nonzero(np.diff(line.astype(int))) <= 17
    # At the origin the waves have their phases; both sines are above zero there, and just before -phase below.
    origin = len(GRID) // 2
    assert striped[0, origin]
    assert not striped[0, origin - 6]
    assert banded[origin, 0]
    assert not banded[origin - 11, 0]


def test_checks_and_spots_are_made_of_both() -> None:
    striped, banded, checkered, spotted = map(coat, ("striped", "banded", "checkered", "spotted"))
    assert (checkered == (striped != banded)).all()
    # Spots lie where both waves are high or both low, away from the edges.
    assert not (spotted & checkered).any()
    assert 0.1 < spotted.mean() < 0.25
    assert spotted.any(axis=0).mean() > 0.5


@pytest.mark.parametrize(("chance", "dark"), [(0.2, True), (0.8, False)])
def test_plain_fur_has_one_colour(chance: float, dark: bool) -> None:
    mask = coat("plain", chance)
    assert mask.shape == U.shape
    assert (mask == dark).all()


@pytest.mark.parametrize("ears", EARS)
def test_ears_are_a_pair(ears: str) -> None:
    mask = synthetic._ear_mask(ears, U, V)
    # But for rounding at the edges.
    assert (mask != mask[:, ::-1]).sum() < 100
    assert not mask[:, len(GRID) // 2].any()


def extent(mask: Any) -> tuple[float, float, float, float]:
    """Least and greatest u and v of the right half of a mask."""
    right = mask & (U > 0)
    return tuple(float(value) for value in (U[right].min(), U[right].max(), V[right].min(), V[right].max()))  # type: ignore[return-value]


def test_pointed_ears_stand_on_the_head_and_narrow_upwards() -> None:
    mask = synthetic._ear_mask("pointed", U, V)
    least_u, most_u, top, bottom = extent(mask)
    assert top == pytest.approx(-1.5, abs=0.04)
    assert bottom == pytest.approx(-0.4, abs=0.02)
    widths = [np.count_nonzero(mask[np.argmin(abs(GRID - v))] & (GRID > 0)) for v in (-1.4, -1.0, -0.5)]
    # 0.8 wide per unit below the tip, around 0.55.
    np.testing.assert_allclose(np.array(widths) * 0.01, [0.08, 0.4, 0.8], atol=0.021)
    assert (least_u + most_u) / 2 == pytest.approx(0.55, abs=0.01)


def test_floppy_ears_hang_at_the_sides() -> None:
    mask = synthetic._ear_mask("floppy", U, V)
    assert extent(mask) == pytest.approx((0.95 - 0.28, 0.95 + 0.28, 0.1 - 0.75, 0.1 + 0.75), abs=0.02)
    assert (mask & (U > 0)).mean() * 25 == pytest.approx(np.pi * 0.28 * 0.75, rel=0.02)


def test_the_background_goes_from_one_colour_to_another_along_a_slope() -> None:
    rng = Given([[0.1, 0.2, 0.3], [0.9, 0.6, 0.3]], [0.5, -0.25])
    x, y = np.array([0.5, 1.0, 0.5, 0.0]), np.array([0.5, 0.5, 1.0, 0.0])
    found = synthetic._background(x, y, rng)  # type: ignore[arg-type]
    blend = np.array([0.5, 0.75, 0.375, 0.375])
    np.testing.assert_allclose(found, np.array([0.1, 0.2, 0.3]) + blend[:, None] * np.array([0.8, 0.4, 0.0]))
    assert rng.bounds == [(0.1, 0.9), (-1, 1)]
    steep = synthetic._background(x, y, Given([[0.1] * 3, [0.9] * 3], [4, 0]))  # type: ignore[arg-type]
    np.testing.assert_allclose(steep[:, 0], [0.5, 0.9, 0.5, 0.1])


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head in the middle, 32 px in radius; light fur 0.8, dark 0.4, its right half dark; a background of 0.6."""
    monkeypatch.setattr(synthetic, "_placed", lambda x, y, _: ((x - 0.5) * 4, (y - 0.5) * 4))
    monkeypatch.setattr(synthetic, "_two_colours", lambda _: (np.full(3, 0.8), np.full(3, 0.4)))
    monkeypatch.setattr(synthetic, "_coat_mask", lambda coat, u, v, _: u > 0)
    monkeypatch.setattr(synthetic, "_background", lambda x, y, _: np.full((*x.shape, 3), 0.6))


class Silent:
    """No noise, but its size is noted."""

    scale = 0.0

    def normal(self, mean: float, scale: float, shape: Any) -> Any:
        assert mean == 0
        self.scale = scale
        return np.zeros(shape)


def at(image: Any, u: float, v: float) -> float:
    return float(image[round((v / 4 + 0.5) * SIZE_PX), round((u / 4 + 0.5) * SIZE_PX), 1]) / 255


@pytest.mark.usefixtures("parts")
def test_a_dog_has_a_head_with_ears_eyes_and_a_muzzle() -> None:
    silent = Silent()
    image = draw_dog("plain", "floppy", silent)  # type: ignore[arg-type]
    assert image.shape == (SIZE_PX, SIZE_PX, 3)
    assert image.dtype == np.uint8
    assert 0 < silent.scale < 0.1
    background, light, dark, black = 0.6, 0.8, 0.4, 0.05
    shown = {
        (-1.9, -1.9): background,
        (-0.6, 0.1): light,
        (0.6, 0.1): dark,
        (0.0, -0.9): light,
        (0.05, -0.9): dark,
        (-0.9, -0.3): dark * 0.9,  # An ear, beside the head, which is narrower than it is high.
        (0.9, 0.3): dark * 0.9,
        (-0.3, -0.25): black,  # Eyes.
        (0.3, -0.25): black,
        (0.3, 0.0): dark,
        (0.0, 0.35): black,  # The muzzle.
        (0.15, 0.35): black,
        (0.0, 0.55): light,
        (0.0, -1.1): background,
        (0.0, 1.1): background,
    }
    assert {place: at(image, *place) for place in shown} == pytest.approx(shown, abs=0.005)
    # Areas: two eyes of 0.012 π, a muzzle of 0.02 · 1.4 π.
    assert np.count_nonzero(image[..., 0] < 20) / 32**2 == pytest.approx(np.pi * (2 * 0.012 + 0.02 * 1.4), rel=0.1)
    # The head is an ellipse of 0.8 by 1, over the ears.
    inside = (U / 0.8) ** 2 + V**2 < 1
    expected = inside.mean() * 25 * 32**2
    fur = np.isin(image[..., 0], (round(0.8 * 255 - 0.5), round(0.4 * 255 - 0.5))) | (image[..., 0] < 20)
    assert np.count_nonzero(fur) == pytest.approx(expected, rel=0.03)


def test_colours_beyond_black_and_white_are_cut(monkeypatch: pytest.MonkeyPatch, parts: None) -> None:
    monkeypatch.setattr(synthetic, "_background", lambda x, y, _: np.full((*x.shape, 3), 1.4))
    monkeypatch.setattr(synthetic, "_two_colours", lambda _: (np.full(3, -0.5), np.full(3, -0.5)))
    image = draw_dog("plain", "floppy", Silent())  # type: ignore[arg-type]
    assert at(image, -1.9, -1.9) == 1
    assert at(image, 0.6, 0.1) == 0
    assert parts is None


def test_every_image_of_the_set_is_drawn_of_numbers_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    asked: list[tuple[str, str, float]] = []

    def noted(coat: str, ears: str, rng: np.random.Generator) -> Any:
        asked.append((coat, ears, float(rng.random())))
        return np.full((SIZE_PX, SIZE_PX, 3), 90, dtype=np.uint8)

    monkeypatch.setattr(synthetic, "draw_dog", noted)
    synthetic.draw(tmp_path / "drawn")
    assert len(asked) == 10 * (48 + 16) == len({number for _, _, number in asked})
    assert {(coat, ears) for coat, ears, _ in asked} == {(coat, ears) for coat in COATS for ears in EARS}
    names = {str(file.relative_to(tmp_path / "drawn")) for file in (tmp_path / "drawn").rglob("*.JPEG")}
    assert len(names) == 640
    assert {"train/s00000001/s00000001_000.JPEG", "val/s00000010/s00000010_015.JPEG"} <= names
    # The breeds of the folders, in the order of the drawing.
    order = [f"{coat} {ears}-eared hound" for coat, ears, _ in asked[::48][:10]]
    assert order == list(BREEDS.values())
    monkeypatch.undo()
    # As on every machine: the first draw of each image's own source.
    expected = np.random.default_rng([synthetic.SEED, 0, 0, 0]).random()
    assert asked[0][2] == expected
