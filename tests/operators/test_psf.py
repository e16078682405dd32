"""Kernels: known answers, and what is refused."""

import math

import pytest
import torch
from cases import random_psf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.operators import box_psf, check_psf, defocus_psf, gaussian_psf, motion_psf, normalise_psf, psf_centre

KERNELS = {
    "gaussian": lambda: gaussian_psf(1.6),
    "narrow gaussian": lambda: gaussian_psf(0.3),
    "box": lambda: box_psf((4, 3)),
    "defocus": lambda: defocus_psf(3.7),
    "point": lambda: defocus_psf(0.2),
    "motion": lambda: motion_psf(9.3, 40),
    "no motion": lambda: motion_psf(0, 40),
}


def moments(psf: torch.Tensor) -> tuple[float, float, float, float, float]:
    """Mean row, mean column, variance of rows and of columns, covariance; origin at the centre."""
    row, column = psf_centre(tuple(psf.shape))
    rows = torch.arange(psf.shape[0], dtype=torch.float64)[:, None] - row
    columns = torch.arange(psf.shape[1], dtype=torch.float64)[None, :] - column
    first = float((psf * rows).sum()), float((psf * columns).sum())
    return *first, float((psf * rows**2).sum()), float((psf * columns**2).sum()), float((psf * rows * columns).sum())


@pytest.mark.parametrize("make", KERNELS.values(), ids=KERNELS)
def test_a_kernel_sums_to_one_and_is_beyond_reproach(make):
    psf = make()
    assert psf.dtype == torch.float64
    assert float(psf.sum()) == pytest.approx(1, abs=1e-14)
    assert check_psf(psf) == []


@pytest.mark.parametrize("make", [make for name, make in KERNELS.items() if name != "box"])
def test_an_odd_kernel_is_centred(make):
    psf = make()
    assert all(length % 2 == 1 for length in psf.shape)
    assert moments(psf)[:2] == pytest.approx((0, 0), abs=1e-13)


def test_a_gaussian_has_its_variance():
    assert moments(gaussian_psf(1.6, truncate=8))[2:] == pytest.approx((1.6**2, 1.6**2, 0), rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(radius=st.floats(0.05, 12))
@example(radius=10.793745364867135)  # the circle all but touches an edge
def test_a_disc_covers_its_area(radius):
    psf = defocus_psf(radius)
    inside = float(psf[psf_centre(tuple(psf.shape))])
    # the centre pixel is wholly inside the disc once the radius reaches its corner: the scale is then known exactly
    if radius > math.sqrt(0.5):
        assert inside == pytest.approx(1 / (math.pi * radius**2), rel=1e-12)
    assert float((psf - psf.T).abs().max()) < 1e-14
    assert float((psf - psf.flip(0)).abs().max()) < 1e-14


def test_a_radius_whose_square_rounds_down_gives_a_finite_disc() -> None:
    assert float(defocus_psf(5.570343652188667).sum()) == pytest.approx(1)


def test_a_disc_agrees_with_counting_fine_points():
    radius, fine = 2.3, 400
    psf = defocus_psf(radius)
    reach = psf.shape[0] // 2
    grid = (torch.arange((2 * reach + 1) * fine, dtype=torch.float64) + 0.5) / fine - reach - 0.5
    inside = (grid[:, None] ** 2 + grid[None, :] ** 2 <= radius**2).double()
    counted = inside.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).sum(dim=(1, 3))
    assert float((psf - counted / counted.sum()).abs().max()) < 1e-5


def test_horizontal_motion_is_a_box():
    assert torch.allclose(motion_psf(5, 0), box_psf((1, 5)), atol=1e-15)
    assert torch.allclose(motion_psf(5, 90), box_psf((5, 1)), atol=1e-15)
    assert torch.allclose(motion_psf(4, 0), torch.tensor([[0.125, 0.25, 0.25, 0.25, 0.125]], dtype=torch.float64))


def test_motion_goes_up_to_the_right_for_a_positive_angle():
    psf = motion_psf(5, 45)
    assert float(psf[0, -1]) > 0
    assert float(psf[0, 0]) == pytest.approx(0, abs=1e-12)


@settings(deadline=None)
@given(length=st.floats(0, 30), angle=st.floats(-720, 720))
def test_motion_has_half_a_turn_of_symmetry_and_its_length(length, angle):
    psf, turned = motion_psf(length, angle), motion_psf(length, angle + 180)
    assert float(psf.sum()) == pytest.approx(1, abs=1e-12)
    assert psf.shape == turned.shape
    assert moments(psf) == pytest.approx(moments(turned), abs=1e-6)
    # a pixel moves a point by half a pixel at most, so the spread is that of a segment to within that
    spread = math.sqrt(sum(moments(psf)[2:4]))
    assert abs(spread - length / math.sqrt(12)) <= math.sqrt(0.5) + 1e-9


@pytest.mark.parametrize(
    ("shape", "centre"), [((3, 3), (1, 1)), ((4, 4), (2, 2)), ((4, 5), (2, 2)), ((1, 2), (0, 1)), ((1, 1), (0, 0))]
)
def test_the_centre_is_half_the_length_rounded_down(shape, centre):
    assert psf_centre(shape) == centre


def test_normalising_divides_by_the_sum():
    assert torch.allclose(normalise_psf(torch.tensor([[1.0, 3.0]])), torch.tensor([[0.25, 0.75]], dtype=torch.float64))


def test_negative_entries_and_another_sum_are_remarked_upon():
    psf = torch.tensor([[0.5, -0.25, 1.0]])
    remarks = check_psf(psf)
    assert len(remarks) == 2
    assert "1 of 3 entries are negative (the least is -0.25)" in remarks[0]
    assert "sum to 1.25" in remarks[1]


def test_a_float32_kernel_may_round_its_sum():
    assert check_psf(random_psf(31, 31).float()) == []


@pytest.mark.parametrize(
    ("psf", "words"),
    [
        (torch.ones(3, 3, 3), r"shape \(3, 3, 3\); expected \(height, width\)"),
        (torch.ones(5), r"shape \(5,\); expected \(height, width\)"),
        (torch.ones(0, 3), r"shape \(0, 3\); expected"),
        (torch.tensor([[1.0, float("nan")]]), "1 of 2 entries are not finite"),
        (torch.tensor([[float("inf"), 1.0, float("-inf")]]), "2 of 3 entries are not finite"),
        (torch.zeros(2, 2), "2 x 2 kernel sum to zero"),
        (torch.tensor([[1.0, -1.0]]), "1 x 2 kernel sum to zero"),
        (torch.ones(2, 2, dtype=torch.complex64), "dtype torch.complex64; expected real"),
    ],
)
def test_what_is_no_kernel_is_refused_in_one_sentence(psf, words):
    with pytest.raises(UsageError, match=words) as refused:
        check_psf(psf)
    assert ", because " in str(refused.value)
    with pytest.raises(UsageError, match=words):
        normalise_psf(psf)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gaussian_psf(0),
        lambda: gaussian_psf(-1),
        lambda: gaussian_psf(float("nan")),
        lambda: gaussian_psf(1, truncate=0),
        lambda: defocus_psf(0),
        lambda: defocus_psf(float("inf")),
        lambda: motion_psf(-1, 0),
        lambda: motion_psf(3, float("nan")),
        lambda: box_psf(0),
        lambda: box_psf((3, -1)),
    ],
)
def test_parameters_that_make_no_kernel_are_refused(make):
    with pytest.raises(UsageError, match=r"expected .*, because"):
        make()
