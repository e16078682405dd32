"""Geometries as values: what they say of themselves, what is made of them, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from recon.errors import ConsistencyError
from recon.operators.tomography import (
    AlongAxis,
    Detector,
    Geometry,
    Tomography,
    Volume,
    coarser,
    evenly_spaced,
    views,
)

DISTANCES = {"source_to_axis": 100.0, "source_to_detector": 200.0}
FAN = Geometry("fan", evenly_spaced(0, 360, 8), Detector(12, 3.0, 0.5), Volume((8, 12), 2.0, (1.0, 2.0)), **DISTANCES)
CONE = Geometry(
    "cone",
    FAN.angles,
    replace(FAN.detector, rows=AlongAxis(10, 4.0, 1.0)),
    replace(FAN.volume, slices=AlongAxis(4, 2.5, -1.0)),
    **DISTANCES,
)


def test_the_shapes_of_a_slice_and_of_a_volume():
    assert (FAN.sinogram_shape, FAN.image_shape) == ((8, 12), (8, 12))
    assert (CONE.sinogram_shape, CONE.image_shape) == ((8, 10, 12), (4, 8, 12))


def test_places_along_the_axis_are_counted_from_the_low_end():
    places = AlongAxis(4, 2.5, -1.0)
    assert places.first == -1.0 - 1.5 * 2.5
    assert places.extent == (-6.0, 4.0)


@pytest.mark.parametrize("shape", ["flat", "arc"])
def test_the_field_of_view_touches_the_outermost_ray(shape):
    """The distance from the axis to a line through the source is the cross product of its direction and the way."""
    geometry = replace(FAN, detector=Detector(100, 2.0, -10.0, shape))
    half = 90.0
    ray = np.array([half, 200.0]) if shape == "flat" else np.array([math.sin(half / 200), math.cos(half / 200)])
    assert geometry.field_of_view == pytest.approx(100.0 * ray[0] / np.linalg.norm(ray))
    assert geometry.magnification == 2.0


def test_the_field_of_view_of_parallel_rays_and_of_a_detector_that_the_axis_misses():
    parallel = Geometry("parallel", (0.0,), Detector(10, 2.0, 3.0), Volume((4, 4), 1.0))
    assert (parallel.field_of_view, parallel.magnification) == (7.0, 1.0)
    assert replace(parallel, detector=Detector(10, 2.0, 13.0)).field_of_view == 0.0
    assert replace(FAN, detector=Detector(10**6, 2.0, 0.0, "arc")).field_of_view == 100.0


def test_some_views_are_the_rows_of_the_sinogram():
    some = views(FAN, [6, 1, 1])
    image = torch.rand(8, 12, dtype=torch.float64)
    torch.testing.assert_close(Tomography(some).A(image), Tomography(FAN).A(image)[[6, 1, 1]])
    assert views(CONE, range(8)) == CONE


@pytest.mark.parametrize("index", [-1, 8])
def test_a_view_that_is_not_there_is_refused(index):
    with pytest.raises(ConsistencyError, match=f"the index {index} and the scan 8 views; expected 0 to 7"):
        views(FAN, [0, index])


def test_a_coarser_grid_covers_the_same_part_of_space():
    """A pixel, blown up to its block, is the same function up to interpolation; its total shadow is the same."""
    coarse = coarser(CONE, 2)
    assert coarse.image_shape == (2, 4, 6)
    assert coarse.volume.slices.extent == CONE.volume.slices.extent
    assert coarse.volume.radius == CONE.volume.radius
    assert (coarse.detector, coarse.angles, coarser(CONE, 1)) == (CONE.detector, CONE.angles, CONE)
    wide = replace(FAN, kind="parallel", source_to_axis=None, source_to_detector=None, detector=Detector(80, 0.5))
    image = torch.rand(4, 6, dtype=torch.float64)
    blocks = image.repeat_interleave(2, 0).repeat_interleave(2, 1)
    shadow, expected = Tomography(coarser(wide, 2)).A(image).sum(1), Tomography(wide).A(blocks).sum(1)
    torch.testing.assert_close(shadow, expected, rtol=0.02, atol=0)


def test_a_factor_that_does_not_divide_is_refused_with_the_sides():
    with pytest.raises(ConsistencyError, match="factor is 3 and the image has 4 x 8 x 12 pixels"):
        coarser(CONE, 3)
    with pytest.raises(ConsistencyError, match="factor is 0; expected a positive integer"):
        coarser(FAN, 0)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"kind": "helix"}, "kind is 'helix'; expected 'parallel', 'fan' or 'cone'"),
        ({"kind": "fan"}, "detector.rows has 10 with kind = fan"),
        ({"kind": "fan", "detector": FAN.detector}, "volume.slices has 4 with kind = fan"),
        ({"detector": FAN.detector}, "detector.rows is missing"),
        ({"volume": FAN.volume}, "volume.slices is missing"),
        ({"detector": replace(CONE.detector, shape="arc")}, "'arc' with kind = cone"),
        ({"detector": replace(CONE.detector, rows=AlongAxis(10, 29.0))}, "reaches 145 mm .* at most 141.421"),
        ({"source_to_axis": None}, "source_to_axis is missing"),
        ({"source_to_axis": 12.0}, "volume reaches"),
        ({"source_to_axis": 16.9}, "least a pixel of 2 mm"),
        ({"volume": replace(CONE.volume, slices=AlongAxis(4, 1e-12))}, "pitch of 1e-12 mm"),
        ({"volume": replace(CONE.volume, slices=AlongAxis(4, 1.0, -1e12))}, "pitch of 1 mm"),
    ],
)
def test_an_impossible_cone_is_refused_by_name(change, names):
    with pytest.raises(ConsistencyError, match=names):
        replace(CONE, **change)


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda: Detector(9.5, 1.0), "detector.pixels is 9.5; expected a positive integer"),
        (lambda: Detector(True, 1.0), "detector.pixels is True"),
        (lambda: Detector(9, 1.0, shape="round"), "detector.shape is 'round'"),
        (lambda: Volume((9, 9, 9), 1.0), r"volume.pixels is \(9, 9, 9\); expected two numbers"),
        (lambda: Volume((9, 9), 1.0, (0.0, 0.0, 0.0)), "volume.offset is .*; expected two numbers"),
        (lambda: AlongAxis(0, 1.0), "along the axis of rotation is 0"),
        (lambda: AlongAxis(3, -1.0), "along the axis of rotation is -1"),
        (lambda: AlongAxis(3, 1.0, math.inf), "along the axis of rotation has inf"),
        (lambda: FAN.vertical, "kind is 'fan'"),
    ],
)
def test_impossible_parts_are_refused_by_name(build, names):
    with pytest.raises(ConsistencyError, match=names):
        build()


def test_numpy_integers_count():
    assert Detector(np.int64(9), 1.0) == Detector(9, 1.0)
