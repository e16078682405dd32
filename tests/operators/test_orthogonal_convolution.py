"""The residual of orthogonality against dense matrices, and the bounds that follow against singular values."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rounding import at_most
from torch import Tensor
from torch.nn import functional

from recon.errors import UsageError
from recon.evidence import Evidence
from recon.operators.convolution_norms import circular_norm, convolution_norm
from recon.operators.orthogonal_convolution import (
    orthogonal_norm,
    orthogonality_residual,
    residual_bound,
    residual_upper,
)
from recon.priors.networks.layers.convolution import convolve
from recon.priors.networks.layers.nonexpansive import OrthogonalConvolution, Pointwise

SHAPES = [
    (1, 1, 3, 3),
    (3, 3, 3, 3),
    (2, 5, 3, 3),
    (5, 2, 3, 3),
    (4, 1, 5, 5),
    (1, 4, 5, 5),
    (3, 2, 3, 5),
    (2, 2, 1, 1),
]


def random_kernel(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_upper_end_of_a_residual_counts_its_rounding() -> None:
    """A rotation of a pixel whose residual is computed as 0, and is not: of the numbers as they are it is 1e-33."""
    zeros = 0
    for angle in torch.linspace(0.1, 1.4, 60, dtype=torch.float64):
        row = torch.stack([angle.cos(), angle.sin()])
        kernel = row.view(1, 2, 1, 1)
        exact = (sum(Fraction(value) ** 2 for value in row.tolist()) - 1) ** 2
        zeros += float(orthogonality_residual(kernel)) == 0 < exact
        assert exact <= Fraction(residual_upper(kernel)) <= exact + Fraction(1, 10**27)
    assert zeros > 5
    for shape in SHAPES:
        kernel = random_kernel(shape)
        assert residual_upper(kernel) == pytest.approx(float(orthogonality_residual(kernel)), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-30, 1e30, 1e150, 1e300])
def test_the_bound_of_a_norm_is_one_at_every_scale(scale: float) -> None:
    """Squares of numbers below 1e-160 vanish, and the bound of a norm that is not zero was 0."""
    kernel = random_kernel((3, 2, 3, 3))
    wanted = scale * orthogonal_norm(kernel).value
    assert orthogonal_norm(scale * kernel).value == pytest.approx(wanted, rel=1e-9)


def near_orthogonal(features: int, size: int, distance: float, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    layer = OrthogonalConvolution(features, "circular", Pointwise("identity"), size).double().requires_grad_(False)
    for parameter in layer.parameters():
        parameter.add_(torch.randn_like(parameter))
    kernel = layer.derived()[0]
    return kernel + distance * random_kernel(tuple(kernel.shape), seed)


def l_orth(kernel: Tensor) -> float:
    """``||conv(K, K, padding k - 1, stride 1) - I_r0||_F^2``, as Achour, Malgouyres and Mamalet write it."""
    height, width = kernel.shape[2:]
    found = functional.conv2d(kernel, kernel, padding=(height - 1, width - 1))
    found[:, :, height - 1, width - 1] -= torch.eye(len(kernel)).double()
    return float(found.square().sum())


def dense(kernel: Tensor, side: int, padding: str = "circular") -> Tensor:
    unit = torch.eye(kernel.shape[1] * side * side).double().reshape(-1, kernel.shape[1], side, side)
    return convolve(unit, kernel, None, padding).flatten(1).T


def distance(gram: Tensor) -> float:
    return float((gram - torch.eye(len(gram)).double()).square().sum())


@pytest.mark.parametrize("more", [0, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_residual_is_the_distance_of_the_matrix_from_an_isometry_per_pixel(shape, more: int) -> None:
    kernel = 0.3 * random_kernel(shape)
    out, into, side = *shape[:2], 2 * max(shape[2:]) - 1 + more
    matrix, pixels = dense(kernel, side), side**2
    if out <= into:
        assert distance(matrix @ matrix.T) == pytest.approx(pixels * l_orth(kernel), rel=1e-10)
        assert float(orthogonality_residual(kernel)) == pytest.approx(l_orth(kernel), rel=1e-10)
    if out >= into:
        assert distance(matrix.T @ matrix) == pytest.approx(pixels * (l_orth(kernel) - (out - into)), rel=1e-9)
        assert float(orthogonality_residual(kernel)) == pytest.approx(l_orth(kernel) - (out - into), rel=1e-9)


def test_on_a_smaller_image_the_identity_does_not_hold() -> None:
    """Where offsets meet modulo the side their coefficients add up: the condition on the side is needed."""
    kernel, side = random_kernel((2, 3, 3, 3)), 4
    matrix = dense(kernel, side)
    assert abs(distance(matrix @ matrix.T) / (side**2 * l_orth(kernel)) - 1) > 1e-2


@settings(max_examples=40, deadline=None)
@example(seed=0, shape=(2, 2, 1, 1), scale=2.0**-9)  # where 1 less a coefficient loses the digits of the bound
@given(seed=st.integers(0, 2**31), shape=st.sampled_from(SHAPES), scale=st.floats(1e-6, 1e3))
def test_the_bounds_hold_for_random_kernels_at_every_size(seed: int, shape: tuple[int, ...], scale: float) -> None:
    holds(scale * random_kernel(shape, seed))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.sampled_from([1, 3, 5]), exponent=st.integers(-12, -1))
def test_the_bounds_hold_near_isometries_at_every_size(seed: int, size: int, exponent: int) -> None:
    holds(near_orthogonal(3, size, 10.0**exponent, seed))


def holds(kernel: Tensor) -> None:
    bound = orthogonal_norm(kernel)
    assert bound.evidence is Evidence.PROVED
    loose = residual_bound(float(orthogonality_residual(kernel)), *kernel.shape[2:])
    assert at_most(bound.value, loose)
    for side in (1, 2, 3, 7, 16):
        assert at_most(circular_norm(kernel, (side, side)).value / (1 + 1e-9), bound.value)
    for padding in ("zero", "circular"):
        assert at_most(float(torch.linalg.matrix_norm(dense(kernel, 5, padding), 2)), bound.value)
    grid = convolution_norm(kernel, grid=256)
    assert at_most(grid.value * math.cos(math.pi * (max(kernel.shape[2:]) - 1) / 512) ** 2 / (1 + 1e-8), bound.value)


def test_near_an_isometry_the_bound_is_nearer_than_that_of_a_grid_and_far_from_it_vacuous() -> None:
    near = near_orthogonal(4, 3, 1e-7)
    assert 1 - 1e-4 < orthogonal_norm(near).value < 1 + 1e-4 < convolution_norm(near).value
    far = random_kernel((4, 4, 3, 3))
    assert orthogonal_norm(far).value > 1.2 * convolution_norm(far).value


def test_the_smallest_singular_values_are_bounded_below_too() -> None:
    kernel = near_orthogonal(3, 3, 1e-3)
    radius = 5 * math.sqrt(float(orthogonality_residual(kernel)))
    least = float(torch.linalg.svdvals(dense(kernel, 6))[-1])
    assert math.sqrt(1 - radius) <= least < 1


def test_an_exact_isometry_has_no_residual_and_norm_one() -> None:
    for kernel in (torch.eye(3)[..., None, None], torch.tensor([[[[0.6]]], [[[0.8]]]])):
        assert float(orthogonality_residual(kernel.double())) < 1e-12
        assert orthogonal_norm(kernel.double()).value == pytest.approx(1, abs=1e-7)


def test_a_kernel_without_a_bound_is_refused() -> None:
    with pytest.raises(UsageError, match=r"shape \(3, 3\); expected \(out, in, height, width\)"):
        orthogonal_norm(torch.zeros(3, 3))
    with pytest.raises(UsageError, match="finite numbers"):
        orthogonal_norm(torch.full((1, 1, 3, 3), math.nan))
