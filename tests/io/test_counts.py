"""Beer and Lambert's law, its weights, and what is done where there is no light."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recon.errors import ConsistencyError, InputError
from recon.io import line_integrals

SHAPE = (2, 7, 9)  # slices, views, pixels


def absorbed(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 2, shape)


def counts_of(integrals: np.ndarray, flat: float = 1000.0, dark: float = 20.0) -> np.ndarray:
    return dark + (flat - dark) * np.exp(-integrals)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.floats(-0.1, 8)),
    st.floats(1, 1e6),
    st.floats(0, 1e4),
)
def test_the_law_is_inverted(integrals, light, dark):
    counts = counts_of(integrals, dark + light, dark)
    values, weights, _ = line_integrals(counts, dark + light, dark)
    there = weights > 0
    rounding = 1e-12 * (dark + light) / light * np.exp(np.maximum(integrals, 0))
    assert values.shape == weights.shape == integrals.shape
    assert (np.abs(values - integrals) <= 1e-9 + 10 * rounding)[there].all()
    np.testing.assert_allclose(weights[there], (counts - dark)[there], rtol=1e-9)
    assert np.isfinite(values).all()


def test_the_weights_are_the_inverse_variances_of_poisson_counts():
    expected = np.array([50.0, 400.0, 3000.0])
    drawn = np.random.default_rng(0).poisson(expected + 10, (20000, 3)).astype(np.float64)
    values, weights, _ = line_integrals(drawn, 5000.0, 10.0)
    variance = values.var(axis=0)
    # dark counts have noise too, and a logarithm of few counts is not linear
    np.testing.assert_allclose(variance * weights.mean(axis=0), (expected + 10) / expected, rtol=0.06)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(np.uint8, np.float32), (np.uint16, np.float32), (np.float32, np.float32), (np.int32, np.float64), (float, float)],
)
def test_the_precision_follows_the_counts(kind, expected):
    values, weights, _ = line_integrals((counts_of(absorbed()) / 5).astype(kind), 200.0)
    assert values.dtype == weights.dtype == expected
    np.testing.assert_allclose(values, -np.log((counts_of(absorbed()) / 5).astype(kind) / 200.0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "shape", [(), (9,), (2, 9), (2, 1, 9), (2, 5, 9)], ids=["number", "pixels", "frame", "one frame", "frames"]
)
def test_flat_fields_of_every_shape_are_the_same_field(shape):
    field = np.broadcast_to(np.float64(1000.0) if shape == () else np.linspace(800, 1200, 9), shape)
    dark = np.full(shape, 20.0)
    integrals = absorbed()
    level = 1000.0 if shape == () else np.linspace(800, 1200, 9)
    values, _, notes = line_integrals(20 + (level - 20) * np.exp(-integrals), field, dark)
    np.testing.assert_allclose(values, integrals, rtol=1e-9)
    frames = shape[1] if len(shape) == 3 else 1
    assert notes == (
        f"The line integrals were computed from counts with a flat field of {frames} frame{'s' * (frames > 1)} and a "
        f"dark field of {frames} frame{'s' * (frames > 1)}.",
    )


def test_of_one_slice_two_dimensions_are_frames():
    integrals = absorbed(shape=(7, 9))
    flat = np.stack([np.full(9, 990.0), np.full(9, 1010.0)])
    values, weights, _ = line_integrals(1000 * np.exp(-integrals), flat)
    assert values.shape == weights.shape == (7, 9)
    np.testing.assert_allclose(values, integrals, rtol=1e-9)


@pytest.mark.parametrize("frames", [3, 4, 5, 10])
def test_one_bad_frame_does_not_reach_the_image(frames):
    flat = np.full((2, frames, 9), 1000.0)
    flat[0, 1, 4], flat[1, :, 3][:1] = 60000.0, 0.0
    values, _, _ = line_integrals(1000 * np.exp(-absorbed()), flat)
    np.testing.assert_allclose(values, absorbed(), rtol=1e-9)


def test_frames_lower_the_noise_by_nearly_as_much_as_a_mean():
    rng = np.random.default_rng(0)
    flat = 1000.0 + rng.standard_normal((1, 10, 20000))
    values, _, _ = line_integrals(np.full((1, 1, 20000), 500.0), flat)
    assert 1.0 < values.std() / (1 / 1000 / 10**0.5) < 1.12  # a median's would be 1.19


def test_counts_without_light_get_no_weight_and_their_neighbours_mean():
    integrals = np.tile(np.arange(9.0) / 10, (2, 7, 1)) + absorbed(1)[:, :, :1]
    counts = counts_of(integrals)
    counts[0, 2, 4], counts[0, 3, 0], counts[1, 5, 7:] = 20.0, 0.0, 3.0
    values, weights, notes = line_integrals(counts, 1000.0, 20.0)
    lost = counts <= 20
    assert (weights[lost] == 0).all()
    assert (weights[~lost] > 0).all()
    expected = integrals.copy()
    expected[0, 3, 0], expected[1, 5, 7:] = integrals[0, 3, 1], integrals[1, 5, 6]
    np.testing.assert_allclose(values, expected, rtol=1e-9)  # linear between, the nearest one beyond
    assert notes[1:] == ("4 of 126 counts are not above the dark field; they were interpolated and have weight 0.",)


def test_a_view_without_light_is_copied_from_the_nearest():
    counts = counts_of(absorbed())
    counts[0, 3], counts[0, 4] = 0.0, 0.0
    values, weights, _ = line_integrals(counts, 1000.0, 20.0)
    np.testing.assert_array_equal(values[0, 3], values[0, 2])
    np.testing.assert_array_equal(values[0, 4], values[0, 5])
    assert (weights[0, 3:5] == 0).all()


@pytest.mark.parametrize("fault", ["flat", "zero", "stuck"])
def test_dead_pixels_are_named_and_get_no_weight_in_any_view(fault):
    counts, flat = counts_of(absorbed()), np.full((2, 9), 1000.0)
    if fault == "flat":
        flat[1, 3] = flat[0, 8] = 15.0
    else:
        counts[1, :, 3] = counts[0, :, 8] = 0.0 if fault == "zero" else 700.0
    values, weights, notes = line_integrals(counts, flat, 20.0)
    assert np.argwhere((weights == 0).any(axis=1)).tolist() == [[0, 8], [1, 3]]
    assert (weights[0, :, 8] == 0).all()
    np.testing.assert_allclose(values[1, :, 3], (values[1, :, 2] + values[1, :, 4]) / 2)
    np.testing.assert_array_equal(values[0, :, 8], values[0, :, 7])
    assert "column 8 of slice 0, column 3 of slice 1 (counted from 0)" in notes[1]
    assert len(notes) == 2


def test_many_dead_pixels_are_counted():
    counts = np.concatenate([counts_of(absorbed()), np.zeros((2, 7, 4))], axis=2)
    notes = line_integrals(counts, 1000.0)[2]
    assert "column 9 of slice 1 and 3 more (counted" in notes[1]


def test_air_without_noise_is_not_dead():
    integrals = absorbed()
    integrals[:, :, :2] = integrals[:, :, 7:] = 0.0
    values, weights, notes = line_integrals(counts_of(integrals), 1000.0, 20.0)
    assert (weights > 0).all()
    assert len(notes) == 1
    np.testing.assert_allclose(values, integrals, atol=1e-12)
    assert (line_integrals(counts_of(integrals)[:, :1], 1000.0, 20.0)[1] > 0).all()  # a single view never changes


def test_another_exposure_is_noted():
    notes = line_integrals(counts_of(absorbed(), flat=5000.0), 1000.0, 20.0)[2]
    assert "more than 1.2 times the flat field" in notes[1]


@pytest.mark.parametrize(
    ("counts", "flat", "dark", "error", "says"),
    [
        (-1.0, 1000.0, None, InputError, "1 of the 63 values of the counts are negative, down to -1"),
        (np.nan, 1000.0, None, InputError, "1 of the 63 values of the counts are NaN or infinite"),
        (np.inf, 1000.0, None, InputError, "NaN or infinite"),
        (5.0, np.nan, None, InputError, "values of the flat field are NaN"),
        (5.0, 1000.0, -3.0, InputError, "values of the dark field are negative, down to -3"),
        (5.0, 0.0, None, ConsistencyError, "flat field of slice 0 is at most 0 where the dark field is 0"),
        (5.0, 20.0, 1000.0, ConsistencyError, "flat field of slice 0 is at most 20 where the dark field is 1000"),
        (5.0, 1e6, 2000.0, ConsistencyError, "counts of slice 0 are at most .* where the dark field is 2000"),
        (5.0, np.ones((2, 8)), None, ConsistencyError, r"flat field has shape \(2, 8\) .* 2 slices of 9 pixels"),
        (5.0, np.ones((3, 9)), None, ConsistencyError, r"shape \(3, 9\) .* expected \(2, frames, 9\)"),
        (5.0, np.ones((1, 5, 9)), None, ConsistencyError, r"shape \(1, 5, 9\)"),
        (5.0, 1000.0, np.ones((2, 0, 9)), ConsistencyError, r"dark field has shape \(2, 0, 9\)"),
        (5.0, np.ones((1, 2, 5, 9)), None, ConsistencyError, r"shape \(1, 2, 5, 9\)"),
        (5.0, np.ones(1), None, ConsistencyError, r"shape \(1,\)"),
        (5.0, np.ones((2, 9), complex), None, InputError, "flat field are of type complex128"),
    ],
)
def test_what_cannot_be_is_refused_with_its_numbers(counts, flat, dark, error, says):
    measured = counts_of(absorbed())
    measured[0, 1, 2] = counts
    with pytest.raises(error, match=says) as caught:
        line_integrals(measured, flat, dark)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(9,), (1, 2, 7, 9), (0, 7, 9), (7, 0)])
def test_counts_that_are_no_sinogram_are_refused(shape):
    with pytest.raises(ConsistencyError, match="expected"):
        line_integrals(np.ones(shape), 1000.0)
    with pytest.raises(InputError, match="type bool"):
        line_integrals(np.ones(SHAPE, bool), 1000.0)


def test_a_round_object_without_noise_is_not_dead():
    integrals = np.tile(np.sqrt(np.arange(5.0)), (1, 7, 1))
    values, weights, notes = line_integrals(counts_of(integrals), 1000.0, 20.0)
    assert (weights > 0).all()
    assert len(notes) == 1
    np.testing.assert_allclose(values, integrals, atol=1e-12)


def scanned(kind: type = np.uint16, flat: float = 20000.0, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    """Counts of an off-centre disc, air on both sides, with the noise of photons."""
    views, pixels = shape
    middle = pixels / 2 + pixels / 8 * np.cos(np.linspace(0, np.pi, views))[:, None]
    depth = np.sqrt(np.maximum((pixels / 4) ** 2 - (np.arange(pixels) - middle) ** 2, 0)) / (pixels / 8)
    return np.random.default_rng(0).poisson(flat * np.exp(-depth)).astype(kind)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
@pytest.mark.parametrize("place", ["view", "column", "ray"])
@pytest.mark.parametrize("value", [65535, 40000, 30000])
def test_what_is_saturated_gets_no_weight_and_is_named(value, place, kind):
    sound = scanned(kind)
    where = {"view": np.s_[7, :], "column": np.s_[:, 33], "ray": np.s_[5, 20]}[place]
    counts = sound.copy()
    counts[where] = value
    if place == "column":
        counts[::2, 33] -= 1  # that it never changes gives it away in any case
    values, weights, notes = line_integrals(counts, 20000.0)
    expected = line_integrals(sound, 20000.0)
    lost = np.zeros(counts.shape, bool)
    lost[where] = True
    np.testing.assert_array_equal(weights == 0, lost)
    np.testing.assert_array_equal(weights[~lost], expected[1][~lost])
    np.testing.assert_array_equal(values[~lost], expected[0][~lost])
    assert np.abs(values - expected[0])[lost].max() < 1.0
    (said,) = notes[1:]
    assert f"{lost.sum()} of 2400 counts are saturated" in said
    assert {"view": "view 7 ", "column": "column 33 ", "ray": "flat field;"}[place] in said


@pytest.mark.parametrize("bits", [8, 12, 14, 16])
def test_the_end_of_the_scale_is_seen_where_counts_pile_up_at_it(bits):
    end = 2**bits - 1
    expected = scanned(np.int64, 1.05 * end)
    counts = np.minimum(expected, end).astype(np.uint8 if bits == 8 else np.uint16)
    _, weights, notes = line_integrals(counts, 1.05 * end)
    np.testing.assert_array_equal(weights == 0, False)  # the flat field would be beyond the end of the scale, too
    _, weights, notes = line_integrals(counts, 0.95 * end)
    np.testing.assert_array_equal(weights == 0, counts == end)
    assert "are saturated, at the largest value of the detector" in notes[1]


@pytest.mark.parametrize("kind", [np.uint16, np.uint8, np.float64])
@pytest.mark.parametrize("flat", ["end", 100.0, 20.0, 5.0])
def test_air_is_not_saturated_whatever_the_exposure(flat, kind):
    end = 255.0 if kind is np.uint8 else 65535.0
    light = end if flat == "end" else flat
    counts = np.minimum(scanned(np.int64, light), end).astype(kind)
    noiseless = np.rint(light * np.exp(-absorbed(shape=(40, 60))) + 0 * counts).astype(kind)
    noiseless[:, :9] = light
    for each in (counts, noiseless):
        _, weights, notes = line_integrals(each, light)
        assert not any("saturated" in note for note in notes)
        assert (weights[each > 0] > 0).all()


def test_a_scan_of_nothing_but_saturated_counts_is_refused():
    with pytest.raises(ConsistencyError, match=r"are 65535 wherever .* largest value of the detector"):
        line_integrals(np.full((7, 9), 65535, np.uint16) - np.eye(7, 9, dtype=np.uint16) * 65535, 20000.0)
