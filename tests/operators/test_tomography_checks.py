"""Planted faults: a wrong axis, wrong angles, a wrong grid, dead pixels; and silence where nothing is wrong."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recon.errors import ConsistencyError
from recon.operators.tomography import Detector, Geometry, Tomography, Volume, evenly_spaced
from recon.operators.tomography.consistency.field_of_view import line_coordinates
from recon.operators.tomography.consistency.sinogram import (
    angle_sign_warnings,
    angle_unit_warnings,
    centre_of_rotation,
    centre_warnings,
    check_shape,
    check_sinogram,
    dead_column_warnings,
    dead_columns,
    field_of_view_warnings,
    support_warnings,
    truncation_warnings,
)
from recon.operators.tomography.geometry.coverage import AngularCoverage
from recon.operators.tomography.projectors.rays import detector_coordinates

SIZE = 64
FAN = {"source_to_axis": 150.0, "source_to_detector": 300.0}
VOLUME = Volume((SIZE, SIZE), 1.0)


def parallel(angles=None, offset=0.0, pixels=96) -> Geometry:
    return Geometry("parallel", angles or evenly_spaced(0, 180, 60), Detector(pixels, 1.0, offset), VOLUME)


def fan(angles=None, offset=0.0, shape="flat", pixels=96) -> Geometry:
    return Geometry("fan", angles or evenly_spaced(0, 360, 120), Detector(pixels, 2.0, offset, shape), VOLUME, **FAN)


@cache
def phantom(kind: str = "lopsided") -> torch.Tensor:
    """Attenuation in 1/mm of discs without any symmetry, or of one about the axis; the edges are smooth."""
    at = torch.arange(SIZE, dtype=torch.float64) - (SIZE - 1) / 2
    image = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    discs = [(0, 0, 24, 1.0)] if kind == "round" else [(5, -3, 20, 1.0), (12, 4, 5, 1.5), (-4, -12, 4, -0.8)]
    for x, y, radius, value in discs:
        away = torch.hypot(at[None, :] - x, -at[:, None] - y)
        image += value * torch.sigmoid(2 * (radius - away))
    return image * 0.02


@cache
def scanned(geometry: Geometry, kind: str = "lopsided", noise: float = 0.0) -> np.ndarray:
    sinogram = Tomography(geometry).A(phantom(kind)).numpy()
    return sinogram + noise * sinogram.max() * np.random.default_rng(0).standard_normal(sinogram.shape)


def quarter(offset: float) -> Geometry:
    return parallel(evenly_spaced(0, 100, 50), offset)


SCANS = {
    "half a turn": lambda offset: parallel(None, offset),
    "half a turn with its end": lambda offset: parallel(evenly_spaced(20, 200, 61, endpoint=True), offset),
    "half a turn backwards": lambda offset: parallel(evenly_spaced(180, 0, 60), offset),
    "a turn": lambda offset: parallel(evenly_spaced(0, 360, 90), offset),
    "a turn in golden steps": lambda offset: parallel(tuple(np.arange(89) * 222.4922 % 360), offset),
    "a quarter": quarter,
    "flat fan": lambda offset: fan(None, offset),
    "arc fan": lambda offset: fan(None, offset, "arc"),
    "fan with a gap": lambda offset: fan(evenly_spaced(-400, -90, 155), offset),
}


@pytest.mark.parametrize("offset", [0.0, 5.3, -7.8])
@pytest.mark.parametrize("scan", SCANS)
def test_the_axis_is_found_to_a_fraction_of_a_pixel(scan, offset):
    geometry = SCANS[scan](offset)
    blind = replace(geometry, detector=replace(geometry.detector, offset=1.0))
    estimate = centre_of_rotation(scanned(geometry), blind)
    assert abs(estimate.offset_mm - offset) < 0.15 * geometry.detector.pitch
    assert estimate.how == ("centres of mass" if scan == "a quarter" else "opposite rays")
    assert not check_sinogram(scanned(geometry), geometry)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 2**32), st.sampled_from((180, 360, -180, -360)), st.booleans(), st.sampled_from((0.0, 0.005, 0.03))
)
@example(7336, 180, False, 0.005)  # a disc about the axis, whose edges lie elsewhere between two pixels
def test_a_sound_scan_of_anything_is_met_with_silence(seed, span, is_fan, noise):
    """Up to eight discs anywhere in the image, an axis up to a sixth of the detector off its middle."""
    rng = np.random.default_rng(seed)
    pixels, views = int(rng.integers(40, 200)), int(rng.integers(50, 150))
    far = {"source_to_axis": pixels * rng.uniform(1.5, 8), "source_to_detector": pixels * 10.0} if is_fan else {}
    pitch = far["source_to_detector"] / far["source_to_axis"] if is_fan else 1.0
    angles = evenly_spaced(seed % 360, seed % 360 + span * (2 if is_fan and abs(span) == 180 else 1), views)
    offset = rng.uniform(-0.15, 0.15) * pixels
    detector, volume = Detector(pixels, pitch, offset * pitch), Volume((int(pixels * 0.69),) * 2, 1.0)
    geometry = Geometry("fan" if is_fan else "parallel", angles, detector, volume, **far)
    values = _chords(geometry, rng)
    values += noise * values.max() * rng.standard_normal(values.shape)
    assert check_sinogram(values, geometry) == ()
    estimate = centre_of_rotation(values, geometry)
    assert estimate is None or abs(estimate.offset_mm / pitch - offset) < 0.75


def _chords(geometry: Geometry, rng: np.random.Generator) -> np.ndarray:
    angle, distance = line_coordinates(geometry)
    values, reach = np.zeros(distance.shape), 0.3 * geometry.detector.pixels
    for _ in range(rng.integers(1, 9)):
        radius, turned = rng.uniform(0.07, 1) * reach, rng.uniform(0, 2 * np.pi)
        middle = rng.uniform(0, reach - radius) * np.cos(np.deg2rad(angle) - turned)
        values += 2 * np.sqrt(np.maximum(radius**2 - (distance - middle) ** 2, 0))
    return values


@pytest.mark.parametrize("scan", ["half a turn", "a turn", "a quarter", "flat fan"])
def test_noise_moves_the_axis_by_no_more_than_is_said(scan):
    geometry = SCANS[scan](3.1)
    estimate = centre_of_rotation(scanned(geometry, noise=0.03), geometry)
    assert abs(estimate.offset_mm - 3.1) < 3 * estimate.error_mm
    assert estimate.error_mm < geometry.detector.pitch
    assert not check_sinogram(scanned(geometry, noise=0.03), geometry)


def test_the_axis_of_a_shifted_detector_that_sees_half_of_the_object_is_found():
    geometry = parallel(evenly_spaced(0, 360, 90), offset=12.0, pixels=48)
    assert scanned(geometry)[:, 0].max() > 0.3 * scanned(geometry).max()
    assert abs(centre_of_rotation(scanned(geometry), geometry).offset_mm - 12.0) < 0.2


def test_slices_share_their_axis():
    geometry = parallel(offset=4.0)
    stack = np.stack([scanned(geometry), 2 * scanned(geometry, "round"), 0 * scanned(geometry)])
    assert abs(centre_of_rotation(stack, geometry).offset_mm - 4.0) < 0.15
    assert not check_sinogram(stack, geometry)


@pytest.mark.parametrize(
    ("values", "geometry"),
    [
        (lambda g: np.random.default_rng(0).standard_normal(g.sinogram_shape), parallel(evenly_spaced(0, 360, 40))),
        (lambda g: np.random.default_rng(0).random(g.sinogram_shape), parallel()),
        (lambda g: np.zeros(g.sinogram_shape), parallel()),
        (lambda g: np.ones(g.sinogram_shape), fan()),
        (scanned, fan(evenly_spaced(0, 150, 60))),
        (scanned, parallel((0.0, 45.0))),
        (lambda g: scanned(g)[:, :5], parallel(pixels=5)),
    ],
    ids=["noise", "positive noise", "nothing", "constant", "fan over half a turn", "two views", "five pixels"],
)
def test_a_measurement_that_does_not_tell_gives_no_axis_and_no_warning_of_it(values, geometry):
    measured = values(geometry)
    assert centre_of_rotation(measured, geometry) is None
    assert centre_warnings(measured, geometry) == ()
    assert angle_sign_warnings(measured, geometry) == ()


def test_a_wrong_offset_is_told_with_the_figure_to_put_in():
    geometry = parallel(offset=6.0)
    wrong = parallel(offset=0.0)
    (said,) = centre_warnings(scanned(geometry), wrong)
    assert "detector.offset is 0 mm" in said
    figure = float(said.rpartition("offset = ")[2].split()[0])
    column = float(said.partition("at column ")[2].split(",")[0])
    assert abs(figure - 6.0) < 0.15
    assert abs(column - ((96 - 1) / 2 - 6.0)) < 0.15
    assert centre_warnings(scanned(geometry), parallel(offset=figure)) == ()
    assert centre_warnings(scanned(geometry), parallel(offset=6.7)) == ()


@pytest.mark.parametrize("geometry", [fan(), fan(shape="arc"), fan(evenly_spaced(10, 330, 110), offset=3.0)])
def test_a_fan_that_turns_the_other_way_is_seen(geometry):
    backwards = replace(geometry, angles=tuple(-angle for angle in geometry.angles))
    mirrored = replace(geometry, detector=replace(geometry.detector, offset=-geometry.detector.offset))
    values = scanned(geometry, noise=0.01)
    assert angle_sign_warnings(values, geometry) == ()
    (said,) = angle_sign_warnings(values, backwards)
    assert "change the sign of the angles, or reverse the detector's columns" in said
    assert angle_sign_warnings(values[:, ::-1], mirrored) == (said,)
    assert angle_sign_warnings(values[:, ::-1], replace(mirrored, angles=backwards.angles)) == ()


def test_what_cannot_be_seen_of_the_sign_is_not_claimed():
    """The mirror image is consistent with parallel rays, and a round object with anything."""
    backwards = parallel(tuple(-angle for angle in parallel().angles))
    assert check_sinogram(scanned(parallel()), backwards) == ()
    round_fan = replace(fan(), angles=tuple(-angle for angle in fan().angles))
    assert angle_sign_warnings(scanned(fan(), "round"), round_fan) == ()


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((96, 60), "96 x 60 and the geometry has 60 angles and 96 detector pixels.*transposed"),
        ((4, 96, 60), "4 x 96 x 60.*transposed"),
        ((60, 4, 96), "its pages are views"),
        ((59, 96), "59 rows and the geometry 60 angles"),
        ((60, 97), "97 columns and the detector 96 pixels"),
        ((60,), "the measurement is 60 and the geometry 60 x 96"),
        ((2, 2, 60, 96), "expected the same shape"),
    ],
)
def test_a_shape_that_is_not_the_scans_is_refused_with_both_numbers(shape, says):
    for check in (check_shape, check_sinogram):
        with pytest.raises(ConsistencyError, match=says) as caught:
            check(np.zeros(shape), parallel())
        assert str(caught.value).endswith(".")
    check_shape(np.zeros((60, 96)), parallel())
    check_shape(np.zeros((1, 60, 96)), parallel())


def test_a_square_sinogram_is_taken_as_it_is():
    check_shape(np.zeros((7, 7)), parallel(evenly_spaced(0, 180, 7), pixels=7))


def test_angles_in_radians_are_told():
    (said,) = angle_unit_warnings(parallel(tuple(np.linspace(0, np.pi, 181))))
    assert "181 angles span 3.142" in said
    assert "180 degrees" in said
    assert angle_unit_warnings(parallel(tuple(np.linspace(0, 2 * np.pi, 90))))
    assert angle_unit_warnings(parallel()) == ()
    assert angle_unit_warnings(parallel(evenly_spaced(-3, 3, 7))) == ()  # a few views of a small turn
    assert angle_unit_warnings(parallel((5.0,) * 20)) == ()


def test_dead_columns_are_named():
    values = scanned(parallel(), noise=0.01).copy()
    values[:, 40], values[:, 47], values[:, 0] = 0.0, 0.9, 2.0
    assert dead_columns(values) == ((0, 0), (0, 40), (0, 47))
    (said,) = dead_column_warnings(values)
    assert "in column 0, 40, 47 (counted from 0)" in said
    (said,) = dead_column_warnings(np.stack([scanned(parallel(), noise=0.01), values]))
    assert "0 of slice 1, 40 of slice 1, 47 of slice 1" in said


def test_air_and_a_round_object_without_noise_are_not_dead():
    values = scanned(parallel())
    assert (values[:, 0] == values[0, 0]).all()
    assert dead_columns(values) == ()
    assert dead_columns(np.tile(values[:1], (60, 1))) == ()
    assert dead_columns(values[:1]) == ()


def test_an_object_that_goes_on_at_the_edge_is_told_and_where():
    cut = parallel(pixels=34)
    assert [said.split()[1] for said in truncation_warnings(scanned(cut), cut)] == ["first", "last"]
    one_side = parallel(offset=20.0, pixels=64)
    (said,) = truncation_warnings(scanned(one_side), one_side)
    assert said.startswith("The first columns")
    assert "field of view" in said
    assert truncation_warnings(scanned(parallel(), noise=0.03), parallel()) == ()


def test_half_a_detector_sees_all_in_a_full_turn():
    shifted = parallel(evenly_spaced(0, 360, 90), offset=20.0, pixels=64)
    assert truncation_warnings(scanned(shifted), shifted) == ()
    assert field_of_view_warnings(shifted) == ()
    (said,) = field_of_view_warnings(parallel(offset=20.0, pixels=64))
    assert "reaches 32 mm" in said
    assert "sees 12 mm" in said


def test_an_image_beyond_what_the_detector_sees_is_told():
    assert field_of_view_warnings(parallel(pixels=64)) == ()
    (said,) = field_of_view_warnings(parallel(pixels=50))
    assert "reaches 32 mm" in said
    assert "sees 25 mm" in said
    (said,) = field_of_view_warnings(fan(pixels=50))  # 50 mm at 300 mm: 150 sin(atan(50 / 300))
    assert "sees 24.66 mm" in said
    aside = replace(parallel(pixels=64), volume=Volume((32, 40), 1.0, (0.0, -30.0)))
    assert "reaches 46 mm" in field_of_view_warnings(aside)[0]
    (said,) = field_of_view_warnings(parallel(offset=60.0))
    assert "detector.offset is 60 mm and the detector is 96 mm wide" in said


def test_an_image_smaller_than_the_object_is_told():
    for geometry in (parallel(), fan(), fan(shape="arc")):
        values = scanned(geometry, noise=0.01)
        assert support_warnings(values, geometry) == ()
        small = replace(geometry, volume=Volume((30, 30), 1.0))
        (said,) = support_warnings(values, small)
        assert "30 x 30 pixels of 1 mm" in said
        shifted = replace(geometry, volume=Volume((52, 52), 1.0, (5.0, -3.0)))
        assert support_warnings(values, shifted) == ()  # about the object, which is off the axis
        assert support_warnings(values, replace(shifted, volume=Volume((52, 52), 1.0, (-12.0, 8.0))))


def test_an_image_on_the_other_side_of_the_axis_misses_the_object():
    angle, distance = line_coordinates(parallel())
    values = np.maximum(25 - (distance - 20 * np.cos(np.deg2rad(angle - 250))) ** 2, 0) ** 0.5
    x, y = 20 * np.cos(np.deg2rad(250)), 20 * np.sin(np.deg2rad(250))
    for offset, missed in (((x, y), False), ((-x, y), True), ((x, -y), True), ((y, x), True)):
        there = replace(parallel(), volume=Volume((14, 14), 1.0, offset))
        assert bool(support_warnings(values, there)) == missed


@pytest.mark.parametrize("geometry", [parallel(offset=2.0), fan(offset=-3.0), fan(offset=-3.0, shape="arc")])
def test_lines_have_the_distance_and_direction_of_their_two_ends(geometry):
    angle, distance = line_coordinates(geometry)
    turned, u = np.deg2rad(geometry.angles)[:, None], detector_coordinates(geometry)
    far = geometry.source_to_detector or 1.0
    ray_coordinate = u / far
    aside, forth = (
        (far * np.sin(ray_coordinate), far * np.cos(ray_coordinate))
        if geometry.detector.shape == "arc"
        else (u, far + 0 * u)
    )
    start = (u, -1.0 + 0 * u) if geometry.kind == "parallel" else (0 * u, -geometry.source_to_axis + 0 * u)
    end = (aside, forth + start[1])
    cos, sin = np.cos(turned), np.sin(turned)
    (x0, y0), (x1, y1) = ((a * cos - b * sin, a * sin + b * cos) for a, b in (start, end))
    along = np.hypot(x1 - x0, y1 - y0)
    assert np.allclose(distance, (x0 * (y1 - y0) - y0 * (x1 - x0)) / along)
    assert np.allclose(np.cos(np.deg2rad(angle)), (y1 - y0) / along)
    assert np.allclose(np.sin(np.deg2rad(angle)), -(x1 - x0) / along)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-720, 720), min_size=2, max_size=40, unique_by=lambda angle: angle % 360),
    st.floats(-1000, 1000),
    st.randoms(use_true_random=False),
)
def test_views_around_the_circle_interpolate_what_is_linear(angles, target, random):
    """The unit direction, over small gaps: linear interpolation errs by the square of the gap."""
    angles = [*angles, angles[0] + 360]
    random.shuffle(angles)
    turn = AngularCoverage.of(tuple(map(float, angles)))
    assert len(turn.angles) == len(angles) - 1
    assert abs(turn.gaps.sum() - 360) < 1e-9
    assert np.allclose(np.asarray(angles)[turn.order] % 360, turn.angles)
    assert np.allclose(turn.angles[turn.places], np.asarray(angles) % 360)
    assert turn.cells.sum() == pytest.approx(sum(length for _, length in turn.arcs) or 360)
    first, second, weight, known = turn.between(np.array([target]))
    if known[0]:
        found = sum(
            part * np.exp(1j * np.deg2rad(turn.angles[view[0]]))
            for part, view in ((1 - weight[0], first), (weight[0], second))
        )
        gap = np.deg2rad(turn.gaps[first[0]])
        assert abs(found - np.exp(1j * np.deg2rad(target))) < 2 * gap**2 + 1e-9
    for exact in turn.angles[:2]:
        first, second, weight, known = turn.between(np.array([exact]))
        assert not known[0] or abs(turn.angles[second[0] if weight[0] > 0.5 else first[0]] - exact) < 1e-9


class TestMeasured:
    """Scans of real objects."""

    def test_the_tooth_turns_about_column_295_and_a_half(self, shared_data):
        pytest.importorskip("h5py")
        from recon.io import read_projections  # noqa: PLC0415

        read = read_projections(shared_data / "measured/tooth/tooth.h5")
        geometry = Geometry("parallel", tuple(read.angles), Detector(640, 1.0, 23.6), Volume((590, 590), 1.0))
        assert check_sinogram(read.values, geometry) == ()
        estimate = centre_of_rotation(read.values, geometry)
        assert abs(319.5 - estimate.offset_mm - 295.5) < 0.5
        few = replace(geometry, angles=geometry.angles[:90])  # by another method
        estimate = centre_of_rotation(read.values[:, :90], few)
        assert estimate.how == "centres of mass"
        assert abs(319.5 - estimate.offset_mm - 295.5) < 1 + 2 * estimate.error_mm
        (said,) = centre_warnings(read.values, replace(geometry, detector=Detector(640, 1.0)))
        assert "23.6 pixels away" in said
        assert truncation_warnings(read.values[..., 250:], replace(geometry, detector=Detector(390, 1.0)))
        assert support_warnings(read.values, replace(geometry, volume=Volume((200, 200), 1.0)))

    def test_the_acrylic_disc_turns_with_the_sign_of_its_angles(self, shared_data):
        with np.load(shared_data / "measured/htc2022_tb/sinogram.npz") as archive:
            values, angles = archive["sinogram"], archive["angles_deg"]
        geometry = Geometry("fan", tuple(angles), Detector(560, 0.2), Volume((512, 512), 0.14832), 410.66, 553.74)
        assert check_sinogram(values, geometry) == ()
        assert angle_sign_warnings(values, replace(geometry, angles=tuple(-angles)))
