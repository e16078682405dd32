import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recon.errors import OutputError, UsageError
from recon.io import Grid, Image, ValueRange, from_array, to_tensor, with_tensor
from recon.io.image import default_range

integers = st.sampled_from([np.uint8, np.uint16, np.int8, np.int16])


@given(st.data())
def test_there_and_back_in_float32_is_the_identity_for_8_and_16_bit(data: st.DataObject) -> None:
    dtype = data.draw(integers)
    image = from_array(data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))))
    back = with_tensor(image, to_tensor(image))
    assert back.pixels.dtype == dtype
    assert np.array_equal(back.pixels, image.pixels)
    assert back.clipped == 0


@given(
    hnp.arrays(np.int16, (1, 1, 3, 4)),
    st.sampled_from([(1.0, -1024.0), (1.0002441, -1024.0), (2.022, 0.0), (-1.0, 4095.0), (9.570207, -19595.0)]),
)
def test_a_rescaled_file_gives_back_the_integers_it_stored(stored: np.ndarray, rescale: tuple[float, float]) -> None:
    grid = Grid(-(2**15), 2**15 - 1, rescale[:1], rescale[1:])
    image = Image(grid.values(stored), ValueRange(-1024.0, 3071.0, "HU"), grid)
    again, clipped = grid.stored(with_tensor(image, to_tensor(image)).pixels)
    assert np.array_equal(again, stored)
    assert clipped == 0


def test_the_range_becomes_zero_and_one_and_nothing_is_clipped_on_the_way_in() -> None:
    image = from_array(np.array([[-1024, 3071, -2000]], np.int16), units="HU")
    assert torch.allclose(to_tensor(image), torch.tensor([0.0, 1.0, (-2000 + 1024) / 4095]))
    assert to_tensor(image, torch.float64).dtype == torch.float64


def test_values_beyond_the_file_are_clipped_and_counted() -> None:
    image = from_array(np.array([[0, 255, 10]], np.uint8))
    back = with_tensor(image, torch.tensor([[[[-0.1, 1.5, 0.5]]]]))
    assert back.pixels.tolist() == [[[[0, 255, 128]]]]
    assert back.clipped == 2


def test_floating_point_is_not_clipped() -> None:
    image = from_array(np.array([[0.0, 1.0]], np.float32))
    back = with_tensor(image, torch.tensor([[[[-0.5, 1.5]]]]))
    assert back.pixels.tolist() == [[[[-0.5, 1.5]]]]
    assert back.clipped == 0


def test_a_measurement_keeps_its_noise_where_floating_is_asked_for() -> None:
    image = from_array(np.array([[0, 255]], np.uint8))
    back = with_tensor(image, torch.tensor([[[[-0.01, 1.013]]]]), floating=True)
    assert back.pixels.dtype == np.float32
    assert torch.allclose(to_tensor(back), torch.tensor([-0.01, 1.013]))
    assert (back.clipped, back.value_range) == (0, image.value_range)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_result_that_is_not_finite_is_not_made_into_an_image(bad: float) -> None:
    image = from_array(np.zeros((2, 2), np.uint8))
    with pytest.raises(OutputError, match="1 of 4 values that are not finite"):
        with_tensor(image, torch.tensor([[[[0.0, bad], [0.0, 0.0]]]]))


def test_padding_is_black_for_solvers_and_put_back_after() -> None:
    pixels = np.array([[[[-3024, 40]]]], np.int32)
    grid = Grid(-(2**15), 2**15 - 1, (1.0,), (-1024.0,))
    image = Image(pixels, ValueRange(-1024, 3071, "HU"), grid, padding=pixels == -3024)
    assert to_tensor(image)[0, 0, 0, 0] == 0.0
    assert with_tensor(image, torch.full((1, 1, 1, 2), 0.5)).pixels[0, 0, 0, 0] == -3024


def test_another_size_keeps_the_units_and_drops_what_no_longer_fits() -> None:
    image = from_array(np.zeros((4, 4), np.int16), units="HU", spacing=(0.5, 0.5))
    smaller = with_tensor(image, torch.zeros(1, 1, 2, 2))
    assert smaller.units == "HU"
    assert smaller.spacing is None


def test_complex_pixels_stay_complex() -> None:
    image = from_array(np.array([[1 + 2j]], np.complex64))
    assert to_tensor(image).dtype == torch.complex64
    assert with_tensor(image, to_tensor(image)).pixels.item() == 1 + 2j


def test_pixels_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        from_array(np.zeros((2, 2))).pixels[0, 0, 0, 0] = 1


@pytest.mark.parametrize(
    ("array", "units", "expected"),
    [
        (np.array([[7]], np.uint8), "", (0, 255)),
        (np.array([[7]], np.uint16), "", (0, 65535)),
        (np.array([[7]], np.int16), "HU", (-1024, 3071)),
        (np.array([[-0.03, 1.02]]), "", (0, 1)),
        (np.array([[3, 3]], np.int16), "", (3, 6)),
        (np.array([[True]]), "", (0, 1)),
    ],
)
def test_the_default_range(array: np.ndarray, units: str, expected: tuple[float, float]) -> None:
    found = default_range(array, units)
    assert (found.low, found.high) == expected


def test_a_range_is_read_from_text_or_refused_in_a_sentence() -> None:
    assert ValueRange.parse("-1024:3071", "HU") == ValueRange(-1024.0, 3071.0, "HU")
    for text in ("1", "2:1", "nan:1", "a:b", ":", "0:inf"):
        with pytest.raises(UsageError, match="expected LO:HI"):
            ValueRange.parse(text)
