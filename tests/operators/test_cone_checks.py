"""Planted faults in the projections of a cone are named; a sound scan is met with silence."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from recon.errors import ConsistencyError
from recon.operators.tomography import AlongAxis, Detector, Geometry, Tomography, Volume, evenly_spaced
from recon.operators.tomography.consistency.cone import middle_row
from recon.operators.tomography.consistency.sinogram import check_sinogram
from recon.operators.tomography.geometry.geometry import mid_plane

SIZE = 24


def scan(offset: float = 0.0, above: float = 0.0, rows: int = 40) -> Geometry:
    detector = Detector(46, 2.0, offset, rows=AlongAxis(rows, 2.0, above))
    volume = Volume((SIZE, SIZE), 1.0, slices=AlongAxis(SIZE, 1.0))
    return Geometry("cone", evenly_spaced(0, 360, 60), detector, volume, 150.0, 300.0)


@cache
def projections(geometry: Geometry, noise: float = 0.0) -> np.ndarray:
    at = torch.arange(SIZE, dtype=torch.float64) - (SIZE - 1) / 2
    body = torch.zeros(SIZE, SIZE, SIZE, dtype=torch.float64)
    for x, y, z, radius, value in [(1.5, -1, 0.5, 8, 1.0), (4, 2, -2, 2.5, 1.5), (-2, -5, 3, 2, -0.8)]:
        away = (at[:, None, None] - z) ** 2 + (-at[:, None] - y) ** 2 + (at - x) ** 2
        body += value * torch.sigmoid(2 * (radius - away.sqrt()))
    values = Tomography(geometry).A(0.02 * body).numpy()
    return values + noise * values.max() * np.random.default_rng(0).standard_normal(values.shape)


@pytest.mark.parametrize("geometry", [scan(), scan(3.3), scan(above=5.0)], ids=["centred", "off centre", "above"])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_sound_scan_is_met_with_silence(geometry: Geometry, noise: float) -> None:
    assert check_sinogram(projections(geometry, noise), geometry) == ()


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ((0, 2, 1), "60 x 46 x 40 .* rows and columns are exchanged"),
        ((1, 0, 2), "its pages are rows of the panel, not views"),
        ((1, 2, 0), "the views come last"),
        ((2, 1, 0), "the views come last, and rows and columns are exchanged"),
    ],
)
def test_exchanged_axes_are_named(axes: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConsistencyError, match=words):
        check_sinogram(projections(scan()).transpose(axes), scan())


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (np.s_[:59], "there are 59 projections and the geometry has 60 angles"),
        (np.s_[:, :38], "has 38 rows and 46 columns and the panel 40 and 46"),
        (np.s_[:, :, :44], "has 40 rows and 44 columns"),
        (np.s_[0], r"40 x 46 and .*; expected \(views, rows, columns\)"),
    ],
)
def test_another_size_is_named(part, words: str) -> None:
    with pytest.raises(ConsistencyError, match=words):
        check_sinogram(projections(scan())[part], scan())


def dead(values: np.ndarray, row: int, column: int) -> np.ndarray:
    values = values.copy()
    values[:, row, column] = 0.3
    return values


def panel(geometry: Geometry, **changes) -> Geometry:
    return replace(geometry, detector=replace(geometry.detector, **changes))


def lower(geometry: Geometry, rows: int) -> Geometry:
    return panel(geometry, rows=AlongAxis(rows, 2.0))


def volume(geometry: Geometry, **changes) -> Geometry:
    return replace(geometry, volume=replace(geometry.volume, **changes))


def same(what):
    return what


FAULTS = {
    "the axis of rotation": (same, lambda g: panel(g, offset=6.0), "detector.offset is 6 mm"),
    "the angles' sign": (same, lambda g: replace(g, angles=tuple(-a for a in g.angles)), "sign of the angles"),
    "a dead pixel": (lambda v: dead(v, 30, 12), same, "column 12 of row 30"),
    "cut at the sides": (lambda v: v[..., 18:-18], lambda g: panel(g, pixels=10), "first columns"),
    "cut above and below": (lambda v: v[:, 14:-14], lambda g: lower(g, 12), "first rows of the projections rise"),
    "a volume too high": (same, lambda g: volume(g, slices=AlongAxis(60, 1.0)), "panel sees -20 to 20 mm"),
    "a volume too narrow": (same, lambda g: volume(g, pixels=(9, 9)), "miss the image"),
}


@pytest.mark.parametrize(("values", "geometry", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_a_planted_fault_is_named(values, geometry, words: str) -> None:
    said = check_sinogram(values(projections(scan(), 0.01)), geometry(scan()))
    assert any(words in sentence for sentence in said), said


def test_the_middle_row_is_the_fan_of_the_plane_of_the_source() -> None:
    """Also between two rows, and off the middle of the panel; there is none where the plane is beside it."""
    alone = lower(scan(), 1)
    expected = projections(alone)[:, 0]
    for geometry in (scan(rows=41), scan(rows=40), scan(above=-4.2)):
        row = middle_row(projections(geometry), geometry)
        assert row is not None
        assert row.shape == mid_plane(geometry).sinogram_shape
        assert np.abs(row - expected).max() < 0.03 * expected.max()
    assert np.array_equal(middle_row(projections(alone), alone), expected)
    assert middle_row(projections(scan()), scan(above=41.0)) is None
