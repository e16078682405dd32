"""Convolutions, their transposes and their derivatives."""

import pytest
import torch
from torch.nn import functional

from recon.errors import UsageError
from recon.priors.networks.layers.convolution import (
    PADDINGS,
    analyse,
    check_padding,
    convolve,
    convolve_adjoint,
    synthesise,
    wrap,
)

SIZES = [(1, 1), (3, 8), (5, 5), (9, 6)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_size
@pytest.mark.parametrize("padding", PADDINGS)
def test_the_synthesis_is_the_adjoint_of_the_analysis(padding: str, size: tuple[int, int]) -> None:
    kernel, x = random(4, 2, 5, 5), random(3, 2, *size, seed=1)
    responses = analyse(x, kernel, padding)
    z = random(*responses.shape, seed=2)
    back = synthesise(z, kernel, padding, size)
    assert back.shape == x.shape
    assert torch.allclose((responses * z).sum(), (x * back).sum())


@every_size
@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_the_plain_convolution_has_its_adjoint_and_is_the_analysis(padding: str, size: tuple[int, int]) -> None:
    kernel, x = random(4, 2, 3, 5), random(3, 2, *size, seed=1)
    z = random(3, 4, *size, seed=2)
    image = convolve(x, kernel, None, padding)
    assert torch.allclose((image * z).sum(), (x * convolve_adjoint(z, kernel, padding)).sum())
    square = random(4, 2, 3, 3)
    assert torch.allclose(convolve(x, square, None, padding), analyse(x, square, padding))


def test_the_fast_transpose_is_that_of_the_library() -> None:
    kernel, z = random(6, 3, 7, 7), random(2, 6, 9, 8, seed=1)
    assert torch.allclose(synthesise(z, kernel, "valid", (15, 14)), functional.conv_transpose2d(z, kernel))


def test_both_can_be_differentiated_twice() -> None:
    kernel, x = random(2, 1, 3, 3).requires_grad_(), random(1, 1, 4, 5, seed=1).requires_grad_()
    z = random(1, 2, 4, 5, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, k: analyse(x, k, "zero"), (x, kernel))
    assert torch.autograd.gradcheck(lambda z, k: synthesise(z, k, "circular", (4, 5)), (z, kernel))
    assert torch.autograd.gradgradcheck(lambda x, k: analyse(x, k, "circular"), (x, kernel))
    assert torch.autograd.gradgradcheck(lambda z, k: synthesise(z, k, "zero", (4, 5)), (z, kernel))


def test_an_image_is_wrapped_as_often_as_it_takes() -> None:
    x = torch.arange(3.0).view(1, 1, 1, 3)
    assert wrap(x, (0, 4))[0, 0, 0].tolist() == [2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("padding", ["reflect", "replicate", "symmetric", "valid", "zeros"])
def test_a_padding_without_a_bound_is_refused(padding: str) -> None:
    with pytest.raises(UsageError, match=f"'{padding}' is not covered by any bound; expected 'zero' or 'circular'"):
        check_padding(padding)
