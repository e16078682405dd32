"""Preconditioners: exact for convolutions, symmetric and positive for others, and two where one is not enough."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recon.solvers.derivative import Optimality
from recon.solvers.preconditioner import Circulant, Weighted, circulant, weighted_circulants

SHAPE = (1, 1, 24, 20)
ROWS, COLUMNS = torch.meshgrid(torch.arange(24.0), torch.arange(20.0), indexing="ij")
SYMBOL = (1 / (0.05 + torch.fft.fftfreq(24)[:, None].square() + torch.fft.fftfreq(20).square()).sqrt()).double()


def convolve(v: Tensor) -> Tensor:
    found = torch.fft.ifft2(SYMBOL * torch.fft.fft2(v))
    return found if v.is_complex() else found.real


def weighed(contrast: float) -> Callable[[Tensor], Tensor]:
    """Data that see the left of the image less than the right."""
    weights = torch.logspace(0, contrast, 20, dtype=torch.float64)
    return lambda v: weights * convolve(weights * v)


def bonded(v: Tensor) -> Tensor:
    """Differences of neighbours, but for those across the middle row."""
    strength = torch.where(ROWS == 12, 1e-4, 20.0).double()
    flow = strength * (v.roll(-1, 2) - v)
    return flow.roll(1, 2) - flow


def noise(count: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, *SHAPE[1:], generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_of_a_convolution_it_is_the_inverse(dtype: torch.dtype) -> None:
    v = noise(2, 1, dtype)
    torch.testing.assert_close(circulant(convolve, v[:1])(convolve(v)), v)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("penalty", [None, bonded])
def test_it_is_symmetric_and_positive(penalty: Callable[[Tensor], Tensor] | None, dtype: torch.dtype) -> None:
    inverse = weighted_circulants(weighed(1.0), penalty, noise(1, 0, dtype))
    a, b = noise(1, 2, dtype), noise(1, 3, dtype)
    torch.testing.assert_close(torch.vdot(a.flatten(), inverse(b).flatten()),
                               torch.vdot(inverse(a).flatten(), b.flatten()))  # fmt: skip
    assert float(torch.vdot(a.flatten(), inverse(a).flatten()).real) > 0


def equation(gram: Callable[[Tensor], Tensor], gradient: Callable[[Tensor], Tensor] | None) -> Optimality:
    point = torch.zeros(SHAPE, dtype=torch.float64)
    return Optimality(gram, gram, point, point, gradient)


def test_two_are_taken_where_weights_and_edges_need_them() -> None:
    derivative = equation(weighed(1.5), bonded).derivative
    assert isinstance(derivative._best_preconditioner, Weighted)
    force = noise(1, 4)
    two = derivative.solve(force, 1e-6)
    one = derivative._by_gradients(force, 1e-6, 500, circulant(derivative._stiffness, derivative.at))
    torch.testing.assert_close(one.x, two.x, rtol=1e-3, atol=1e-4)
    assert two.steps < 0.8 * one.steps


@pytest.mark.parametrize("gradient", [None, lambda x: 0.1 * x])
def test_one_is_taken_of_a_convolution(gradient: Callable[[Tensor], Tensor] | None) -> None:
    derivative = equation(convolve, gradient).derivative
    assert isinstance(derivative._best_preconditioner, Circulant)
    assert derivative.solve(noise(1, 4), 1e-6).steps <= 3
