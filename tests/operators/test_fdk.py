"""Feldkamp, Davis and Kress: exact in the plane of the source, and for what does not change along z; faults fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scans import Ellipse, sinogram

from recon.errors import ConsistencyError, UsageError
from recon.operators.tomography import (
    AlongAxis,
    Detector,
    Geometry,
    Tomography,
    Volume,
    evenly_spaced,
    fbp,
    fdk,
    inverse,
    surrogate,
    views,
)
from recon.operators.tomography.geometry.geometry import mid_plane
from recon.operators.tomography.projectors.rays import detector_coordinates

WIDTH = 100.0
DISTANCES = {"source_to_axis": 200.0, "source_to_detector": 400.0}


def cone(size, angles=None, offset=0.0, above=0.0, lifted=0.0) -> Geometry:
    """A volume of 100 mm a side, the panel's middle ``above`` and the volume's ``lifted`` over the source's plane."""
    pitch = 2.6 * WIDTH / size
    panel = Detector(int(1.3 * size), pitch, offset, rows=AlongAxis(size, pitch, above))
    volume = Volume((size, size), WIDTH / size, slices=AlongAxis(size, WIDTH / size, lifted))
    return Geometry("cone", angles or evenly_spaced(0, 360, 3 * size), panel, volume, **DISTANCES)


def ball(geometry: Geometry, centre: tuple[float, float, float], radius: float) -> torch.Tensor:
    """The chords of a ball of attenuation 1/mm, from the distance of each ray to its centre."""
    t, (rows, _), u = np.deg2rad(geometry.angles)[:, None, None], geometry.vertical, detector_coordinates(geometry)
    v = (rows.first + rows.pitch * np.arange(rows.pixels))[:, None]
    near, far = geometry.distances
    source = np.stack((near * np.sin(t), -near * np.cos(t), 0 * t), -1)
    ray = np.stack(np.broadcast_arrays(u * np.cos(t) - far * np.sin(t), u * np.sin(t) + far * np.cos(t), v), -1)
    across = np.cross(np.broadcast_to(np.array(centre) - source, ray.shape), ray)
    distance = np.linalg.norm(across, axis=-1) / np.linalg.norm(ray, axis=-1)
    return torch.from_numpy(2 * np.sqrt(np.maximum(radius**2 - distance**2, 0)))


def places(geometry: Geometry) -> tuple[np.ndarray, ...]:
    """x, y and z of each voxel."""
    slices, rows, columns = geometry.image_shape
    pitch, along = geometry.volume.pitch, geometry.vertical[1]
    z = along.first + along.pitch * np.arange(slices)[:, None, None]
    y, x = ((rows - 1) / 2 - np.arange(rows)[:, None]) * pitch, (np.arange(columns) - (columns - 1) / 2) * pitch
    return np.broadcast_arrays(x, y, z)


def away(geometry: Geometry, centre) -> np.ndarray:
    return np.sqrt(sum((at - c) ** 2 for at, c in zip(places(geometry), centre, strict=True)))


UNEVEN = tuple(np.random.default_rng(1).permutation(np.sort(np.random.default_rng(2).uniform(0, 360, 150))))
SCANS = {
    "a turn": cone(40),
    "a turn, uneven": cone(40, UNEVEN),
    "panel off centre": cone(40, offset=6.3),
    "panel above": cone(40, above=11.0),
    "volume above": cone(40, lifted=7.0),
    "three quarters of a turn": cone(40, evenly_spaced(20, 290, 100)),
    "half a turn and the fan": cone(40, evenly_spaced(200, 200 - 222, 90)),
}
CENTRE, RADIUS = (9.0, -6.0, 4.0), 22.0


@pytest.mark.slow
@pytest.mark.parametrize("geometry", SCANS.values(), ids=SCANS.keys())
def test_a_ball_has_its_attenuation_inside_and_none_outside(geometry):
    volume = fdk(geometry, "hann")(ball(geometry, CENTRE, RADIUS)).numpy()
    d, (x, y, z) = away(geometry, CENTRE), places(geometry)
    assert volume[d < RADIUS - 8] == pytest.approx(1.0, abs=0.03)
    assert volume[d < RADIUS - 8].mean() == pytest.approx(1.0, abs=0.01)
    assert np.abs(volume[(d > RADIUS + 8) & (np.hypot(x, y) < 42) & (np.abs(z) < 30)]).max() < 0.15


@pytest.mark.parametrize("geometry", SCANS.values(), ids=SCANS.keys())
def test_small_things_are_where_they_should_be(geometry):
    """A fault in the sign of an angle, an offset or the height moves them."""
    for dot in ((25.0, 10.0, 13.0), (-10.0, 22.0, -18.0)):
        volume = fdk(geometry, "hann")(ball(geometry, dot, 5.0)).numpy()
        near = away(geometry, dot) < 10
        found = [(at[near] * volume[near]).sum() / volume[near].sum() for at in places(geometry)]
        assert found == pytest.approx(dot, abs=0.25)


def test_the_error_falls_with_the_grid():
    errors, centre = [], (9.0, -6.0, 0.0)
    for size in (16, 32, 64):
        geometry = cone(size)
        d = away(geometry, centre)
        wrong = fdk(geometry, "hann")(ball(geometry, centre, RADIUS)).numpy() - (d < RADIUS)
        errors.append(np.sqrt((wrong[(np.abs(d - RADIUS) > 8) & (d < 40)] ** 2).mean()))
    assert errors[2] < 0.01
    assert errors[2] < 0.4 * errors[0]


def test_the_plane_of_the_source_is_the_fan_s():
    geometry = replace(cone(33), detector=replace(cone(33).detector, offset=3.1))
    y = ball(geometry, (5.0, 3.0, 0.0), 20.0)
    fan = fbp(mid_plane(geometry), "cosine")(y[:, 16])
    torch.testing.assert_close(fdk(geometry, "cosine")(y)[16], fan, rtol=1e-9, atol=1e-12)


def test_what_is_the_same_in_all_slices_is_exact_in_all_slices():
    """Each ray crosses an upright cylinder as the fan's does, but longer by its ascent: a weight that is needed."""
    geometry = cone(40)
    (rows, slices), fan = geometry.vertical, mid_plane(geometry)
    v = rows.first + rows.pitch * np.arange(rows.pixels)[:, None]
    flat = np.hypot(geometry.distances[1], detector_coordinates(geometry))
    y = sinogram(fan, Ellipse((6.0, -4.0), (28.0, 19.0), 25.0, 1.0))
    upright = y[:, None] * torch.from_numpy(np.hypot(flat, v) / flat)
    expected = fbp(fan)(y)
    seen = abs(slices.first + slices.pitch * np.arange(slices.pixels)) < 30
    volume = fdk(geometry)(upright)
    torch.testing.assert_close(volume[seen], expected.expand_as(volume)[seen], rtol=1e-9, atol=1e-9)
    faulty = fdk(geometry)
    faulty._ascent.master[:] = 1
    worst = float((faulty(upright) - expected)[seen].abs().max())
    assert worst > 0.01


def test_away_from_the_plane_a_ball_loses_and_sums_along_z_do_not():
    """Feldkamp, Davis and Kress: the integrals along z are kept. A ball higher up loses more."""
    losses, sums = [], []
    for height in (0.0, 15.0, 25.0):
        geometry = replace(cone(48), source_to_axis=120.0, source_to_detector=240.0)
        centre, radius = (0.0, 0.0, height), 14.0
        volume = fdk(geometry, "hann")(ball(geometry, centre, radius)).numpy()
        sums.append(volume[:, 22:26, 22:26].sum(0).mean() * geometry.vertical[1].pitch)
        x, y, z = places(geometry)
        losses.append(1 - volume[(np.abs(z - height) < 2) & (np.hypot(x, y) < 6)].mean())
    assert sums == pytest.approx([2 * radius * 0.95] * 3, rel=0.03)  # a blur takes 5 % of the longest chords
    assert losses == pytest.approx([0.001, 0.009, 0.023], abs=0.004)


FAULTS = {
    "upside down": lambda g: replace(g, detector=replace(g.detector, rows=replace(g.detector.rows, offset=-9.0))),
    "columns reversed": lambda g: replace(g, detector=replace(g.detector, offset=-4.0)),
    "turned the other way": lambda g: replace(g, angles=tuple(-angle for angle in g.angles)),
    "another magnification": lambda g: replace(g, source_to_detector=520.0),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_planted_fault_moves_or_blurs_a_dot(fault):
    geometry, dot = cone(32, offset=4.0, above=9.0), (20.0, 14.0, 16.0)
    y = ball(geometry, dot, 6.0)
    near = away(geometry, dot) < 3
    assert fdk(geometry)(y).numpy()[near].mean() > 0.8
    assert fdk(fault(geometry))(y).numpy()[near].mean() < 0.7


@pytest.mark.slow
def test_it_is_linear_with_an_exact_transpose_in_both_precisions(generator):
    geometry = cone(12, evenly_spaced(20, 290, 9), 6.3, 11.0, -7.0)
    found = fdk(geometry, "hann")
    y = torch.randn(2, *geometry.sinogram_shape, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, *geometry.image_shape, generator=generator, dtype=torch.float64)
    back = found.transpose(x)
    torch.testing.assert_close((found(y) * x).sum(), (y * back).sum(), rtol=1e-11, atol=1e-11)
    (found(y) * x).sum().backward()
    torch.testing.assert_close(y.grad, back)
    y = y.detach()
    scale = float(found(y).std())
    torch.testing.assert_close(found(y)[1], found(y[1]), rtol=0, atol=1e-12 * scale)
    torch.testing.assert_close(found(y.float()), found(y).float(), rtol=1e-3, atol=1e-3 * scale)
    assert found(y[:0]).shape == (0, *geometry.image_shape)


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_number_of_threads():
    import numba  # noqa: PLC0415

    geometry = cone(16)
    found, y = fdk(geometry), ball(geometry, CENTRE, RADIUS).float()
    threads = numba.get_num_threads()
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    together = found(y), found.transpose(found(y))
    try:
        numba.set_num_threads(1)
        assert torch.equal(found(y), together[0])
        assert torch.equal(found.transpose(found(y)), together[1])
    finally:
        numba.set_num_threads(threads)


@pytest.mark.parametrize(("name", "options"), [("fbp", {"window": "hann"}), ("views", {"every": 4})])
def test_the_surrogates_of_a_cone_have_their_exact_transpose(generator, name, options):
    geometry = cone(10, evenly_spaced(0, 360, 9))
    found = surrogate(name, Tomography(geometry), **options)
    y = torch.randn(2, 1, *geometry.sinogram_shape, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 1, *geometry.image_shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close((found(y) * x).sum(), (y * found.A(x)).sum(), rtol=1e-10, atol=1e-10)
    if name == "views":
        seen = Tomography(views(geometry, (0, 4, 8)))
        torch.testing.assert_close(found(y), 3 * seen.A_adjoint(y[:, :, [0, 4, 8]]))


def test_a_slice_an_unknown_window_and_exchanged_axes_are_refused():
    geometry = cone(12)
    with pytest.raises(ConsistencyError, match="expected 'cone'"):
        fdk(mid_plane(geometry))
    with pytest.raises(UsageError, match="did you mean 'hann'"):
        fdk(geometry, "han")
    with pytest.raises(UsageError, match=r"\(36, 15, 12\); expected \(..., 36, 12, 15\)"):
        fdk(geometry)(torch.zeros(36, 15, 12))
    assert inverse(geometry) == fdk(geometry)
    assert inverse(mid_plane(geometry)) == fbp(mid_plane(geometry))
