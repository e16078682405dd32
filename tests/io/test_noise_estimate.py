"""The noise of an image is that of its signal: not of air, padding, or empty columns."""

import math

import numpy as np
import pytest

from recon.io import read, to_tensor
from recon.io.noise_estimate import _any, _constant, _middle, estimate_noise, signal

SHAPE = (71, 256)  # views and columns of a tilt series


def tilt_series(air: float, noise: float, share: float = 0.15, seed: int = 0) -> np.ndarray:
    """Line integrals of three discs in a wide field, from -70 to 70 degrees, with one noise in air and one beyond."""
    angle = np.deg2rad(np.linspace(-70, 70, SHAPE[0]))[:, None]
    at = np.linspace(-1, 1, SHAPE[1]) / share
    lines = np.zeros(SHAPE)
    for x, y, radius, value in ((0, 0, 1, 1.0), (0.3, 0.2, 0.3, 0.8), (-0.4, 0.1, 0.2, -0.5)):
        away = at - x * np.cos(angle) - y * np.sin(angle)
        lines += value * np.sqrt(np.maximum(radius**2 - away**2, 0))
    drawn = np.random.default_rng(seed).standard_normal(SHAPE)
    return lines + np.where(lines > 0, noise, air) * drawn


@pytest.mark.parametrize("share", [0.5, 0.15, 0.08])
@pytest.mark.parametrize("air", [0.0, 0.000434, 0.0218])
def test_air_does_not_pull_the_estimate_down(air, share) -> None:
    assert estimate_noise([tilt_series(air, 0.0218, share)]) == pytest.approx(0.0218, rel=0.25)


@pytest.mark.parametrize("level", [0.0, 0.3, -1.7])
@pytest.mark.parametrize("fill", ["columns", "rows", "frame"])
def test_constant_regions_are_left_out(fill, level) -> None:
    image = tilt_series(0.02, 0.02)
    if fill == "columns":
        image[:, :90] = image[:, -40:] = level
    elif fill == "rows":
        image[:30] = level
    planes = [image] + [np.full(SHAPE, level)] * (3 if fill == "frame" else 0)
    assert estimate_noise(planes) == pytest.approx(0.02, rel=0.25)


def test_padding_is_left_out_whatever_it_holds() -> None:
    image = tilt_series(0.02, 0.02)
    mask = np.zeros(SHAPE, bool)
    mask[:, 60:140] = mask[:9] = True
    padded = np.where(mask, np.random.default_rng(1).uniform(-9, 9, SHAPE), image)
    assert estimate_noise([padded], [mask]) == pytest.approx(0.02, rel=0.25)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_estimate_scales_with_the_image_and_ignores_its_level(scale) -> None:
    image = tilt_series(0.001, 0.02)
    assert estimate_noise([scale * (image + 3)]) == pytest.approx(scale * estimate_noise([image]), rel=1e-6)


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("name", ["camera.png", "cell.png", "astronaut.png"])
def test_white_noise_on_photographs_is_found(bundled_data, name, sigma) -> None:
    planes = to_tensor(read(bundled_data / "photographs" / name)).double().flatten(0, 1).numpy()
    noisy = planes + sigma * np.random.default_rng(0).standard_normal(planes.shape)
    for correlated in (False, True):
        assert sigma * 0.95 < estimate_noise(noisy, correlated=correlated) < sigma * (1.1 + 0.006 / sigma)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_correlated_noise_is_seen_whole(width) -> None:
    drawn = np.random.default_rng(0).standard_normal((200, 200))
    for axis in (0, 1):
        drawn = np.add.reduce([np.roll(drawn, shift, axis) for shift in range(width)]) / math.sqrt(width)
    image = 0.02 * drawn + np.where(np.hypot(*np.mgrid[-100:100, -100:100]) < 80, 0.5, 0.1)
    assert estimate_noise([image], correlated=True) == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize(("name", "low", "high"), [("tcga_60-2695", 8, 16), ("tcga_60-2715", 5, 13)])
def test_a_slice_has_the_noise_of_its_tissue(bundled_data, name, low, high) -> None:
    image = read(bundled_data / "ct" / f"{name}.dcm")
    planes = to_tensor(image).double().flatten(0, 1).numpy()
    padding = () if image.padding is None else image.padding.reshape(planes.shape)
    assert low < estimate_noise(planes, padding, correlated=True) * image.value_range.width < high


def test_a_thin_slice_has_the_22_hu_of_its_tissue(shared_data) -> None:
    image = read(shared_data / "ct" / "lidc_0314_chest" / "000012.dcm")
    planes = to_tensor(image).double().flatten(0, 1).numpy()
    assert estimate_noise(planes, correlated=True) * image.value_range.width == pytest.approx(22, abs=3)


@pytest.mark.parametrize("planes", [[], [np.zeros((40, 40))], [np.full((40, 40), 0.3)], [np.ones((5, 90))]])
def test_what_has_no_noise_to_see_has_no_estimate(planes) -> None:
    for correlated in (False, True):
        assert math.isnan(estimate_noise(planes, correlated=correlated))


def test_signal_is_what_is_above_air() -> None:
    image = tilt_series(0.001, 0.02, 0.15)
    lines = tilt_series(0.0, 0.0, 0.15)
    assert (signal(image) == (lines > 0)).mean() > 0.97
    assert signal(np.zeros((20, 20))).all()
    assert not signal(image, np.ones(SHAPE, bool)).any()


@pytest.mark.parametrize("side", [4, 8])
@pytest.mark.parametrize("shape", [(8, 8), (8, 31), (40, 9), (33, 34)])
def test_windows_are_looked_at_whole(shape, side) -> None:
    """By the definition: every window, pixel by pixel."""
    draw = np.random.default_rng(0)
    plane = np.where(draw.random(shape) < 0.03, draw.random(shape), 0.5)
    plane[:, :3] = draw.integers(0, 2, (shape[0], 3))
    windows = np.lib.stride_tricks.sliding_window_view(plane, (side, side))
    assert np.array_equal(_constant(plane, side), windows.max((2, 3)) == windows.min((2, 3)))
    rare = plane > 0.9
    seen = np.lib.stride_tricks.sliding_window_view(rare, (side, side)).any((2, 3))
    assert np.array_equal(_any(rare, side), seen)


@pytest.mark.parametrize("count", [1, 2, 5, 64, 1001])
def test_the_middle_is_the_median(count) -> None:
    values = np.round(np.random.default_rng(count).standard_normal(count), 1)
    assert _middle(values.copy()) == np.median(values)
