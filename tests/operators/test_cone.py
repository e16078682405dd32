"""The cone beam: its matrix is Joseph's, its adjoint the transpose, and a ball casts the shadow that its chords say."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from dense import matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.operators import adjoint_gap
from recon.operators.tomography import AlongAxis, Detector, Geometry, Tomography, Volume, evenly_spaced

DISTANCES = {"source_to_axis": 60.0, "source_to_detector": 110.0}
SMALL = Geometry(
    "cone",
    evenly_spaced(10, 370, 7),
    Detector(6, 2.5, 0.7, rows=AlongAxis(5, 2.2, -1.0)),
    Volume((5, 4), 1.5, (0.5, -1.0), AlongAxis(3, 1.2, 0.8)),
    **DISTANCES,
)


@st.composite
def geometries(draw):
    """Small scans: any angles, panels finer and coarser than the voxels, off centre, partly outside the volume."""
    angles = draw(st.lists(st.floats(-720, 720), min_size=1, max_size=5))
    pitches, places = st.floats(0.2, 4), st.floats(-8, 8)
    sizes = st.integers(1, 7)
    rows = AlongAxis(draw(sizes), draw(pitches), draw(st.floats(-30, 30)))
    slices = AlongAxis(draw(sizes), draw(st.floats(0.4, 2)), draw(places))
    detector = Detector(draw(st.integers(1, 10)), draw(pitches), draw(places), rows=rows)
    volume = Volume((draw(sizes), draw(sizes)), draw(st.floats(0.4, 2)), (draw(places), draw(places)), slices)
    return Geometry("cone", tuple(angles), detector, volume, **DISTANCES)


@settings(max_examples=50, deadline=None)
@given(geometries())
def test_the_adjoint_is_the_transpose_of_the_matrix(geometry):
    operator = Tomography(geometry)
    forward = matrix(operator.A, operator.domain)
    norm = float(torch.linalg.matrix_norm(forward, 2))
    scale = max(norm, geometry.volume.pitch)  # where all rays graze, weights are differences of larger ones
    for dtype, gap in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        rounded = matrix(operator.A, operator.domain, dtype).double()
        back = matrix(operator.A_adjoint, operator.range, dtype).double()
        assert float(torch.linalg.matrix_norm(back - rounded.T, 2)) <= gap * scale
        assert float((rounded - forward).abs().max()) <= (1e-4 if dtype == torch.float32 else 0) * scale
    assert bool((forward >= 0).all())
    assert norm <= operator.properties.norm.value


def joseph(geometry: Geometry) -> np.ndarray:
    """The matrix from the definition, ray by ray and plane by plane, in plain Python: slow, and of no shared code."""
    (rows, columns), volume = geometry.volume.pixels, geometry.volume
    panel, slices = geometry.vertical
    found = np.zeros((*geometry.sinogram_shape, *geometry.image_shape))
    for view, degrees in enumerate(geometry.angles):
        t = math.radians(degrees)
        axis, forth = np.array([math.cos(t), math.sin(t), 0.0]), np.array([-math.sin(t), math.cos(t), 0.0])
        source = -geometry.source_to_axis * forth
        for r in range(panel.pixels):
            for c in range(geometry.detector.pixels):
                u = (c - (geometry.detector.pixels - 1) / 2) * geometry.detector.pitch + geometry.detector.offset
                v = (r - (panel.pixels - 1) / 2) * panel.pitch + panel.offset
                way = geometry.source_to_detector * forth + u * axis + np.array([0.0, 0.0, v])
                main = 0 if abs(way[0]) > abs(way[1]) else 1
                for plane in range((columns, rows)[main]):
                    centre = (
                        volume.offset[0] + (plane - (columns - 1) / 2) * volume.pitch,
                        volume.offset[1] - (plane - (rows - 1) / 2) * volume.pitch,
                    )[main]
                    x, y, z = source + (centre - source[main]) / way[main] * way
                    column = (x - volume.offset[0]) / volume.pitch + (columns - 1) / 2
                    row = (volume.offset[1] - y) / volume.pitch + (rows - 1) / 2
                    height = (z - slices.offset) / slices.pitch + (slices.pixels - 1) / 2
                    length = volume.pitch * np.linalg.norm(way) / abs(way[main])
                    for s, i, j in np.ndindex(slices.pixels, rows, columns):
                        if (j, i)[main] == plane:
                            aside = abs((row - i, column - j)[main])
                            hat = max(0.0, 1 - aside) * max(0.0, 1 - abs(height - s))
                            found[view, r, c, s, i, j] = hat * length
    return found.reshape(math.prod(geometry.sinogram_shape), -1)


@pytest.mark.parametrize(
    "geometry",
    [
        SMALL,
        replace(SMALL, angles=(0.0, 45.0, 90.0, -135.0)),
        replace(SMALL, detector=Detector(9, 0.5, rows=AlongAxis(9, 0.4))),
        replace(SMALL, detector=Detector(3, 9.0, rows=AlongAxis(3, 30.0))),
    ],
    ids=["off centre", "on the diagonals", "fine panel", "coarse and steep panel"],
)
def test_the_matrix_is_the_one_of_the_definition(geometry):
    operator = Tomography(geometry)
    expected = joseph(geometry)
    assert np.count_nonzero(expected) > 20
    np.testing.assert_allclose(matrix(operator.A, operator.domain).numpy(), expected, rtol=0, atol=1e-12)


def test_one_row_in_the_plane_of_the_source_sees_the_fan_of_its_slice():
    """With a single slice and a single row in the plane of the source, nothing of the third dimension is left."""
    detector, volume = Detector(9, 2.0, 0.4), Volume((6, 8), 1.0, (1.0, 0.5))
    fan = Geometry("fan", SMALL.angles, detector, volume, **DISTANCES)
    flat = AlongAxis(1, 1.0)
    cone = replace(fan, kind="cone", detector=replace(detector, rows=flat), volume=replace(volume, slices=flat))
    image = torch.rand(6, 8, dtype=torch.float64)
    torch.testing.assert_close(Tomography(cone).A(image[None])[:, 0], Tomography(fan).A(image))
    sinogram = Tomography(fan).range.random(dtype=torch.float64)
    torch.testing.assert_close(Tomography(cone).A_adjoint(sinogram[:, None])[0], Tomography(fan).A_adjoint(sinogram))


def test_turning_the_scan_upside_down_turns_volume_and_panel():
    over = replace(
        SMALL,
        detector=replace(SMALL.detector, rows=AlongAxis(5, 2.2, 1.0)),
        volume=replace(SMALL.volume, slices=AlongAxis(3, 1.2, -0.8)),
    )
    x = Tomography(SMALL).domain.random(dtype=torch.float64)
    torch.testing.assert_close(Tomography(over).A(x.flip(0)).flip(1), Tomography(SMALL).A(x))


def test_a_voxel_above_is_seen_above():
    """At the axis, 2 slices above the middle, with a magnification of 2: 4 mm up, 2 rows of 2 mm above the middle."""
    detector = Detector(5, 2.0, rows=AlongAxis(9, 2.0))
    geometry = Geometry("cone", (0.0, 90.0), detector, Volume((3, 3), 1.0, slices=AlongAxis(7, 1.0)), 50.0, 100.0)
    volume = torch.zeros(7, 3, 3, dtype=torch.float64)
    volume[5, 1, 1] = 1.0
    for view in Tomography(geometry).A(volume):
        assert view.nonzero().tolist() == [[6, 2]]


def test_a_ball_casts_its_chords_and_the_error_falls_with_the_grid():
    errors = [_error_of_a_ball(size) for size in (16, 32, 64)]
    assert errors[2] < 0.025
    assert errors[2] < 0.4 * errors[0]


def _error_of_a_ball(size: int) -> float:
    width, centre, radius = 100.0, np.array([10.0, 5.0, -8.0]), 30.0
    panel = AlongAxis(size, 2.2 * width / size)
    detector = Detector(size, 2.2 * width / size, rows=panel)
    volume = Volume((size, size), width / size, slices=AlongAxis(size, width / size))
    geometry = Geometry("cone", evenly_spaced(0, 360, 9), detector, volume, 200.0, 400.0)
    fine = 4
    at = ((torch.arange(size * fine, dtype=torch.float64) + 0.5) / (size * fine) - 0.5) * width
    z, y, x = (at - centre[2]) ** 2, (-at - centre[1]) ** 2, (at - centre[0]) ** 2
    ball = (z[:, None, None] + y[:, None] + x < radius**2).double()
    image = torch.nn.functional.avg_pool3d(ball[None], fine)[0]
    expected = _chords(geometry, centre, radius)
    return float(np.linalg.norm(Tomography(geometry).A(image).numpy() - expected) / np.linalg.norm(expected))


def _chords(geometry: Geometry, centre: np.ndarray, radius: float) -> np.ndarray:
    """From the distance of each ray to the ball's centre, by the cross product in three dimensions."""
    t = np.deg2rad(geometry.angles)[:, None, None]
    rows, _ = geometry.vertical
    v = (rows.first + rows.pitch * np.arange(rows.pixels))[:, None]
    u = (np.arange(geometry.detector.pixels) - (geometry.detector.pixels - 1) / 2) * geometry.detector.pitch
    source = np.stack((geometry.source_to_axis * np.sin(t), -geometry.source_to_axis * np.cos(t), 0 * t), -1)
    far = geometry.source_to_detector
    ray = np.stack(np.broadcast_arrays(u * np.cos(t) - far * np.sin(t), u * np.sin(t) + far * np.cos(t), v), -1)
    across = np.cross(np.broadcast_to(centre - source, ray.shape), ray)
    distance = np.linalg.norm(across, axis=-1) / np.linalg.norm(ray, axis=-1)
    return 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0))


def test_the_result_does_not_depend_on_the_number_of_threads():
    import numba  # noqa: PLC0415

    operator = Tomography(replace(SMALL, angles=evenly_spaced(0, 360, 40)))
    x, y = operator.domain.random(), operator.range.random()
    threads = numba.get_num_threads()
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    together = operator.A(x), operator.A_adjoint(y)
    try:
        numba.set_num_threads(1)
        assert torch.equal(operator.A(x), together[0])
        assert torch.equal(operator.A_adjoint(y), together[1])
    finally:
        numba.set_num_threads(threads)


def test_the_adjoint_gap_is_measured_as_nothing_in_single_precision():
    assert adjoint_gap(Tomography(SMALL)).value < 1e-6


def test_batches_and_non_contiguous_volumes_are_their_items():
    operator = Tomography(SMALL)
    x = operator.domain.random(2, 3, dtype=torch.float64)
    turned = x.transpose(-1, -2).contiguous().transpose(-1, -2)
    torch.testing.assert_close(operator.A(turned)[1, 2], operator.A(x[1, 2]))
    assert operator.A(x[:0]).shape == (0, 3, *operator.range.shape)


def test_a_sinogram_with_columns_before_rows_is_refused():
    with pytest.raises(UsageError, match=r"\(7, 6, 5\); expected \(..., 7, 5, 6\)"):
        Tomography(SMALL).A_adjoint(torch.zeros(7, 6, 5))
