"""Blur: known answers, kernels and images of every parity, and what is refused."""

import pytest
import torch
from cases import random_psf
from dense import matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.errors import UsageError
from recon.operators import Blur, CircularBlur, ValidBlur, box_psf, gaussian_psf, psf_centre
from recon.operators._fourier import fast_length
from recon.operators.base import HasDataGradient, HasDataResolvent


def convolve_by_definition(psf: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The circular convolution as the sum that defines it: sum_k psf[k] x[i - (k - centre)]."""
    row, column = psf_centre(tuple(psf.shape))
    total = torch.zeros_like(x)
    for k in range(psf.shape[0]):
        for m in range(psf.shape[1]):
            total += psf[k, m] * x.roll((k - row, m - column), dims=(-2, -1))
    return total


def inner_part(psf: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The pixels of a circular convolution that see no wrap-around."""
    (h, w), (row, column) = psf.shape, psf_centre(tuple(psf.shape))
    top, left = h - 1 - row, w - 1 - column
    return x[..., top : top + x.shape[-2] - h + 1, left : left + x.shape[-1] - w + 1]


kernels_and_images = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 6), st.integers(0, 6))


@settings(deadline=None, max_examples=60)
@given(sizes=kernels_and_images, seed=st.integers(0, 99))
def test_it_is_the_convolution_of_its_definition(sizes, seed):
    h, w, more_rows, more_columns = sizes
    psf, shape = random_psf(h, w, seed), (h + more_rows, w + more_columns)
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    expected = convolve_by_definition(psf, x)
    assert torch.allclose(Blur(psf, shape).A(x), expected, atol=1e-12)
    assert torch.allclose(Blur(psf, shape, "valid").A(x), inner_part(psf, expected), atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(sizes=kernels_and_images, boundary=st.sampled_from(["circular", "valid"]), seed=st.integers(0, 99))
def test_adjoint_and_constants_for_every_parity(sizes, boundary, seed):
    h, w, more_rows, more_columns = sizes
    blur = Blur(random_psf(h, w, seed) - 0.02, (h + more_rows, w + more_columns), boundary)
    forward, back = matrix(blur.A, blur.domain), matrix(blur.A_adjoint, blur.range)
    assert float((back - forward.T).abs().max()) < 1e-12
    singular = torch.linalg.svdvals(forward)
    assert float(singular[0]) <= blur.properties.norm.value * (1 + 1e-12)
    if boundary == "circular":
        assert float(singular[0]) == pytest.approx(blur.properties.norm.value, rel=1e-12)
        assert float(singular[-1]) ** 2 == pytest.approx(blur.properties.gram_min.value, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("shape", [(3, 3), (4, 4), (2, 5), (5, 2), (1, 4)])
def test_a_point_becomes_the_psf_itself(shape):
    psf = random_psf(*shape)
    row, column = psf_centre(shape)
    point = torch.zeros(1, 1, 9, 10, dtype=torch.float64)
    point[..., 4, 5] = 1
    blurred = Blur(psf, (9, 10)).A(point)[0, 0]
    found = blurred[4 - row : 4 - row + shape[0], 5 - column : 5 - column + shape[1]]
    assert torch.allclose(found, psf, atol=1e-15)
    assert float(blurred.sum()) == pytest.approx(1)


def test_a_single_central_entry_is_the_identity():
    psf = torch.zeros(4, 3, dtype=torch.float64)
    psf[psf_centre((4, 3))] = 1
    x = torch.randn(1, 1, 8, 7, dtype=torch.float64)
    assert torch.allclose(Blur(psf, (8, 7)).A(x), x, atol=1e-14)


def test_a_mean_keeps_the_grey_value():
    grey = torch.full((1, 1, 8, 9), 0.3)
    for boundary in ("circular", "valid"):
        assert torch.allclose(Blur(box_psf((2, 3)), (8, 9), boundary).A(grey), torch.tensor(0.3))


def test_a_valid_measurement_has_the_size_that_sees_no_border():
    blur = Blur(random_psf(4, 3), (20, 17), "valid")
    assert blur.range.shape == (17, 15)
    assert blur.A(torch.zeros(2, 3, 20, 17)).shape == (2, 3, 17, 15)
    assert blur.A_adjoint(torch.zeros(2, 3, 17, 15)).shape == (2, 3, 20, 17)


def test_only_the_circular_blur_has_a_closed_form_resolvent():
    circular, valid = Blur(box_psf(3), (8, 8)), Blur(box_psf(3), (8, 8), "valid")
    assert isinstance(circular, CircularBlur)
    assert isinstance(circular, HasDataResolvent)
    assert isinstance(valid, ValidBlur)
    assert isinstance(valid, HasDataGradient)
    assert not isinstance(valid, HasDataResolvent)


def test_float32_is_adjoint_to_its_precision_on_a_photograph_sized_image():
    blur = Blur(gaussian_psf(2.0), (256, 251))
    x, y = torch.rand(4, 1, 256, 251), torch.rand(4, 1, 256, 251)
    left, right = (blur.A(x).double() * y).sum(), (x * blur.A_adjoint(y).double()).sum()
    assert float((left - right).abs() / left.abs()) < 1e-6


def test_one_measurement_may_serve_several_images():
    blur = Blur(random_psf(3, 3), (8, 9))
    x, y = torch.randn(4, 2, 8, 9, dtype=torch.float64), torch.randn(1, 2, 8, 9, dtype=torch.float64)
    assert torch.allclose(blur.data_gradient(y)(x), blur.A_adjoint(blur.A(x) - y), atol=1e-12)
    assert torch.allclose(blur.data_gradient(x)(y), blur.A_adjoint(blur.A(y) - x), atol=1e-12)


def test_a_float64_measurement_serves_a_float32_image():
    blur = Blur(random_psf(3, 3), (8, 9))
    x, y = torch.randn(1, 1, 8, 9), torch.randn(1, 1, 8, 9, dtype=torch.float64)
    for apply in (blur.data_gradient(y), blur.data_resolvent(y, 0.5)):
        assert apply(x).dtype == torch.float32


def test_the_data_maps_are_differentiable():
    blur = Blur(random_psf(3, 2), (5, 4))
    x, y = torch.randn(2, 1, 5, 4, dtype=torch.float64), torch.randn(2, 1, 5, 4, dtype=torch.float64)
    for make in (blur.data_gradient, lambda y: blur.data_resolvent(y, 0.7)):
        assert torch.autograd.gradcheck(lambda x, y, make=make: make(y)(x), (x.requires_grad_(), y.requires_grad_()))


def test_the_kernel_is_the_operators_own():
    psf = random_psf(3, 3)
    blur = Blur(psf, (8, 8))
    before = blur.A(torch.ones(1, 1, 8, 8))
    psf.zero_()
    assert torch.equal(Blur(blur.psf, (8, 8)).A(torch.ones(1, 1, 8, 8)), before)


@pytest.mark.parametrize("length", range(1, 200))
def test_a_fast_length_is_the_least_smooth_even_number(length):
    found = fast_length(length)
    assert found >= length
    smooth = {2**a * 3**b * 5**c for a in range(1, 9) for b in range(6) for c in range(4)} | {1}
    assert found == min(number for number in smooth if number >= length)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: Blur(torch.ones(3, 3, 3), (512, 512)),
            r"Blur: the kernel has shape \(3, 3, 3\); expected \(height, width\), "
            r"because the image is a single slice of 512 x 512\.",
        ),
        (lambda: Blur(box_psf(9), (8, 12)), "the kernel of 9 x 9 is larger than the image of 8 x 12"),
        (lambda: Blur(box_psf((1, 13)), (8, 12), "valid"), "the kernel of 1 x 13 is larger than the image of 8 x 12"),
        (lambda: Blur(box_psf(3), (8, 8), "reflect"), "the boundary is 'reflect'; expected 'circular' or 'valid'"),
        (lambda: Blur(box_psf(3), (3, 8, 8)), r"the image shape is \(3, 8, 8\); expected two positive integers"),
        (lambda: Blur(box_psf(3), (0, 8)), r"the image shape is \(0, 8\)"),
        (lambda: Blur(torch.zeros(3, 3), (8, 8)), "sum to zero"),
        (
            lambda: Blur(box_psf(3), (8, 8)).A(torch.zeros(1, 1, 8, 9)),
            r"Blur: the image has shape \(1, 1, 8, 9\); expected \(\.\.\., 8, 8\), "
            r"because the operator was built for images of 8 x 8\.",
        ),
        (lambda: Blur(box_psf(3), (8, 8)).A(torch.zeros(8)), r"the image has shape \(8,\)"),
        (
            lambda: Blur(box_psf(3), (8, 8)).A(torch.zeros(8, 8, dtype=torch.complex64)),
            "dtype torch.complex64; expected real floating-point numbers",
        ),
        (
            lambda: Blur(box_psf(3), (8, 8), "valid").data_gradient(torch.zeros(8, 8)),
            r"the measurement has shape \(8, 8\); expected \(\.\.\., 6, 6\)",
        ),
    ],
)
def test_a_refusal_is_one_sentence_with_the_users_own_value(make, words):
    with pytest.raises(UsageError, match=words):
        make()
