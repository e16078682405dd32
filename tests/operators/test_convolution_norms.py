"""Bounds of convolutions against the singular values of explicit matrices, over many sizes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import at_most
from torch import Tensor
from torch.nn import functional

from recon.errors import UsageError
from recon.evidence import Evidence
from recon.operators.convolution_norms import (
    absolute_norm,
    circular_norm,
    convolution_norm,
    grid_for,
    oversampling,
    peak_norm,
)
from recon.priors.networks.layers.convolution import analyse, convolve


def kernel(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(weights: Tensor, padding: str, height: int, width: int) -> Tensor:
    """The matrix of a convolution, column by column."""
    unit = torch.eye(weights.shape[1] * height * width, dtype=weights.dtype).reshape(
        -1, weights.shape[1], height, width
    )
    return analyse(unit, weights, padding).flatten(1).T


def dense_norm(weights: Tensor, padding: str, height: int, width: int) -> float:
    return float(torch.linalg.matrix_norm(dense(weights, padding, height, width), 2))


SIZES = [(1, 1), (1, 7), (2, 3), (3, 3), (4, 9), (5, 6), (8, 8), (11, 6)]


@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (3, 1, 3, 5), (1, 2, 5, 3), (2, 3, 3, 3)])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_circular_norm_is_exact_at_each_size(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    weights = kernel(*shape)
    unit = torch.eye(shape[1] * size[0] * size[1], dtype=torch.float64).reshape(-1, shape[1], *size)
    matrix = convolve(unit, weights, None, "circular").flatten(1).T
    truth = float(torch.linalg.matrix_norm(matrix, 2))
    found = circular_norm(weights, size)
    assert found.evidence is Evidence.PROVED
    assert truth <= found.value <= truth * (1 + 1e-8)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    out=st.integers(1, 3),
    inputs=st.integers(1, 2),
    taps=st.sampled_from([1, 3, 5]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.sampled_from(["zero", "circular", "valid"]),
)
def test_the_bound_holds_for_every_padding_and_size(  # noqa: PLR0917  drawn by name
    seed: int, out: int, inputs: int, taps: int, height: int, width: int, padding: str
) -> None:
    weights = kernel(out, inputs, taps, taps, seed=seed)
    if padding == "valid" and min(height, width) < taps:
        return
    assert dense_norm(weights, padding, height, width) <= convolution_norm(weights).value


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_the_bound_is_near_the_norm_of_a_large_image(padding: str) -> None:
    weights = kernel(2, 1, 3, 3)
    assert convolution_norm(weights).value < 1.02 * dense_norm(weights, padding, 30, 30)


def test_a_coarse_grid_alone_would_miss_the_norm() -> None:
    """A kernel whose symbol peaks between the frequencies of a grid: the factor is what makes the bound sound."""
    points, taps = 16, 7
    middle = 2 * math.pi / points * 4.5
    row = torch.tensor([math.cos(middle * (k - 3)) for k in range(taps)], dtype=torch.float64)
    weights = torch.outer(row, row)[None, None]
    on_grid = circular_norm(weights, (points, points)).value
    truth = convolution_norm(weights, grid=2048).value
    assert on_grid < 0.99 * truth
    assert truth <= convolution_norm(weights, grid=points).value


def test_the_factor_is_attained() -> None:
    """``cos(d w)`` turned by half a step of the grid is as bad as a symbol can be."""
    degree, points = 2, 16
    turn = math.pi * degree / points
    frequencies = 2 * math.pi * torch.arange(points) / points
    on_grid = float(torch.cos(degree * frequencies - turn).max())
    assert pytest.approx(on_grid * oversampling(2 * degree + 1, points)) == 1
    assert 1.01 * on_grid * oversampling(2 * degree - 1, points) < 1


def test_a_chain_is_bounded_by_its_composed_symbol() -> None:
    first, second = kernel(2, 1, 3, 3), kernel(2, 2, 3, 3, seed=1)
    unit = torch.eye(49, dtype=torch.float64).reshape(49, 1, 7, 7)
    full = functional.conv2d(functional.conv2d(unit, first, padding=2), second, padding=2).flatten(1).T
    truth = float(torch.linalg.matrix_norm(full, 2))
    chain = convolution_norm(first, second).value
    assert truth <= chain <= convolution_norm(first).value * convolution_norm(second).value
    assert chain < 1.25 * truth


def test_reflection_breaks_the_bound_that_zero_padding_keeps() -> None:
    box = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
    unit = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8)
    reflected = functional.conv2d(functional.pad(unit, (1, 1, 1, 1), mode="reflect"), box).flatten(1).T
    assert float(torch.linalg.matrix_norm(reflected, 2)) > 1.04 > convolution_norm(box).value


@pytest.mark.parametrize("shape", [(5, 1, 3, 3), (1, 4, 3, 3), (2, 2, 5, 3), (2, 3, 3, 5)])
def test_the_differentiable_bound_is_the_bound(shape: tuple[int, ...]) -> None:
    weights = kernel(*shape).requires_grad_()
    bound = peak_norm(weights)
    assert float(bound.detach()) == pytest.approx(convolution_norm(weights).value, rel=1e-6)
    assert torch.autograd.gradcheck(lambda k: peak_norm(k, 64), (weights,), fast_mode=True)


def test_the_absolute_bound_is_exact_for_a_nonnegative_network() -> None:
    kernels = [kernel(3, 2, 3, 3).abs(), kernel(3, 3, 3, 3, seed=1).abs(), kernel(2, 3, 3, 3, seed=2).abs()]
    bound = absolute_norm(*kernels).value
    x = torch.randn(1, 2, 24, 24, dtype=torch.float64)
    for _ in range(200):  # power iteration on the network in its linear regime: biases so large that ReLU is open
        z = x
        for weights in kernels:
            z = convolve(z, weights, None, "circular")
        norm = float(z.norm() / x.norm())
        for weights in reversed(kernels):
            z = convolve(z, weights.transpose(0, 1).flip(2, 3), None, "circular")
        x = z / z.norm()
    assert at_most(norm, bound)
    assert bound <= norm * (1 + 1e-6)
    signed = [weights * torch.sign(kernel(*weights.shape, seed=9)) for weights in kernels]
    assert absolute_norm(*signed).value == pytest.approx(bound)


def test_an_abba_layer_counts_as_the_sum_of_its_blocks() -> None:
    a, b = kernel(2, 2, 3, 3).abs(), kernel(2, 2, 3, 3, seed=1).abs()
    layer = torch.cat([torch.cat([a, b], 1), torch.cat([b, a], 1)], 0)
    assert absolute_norm(layer, layer).value == pytest.approx(absolute_norm(a + b, a + b).value, rel=1e-9)


def test_what_has_no_bound_is_refused() -> None:
    with pytest.raises(UsageError, match=r"has shape \(3, 3\); expected \(out, in, height, width\)"):
        convolution_norm(torch.ones(3, 3))
    with pytest.raises(UsageError, match="NaN"):
        convolution_norm(torch.full((1, 1, 3, 3), torch.nan))
    with pytest.raises(UsageError, match="grid of 4 frequencies for a kernel of 5"):
        convolution_norm(torch.ones(1, 1, 5, 5), grid=4)
    with pytest.raises(UsageError, match="2 output channels stands before one with 1"):
        convolution_norm(torch.ones(2, 1, 3, 3), torch.ones(1, 1, 3, 3))
    with pytest.raises(UsageError, match="no kernel"):
        convolution_norm()
    assert grid_for(1) == 1


@pytest.mark.parametrize("unit", [1e-200, 1e-20, 1e20, 1e150])
@pytest.mark.parametrize("shape", [(1, 3, 3, 3), (4, 3, 3, 3)])
def test_a_bound_scales_with_its_kernel(unit, shape):
    kernel = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert convolution_norm(unit * kernel).value == pytest.approx(unit * convolution_norm(kernel).value, rel=1e-12)
    assert circular_norm(unit * kernel, (8, 9)).value == pytest.approx(unit * circular_norm(kernel, (8, 9)).value)


def test_a_product_that_cancels_is_bounded_by_more_than_its_rounding():
    """W2 W1 is zero but for the rounding of its factors, which relative to itself is anything."""
    draw = torch.Generator().manual_seed(0)
    column, row = torch.randn(3, 1, generator=draw).double() / 3, torch.randn(1, 3, generator=draw).double() / 3
    row = row - (row @ column) * column.T / (column.T @ column)
    first, second = column[..., None, None], row[..., None, None]
    bound = convolution_norm(first, second).value
    assert bound >= float((second[..., 0, 0] @ first[..., 0, 0]).abs()) + torch.finfo(torch.float64).eps / 10
    assert bound < 1e-10
