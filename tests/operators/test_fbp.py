"""Filtered back-projection: known attenuations come back, whatever the scan; the filter has no bias; it is linear."""

from dataclasses import replace

import numba
import numpy as np
import pytest
import torch
from scans import Ellipse, centres, depth_inside, sinogram

from recon.errors import ConsistencyError, UsageError
from recon.operators.adjoint import transpose
from recon.operators.tomography import WINDOWS, Detector, Geometry, Tomography, Volume, evenly_spaced, fbp
from recon.operators.tomography.analytic.redundancy_weights import ray_weights
from recon.operators.tomography.projectors.ramp_filter import _TAPS, convolve, ramp_taps


@pytest.fixture(autouse=True)
def _one_thread_of_the_loops():
    """On images this small a second thread costs more than it gives, on a busy machine many times more."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


VOLUME = Volume((80, 76), 1.0, (1.0, -2.0))
ELLIPSE = Ellipse((6.0, -4.0), (28.0, 19.0), tilt=25.0, attenuation=0.02)
FAN = {"source_to_axis": 150.0, "source_to_detector": 300.0}
GAPPED = (*evenly_spaced(40, 90, 34), *evenly_spaced(120, 360, 160))
"""Two gaps in a turn, over which every line is seen from the other end."""

UNEVEN = tuple(np.random.default_rng(3).permutation(np.sort(np.random.default_rng(4).uniform(0, 360, 320))))


def parallel(angles, pixels=118, offset=0.0, pitch=1.0):
    return Geometry("parallel", angles, Detector(pixels, pitch, offset), VOLUME)


def fan(angles, shape, pixels=140, offset=0.0, **distances):
    return Geometry("fan", angles, Detector(pixels, 2.0, offset, shape), VOLUME, **{**FAN, **distances})


SCANS = {
    "half a turn": parallel(evenly_spaced(0, 180, 120)),
    "half a turn, from elsewhere": parallel(evenly_spaced(-475, -295, 120)),
    "a whole turn": parallel(evenly_spaced(0, 360, 240)),
    "three quarters of a turn": parallel(evenly_spaced(0, 270, 180)),
    "uneven": parallel(UNEVEN),
    "the golden angle": parallel(tuple(111.246117975 * view for view in range(150))),
    "detector off centre": parallel(evenly_spaced(0, 180, 120), offset=5.3, pixels=124),
    "detector a quarter off": parallel(evenly_spaced(0, 360, 240), offset=0.25),
    "half a detector": parallel(evenly_spaced(0, 360, 240), offset=33.0, pixels=90),
    "half a detector, the other": parallel(evenly_spaced(0, 360, 240), offset=-33.0, pixels=90),
    "coarse detector": parallel(evenly_spaced(0, 180, 120), pixels=59, pitch=2.0),
    "flat fan": fan(evenly_spaced(0, 360, 240), "flat"),
    "arc fan": fan(evenly_spaced(0, 360, 240), "arc"),
    "flat fan, uneven": fan(UNEVEN, "flat"),
    "flat fan, off centre": fan(evenly_spaced(0, 360, 240), "flat", 150, 7.4),
    "arc fan, off centre": fan(evenly_spaced(0, 360, 240), "arc", 150, -7.4),
    "flat fan, half a detector": fan(evenly_spaced(0, 360, 240), "flat", 80, 65.0),
    "arc fan, half a detector": fan(evenly_spaced(0, 360, 240), "arc", 80, -65.0),
    "flat fan, half a turn and the fan": fan(evenly_spaced(33, 33 + 222, 148), "flat"),
    "arc fan, half a turn and the fan": fan(evenly_spaced(33, 33 + 222, 148), "arc"),
    "flat fan, backwards": fan(evenly_spaced(300, 300 - 240, 160), "flat"),
    "flat fan, nearly a whole turn": fan(evenly_spaced(0, 330, 220), "flat"),
    "flat fan, gaps": fan(GAPPED, "flat"),
    "arc fan, gaps": fan(GAPPED, "arc"),
    "flat fan, gaps, off centre": fan(GAPPED, "flat", 150, 7.4),
    "wide flat fan": fan(evenly_spaced(0, 360, 480), "flat", 330, source_to_axis=75.0, source_to_detector=220.0),
    "wide arc fan": fan(evenly_spaced(0, 360, 480), "arc", 250, source_to_axis=75.0, source_to_detector=220.0),
}


@pytest.mark.parametrize("geometry", SCANS.values(), ids=SCANS.keys())
def test_an_ellipse_has_its_attenuation_inside_and_none_outside(geometry):
    image = fbp(geometry, "hann")(sinogram(geometry, ELLIPSE)).numpy()
    depth = depth_inside(VOLUME, ELLIPSE)
    assert image[depth > 5] == pytest.approx(0.02, rel=0.01)
    assert abs(image[depth < -5].mean()) < 2e-5
    assert np.abs(image[(depth < -5) & (np.hypot(*centres(VOLUME)) < 40)]).max() < 2.5e-3


@pytest.mark.parametrize("window", WINDOWS)
def test_the_centre_of_a_disc_reads_its_attenuation_through_every_window(window):
    disc, geometry = Ellipse((0.0, 0.0), (25.0, 25.0)), SCANS["half a turn"]
    image = fbp(geometry, window)(sinogram(geometry, disc)).numpy()
    assert image[np.hypot(*centres(VOLUME)) < 3].mean() == pytest.approx(0.02, rel=2e-3)


def test_small_things_are_where_they_should_be():
    """A fault in the sign of an angle or an offset moves them; the convention is that of the projector."""
    dots = (Ellipse((25.0, 10.0), (3.0, 3.0)), Ellipse((-10.0, 20.0), (3.0, 3.0)))
    for geometry in SCANS.values():
        image = fbp(geometry, "hann")(sinogram(geometry, *dots)).numpy()
        for dot in dots:
            near = depth_inside(VOLUME, dot) > -3
            found = (centres(VOLUME)[:, near] * image[near]).sum(1) / image[near].sum()
            assert found == pytest.approx(dot.centre, abs=0.1)


def test_the_corners_of_an_image_wider_than_the_detector_are_empty():
    """The ramp gives values beside the detector, without which nothing cancels there."""
    volume, disc = Volume((64, 64), 1.0), Ellipse((0.0, 0.0), (27.0, 27.0))
    geometry = Geometry("parallel", evenly_spaced(0, 180, 90), Detector(64, 1.0), volume)
    image = fbp(geometry, "hann")(sinogram(geometry, disc)).numpy()
    outside = np.hypot(*centres(volume)) > 33
    assert abs(image[outside].mean()) < 1e-5
    assert np.abs(image[outside]).max() < 2e-3


@pytest.mark.parametrize(
    "name", ["flat fan", "arc fan", "flat fan, half a turn and the fan", "flat fan, half a detector"]
)
def test_a_fan_agrees_with_parallel_rays(name):
    many = (ELLIPSE, Ellipse((-12.0, 14.0), (9.0, 5.0), 70.0, 0.01), Ellipse((15.0, 0.0), (6.0, 6.0), 0.0, -0.015))
    first, second = (fbp(g, "hann")(sinogram(g, *many)) for g in (SCANS[name], SCANS["half a turn"]))
    assert float((first - second).square().mean().sqrt()) < 0.025 * float(second.square().mean().sqrt())


def test_half_a_turn_and_a_whole_one_give_the_same_image():
    half, whole = parallel(evenly_spaced(0, 180, 60)), parallel(evenly_spaced(0, 360, 120))
    torch.testing.assert_close(fbp(half)(sinogram(half, ELLIPSE)), fbp(whole)(sinogram(whole, ELLIPSE)))


@pytest.mark.parametrize("name", ["half a turn", "a whole turn", "flat fan", "flat fan, half a turn and the fan"])
def test_the_order_of_the_views_does_not_matter_and_views_twice_count_once(name):
    geometry = SCANS[name]
    order = np.random.default_rng(0).permutation(np.tile(np.arange(len(geometry.angles)), 2))
    shuffled = replace(geometry, angles=tuple(geometry.angles[view] for view in order))
    y = sinogram(geometry, ELLIPSE)
    torch.testing.assert_close(fbp(shuffled)(y[torch.from_numpy(order)]), fbp(geometry)(y))


def test_uneven_views_are_weighted_by_the_arc_that_they_stand_for():
    """One half of the turn is taken three times as finely as the other."""
    geometry = parallel((*evenly_spaced(0, 90, 120), *evenly_spaced(90, 180, 40)))
    weights = np.rad2deg(ray_weights(geometry)[:, 0])
    assert weights[5:110] == pytest.approx(0.75)
    assert weights[125:155] == pytest.approx(2.25)
    assert weights.sum() == pytest.approx(180)
    image = fbp(geometry, "hann")(sinogram(geometry, ELLIPSE)).numpy()
    assert image[depth_inside(VOLUME, ELLIPSE) > 5] == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize(("start", "stop"), [(0, 120), (-50, 50), (150, 260)])
def test_a_limited_angle_is_left_limited(start, stop):
    weights = ray_weights(parallel(evenly_spaced(start, stop, stop - start)))
    assert np.rad2deg(weights) == pytest.approx(1.0)


@pytest.mark.parametrize("stop", [150, 180, 200, 222, 270, 350, 360])
def test_the_rays_along_a_line_share_it(stop):
    """On an arc of half a view's step the other end of each line is a ray of the scan too, if its view is."""
    step, pixels = 2, 41
    detector = Detector(pixels, 300.0 * np.deg2rad(step / 2), 0.0, "arc")
    geometry = Geometry("fan", tuple(range(7, 7 + stop, step)), detector, VOLUME, **FAN)
    shares = np.rad2deg(np.broadcast_to(ray_weights(geometry), geometry.sinogram_shape)) / step
    pixel = np.arange(pixels)
    for view in range(len(shares)):
        other = (view * step + 180 - 2 * (pixel - pixels // 2) * step // 2) % 360 // step
        twin = np.where(other < len(shares), shares[other % len(shares), pixels - 1 - pixel], 0.0)
        assert shares[view] + twin == pytest.approx(1.0)


def test_what_is_seen_once_counts_once_though_there_are_several_gaps():
    """On the same arc, with a view every 2 degrees but in three gaps; some lines are in none of the views."""
    step, pixels = 2, 41
    detector = Detector(pixels, 300.0 * np.deg2rad(step / 2), 0.0, "arc")
    measured, pixel = np.r_[10:30, 38:62, 70:175], np.arange(pixels)
    geometry = Geometry("fan", tuple(float(step * view) for view in measured), detector, VOLUME, **FAN)
    shares = np.zeros((180, pixels))
    shares[measured] = np.rad2deg(ray_weights(geometry)) / step
    for view in measured:
        other = (view + 90 - (pixel - pixels // 2)) % 180
        assert shares[view] + shares[other, pixels - 1 - pixel] == pytest.approx(1.0)


def test_every_window_has_a_name_and_a_formula():
    assert tuple(_TAPS) == WINDOWS


@pytest.mark.parametrize(
    ("window", "factor"),
    [
        ("ram-lak", lambda f: 1 + 0 * f),
        ("shepp-logan", np.sinc),
        ("cosine", lambda f: np.cos(np.pi * f)),
        ("hann", lambda f: (1 + np.cos(2 * np.pi * f)) / 2),
        ("hamming", lambda f: 0.54 + 0.46 * np.cos(2 * np.pi * f)),
    ],
)
def test_the_taps_are_the_integrals_of_the_windowed_ramp(window, factor):
    f = (np.arange(20_000) + 0.5) / 40_000
    expected = [2 * (f * factor(f) * np.cos(2 * np.pi * f * k)).sum() / 40_000 for k in range(12)]
    assert ramp_taps(12, window) == pytest.approx(np.array(expected), abs=1e-8)


def test_the_mean_is_kept_where_the_sampled_ramp_loses_it():
    """The planted fault: |f| on the frequencies of the transform, with as much padding."""
    geometry = SCANS["half a turn"]
    y, depth = sinogram(geometry, ELLIPSE), depth_inside(VOLUME, ELLIPSE)
    inverse = fbp(geometry)
    good = inverse(y).numpy()[depth > 5].mean()
    frequencies = torch.fft.rfftfreq(256, dtype=torch.float64)
    naive = np.fft.irfft(frequencies.numpy())[: len(inverse._taps)]
    inverse.__dict__["_taps"] = naive
    bad = inverse(y).numpy()[depth > 5].mean()
    assert abs(good - 0.02) < 2e-5
    assert abs(bad - 0.02) > 2e-4


def test_the_convolution_is_linear_not_circular():
    taps, rows = ramp_taps(9), torch.zeros(2, 9, dtype=torch.float64)
    rows[0, 0] = rows[1, 8] = 1
    found = convolve(rows, taps).numpy()
    assert found[0] == pytest.approx(taps)
    assert found[1] == pytest.approx(taps[::-1])


@pytest.mark.parametrize("name", ["half a detector", "flat fan", "arc fan, half a turn and the fan"])
def test_it_is_linear_with_an_exact_transpose_that_autograd_knows(name, generator):
    inverse = fbp(SCANS[name], "hann")
    y = torch.randn(2, *SCANS[name].sinogram_shape, generator=generator, dtype=torch.float64)
    x = torch.randn(2, *VOLUME.pixels, generator=generator, dtype=torch.float64)
    back = transpose(inverse, y)
    assert back is not None
    torch.testing.assert_close(back(x), inverse.transpose(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(inverse(y)[1], inverse(y[1]))
    torch.testing.assert_close(inverse(y.float()), inverse(y).float(), rtol=1e-3, atol=1e-3 * float(inverse(y).std()))


@pytest.mark.parametrize(("window", "theirs"), [("ram-lak", "ramp"), ("hann", "hann"), ("shepp-logan", "shepp-logan")])
def test_a_phantom_comes_back_at_least_as_well_as_from_scikit_image(window, theirs):
    from skimage.data import shepp_logan_phantom  # noqa: PLC0415
    from skimage.transform import iradon, resize  # noqa: PLC0415

    size = 127  # odd, because scikit-image's axis of rotation runs through the centre of a pixel
    phantom = resize(shepp_logan_phantom(), (size, size), anti_aliasing=True)
    geometry = Geometry("parallel", evenly_spaced(0, 180, 90), Detector(size, 1.0), Volume((size, size), 1.0))
    y = Tomography(geometry).A(torch.from_numpy(phantom))
    seen = np.hypot(*centres(geometry.volume)) < size // 2

    def psnr(image):
        return -10 * np.log10(((image - phantom)[seen] ** 2).mean())

    peer = psnr(iradon(y.numpy().T, theta=np.array(geometry.angles), filter_name=theirs))
    assert psnr(fbp(geometry, window)(y).numpy()) > peer - 0.005


def test_an_unknown_window_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"'ham'; did you mean 'hamming'\? known: cosine, hamming"):
        fbp(SCANS["flat fan"], "ham")


def test_a_fan_wider_than_half_a_circle_is_refused():
    with pytest.raises(ConsistencyError, match=r"opens to 19\d degrees"):
        fbp(fan(evenly_spaced(0, 360, 8), "arc", 500))


def test_a_transposed_sinogram_is_refused():
    with pytest.raises(UsageError, match=r"\(118, 120\); expected \(..., 120, 118\)"):
        fbp(SCANS["half a turn"])(torch.zeros(118, 120))


def test_views_at_the_rims_of_several_gaps_do_not_count_for_the_gaps():
    angles = tuple(angle for angle in evenly_spaced(27, 334, 614) if not (165 < angle < 184 or 254 < angle < 269))
    scan = Geometry("fan", angles, Detector(8, 1.0), Volume((4, 4), 1.0), source_to_axis=40.0, source_to_detector=50.0)
    weights = ray_weights(scan)
    assert weights.max() == pytest.approx(np.deg2rad(0.5))  # a view and its step, seen once
