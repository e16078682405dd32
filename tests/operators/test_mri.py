"""Cartesian MRI: conventions of k-space, and refusals."""

import pytest
import torch
from cases import random_mask

from recon.errors import UsageError
from recon.operators import CartesianMRI


@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (1, 4)])
def test_the_zero_frequency_is_in_the_middle(shape):
    k_space = CartesianMRI(torch.ones(shape, dtype=torch.bool)).A(torch.ones(1, 1, *shape, dtype=torch.complex128))
    pixels = shape[0] * shape[1]
    assert k_space[0, 0, shape[0] // 2, shape[1] // 2].item() == pytest.approx(pixels**0.5)
    assert float(k_space.abs().sum()) == pytest.approx(pixels**0.5)


def test_a_point_in_the_middle_of_the_image_has_no_phase():
    image = torch.zeros(1, 1, 5, 6, dtype=torch.complex128)
    image[..., 2, 3] = 1
    k_space = CartesianMRI(torch.ones(5, 6, dtype=torch.bool)).A(image)
    assert torch.allclose(k_space, torch.full_like(k_space, 30**-0.5))


def test_full_sampling_is_inverted_by_the_adjoint():
    operator = CartesianMRI(torch.ones(5, 6, dtype=torch.bool))
    x = operator.domain.random(2, 1, dtype=torch.float64)
    assert torch.allclose(operator.A_adjoint(operator.A(x)), x)


def test_the_mask_is_that_of_the_centred_k_space():
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[2, 3] = True
    operator = CartesianMRI(mask)
    x = operator.domain.random(1, 1, dtype=torch.float64)
    assert torch.allclose(operator.A_adjoint(operator.A(x)), x.mean().expand_as(x))


def test_what_is_measured_outside_the_mask_is_ignored():
    mask = random_mask(5, 6)
    operator = CartesianMRI(mask)
    x, y = operator.domain.random(1, 1), operator.range.random(1, 1)
    marked = torch.where(mask, y, torch.tensor(float("nan"), dtype=y.dtype))
    assert torch.equal(operator.data_gradient(marked)(x), operator.data_gradient(y)(x))


def test_a_real_image_and_a_grey_mask_are_refused():
    with pytest.raises(UsageError, match=r"CartesianMRI: the image has dtype torch.float32; expected complex numbers"):
        CartesianMRI(random_mask(4, 4)).A(torch.zeros(4, 4))
    with pytest.raises(UsageError, match=r"CartesianMRI: the mask has .* expected \(height, width\) of bool"):
        CartesianMRI(torch.ones(4, 4))
