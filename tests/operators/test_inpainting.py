"""Inpainting: known answers and refusals."""

import pytest
import torch
from cases import random_mask

from recon.errors import UsageError
from recon.operators import Inpainting


def test_a_measurement_has_zeros_outside_the_mask():
    mask = torch.tensor([[True, False], [False, True]])
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert Inpainting(mask).A(x).tolist() == [[1, 0], [0, 4]]


def test_what_is_measured_outside_the_mask_is_ignored():
    mask = random_mask(5, 6)
    operator = Inpainting(mask)
    x, y = torch.rand(2, 1, 5, 6), torch.rand(2, 1, 5, 6)
    marked = torch.where(mask, y, torch.tensor(float("nan")))
    assert torch.equal(operator.A_adjoint(marked), operator.A_adjoint(y))
    assert torch.equal(operator.data_gradient(marked)(x), operator.data_gradient(y)(x))
    assert torch.equal(operator.data_resolvent(marked, 0.3)(x), operator.data_resolvent(y, 0.3)(x))


def test_the_mask_is_the_operators_own():
    mask = torch.ones(3, 3, dtype=torch.bool)
    operator = Inpainting(mask)
    mask.zero_()
    assert operator.properties.norm.value == 1


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.ones(3, 3), r"Inpainting: the mask has shape \(3, 3\) and dtype torch.float32; expected .* of bool"),
        (torch.ones(1, 3, 3, dtype=torch.bool), r"the mask has shape \(1, 3, 3\)"),
    ],
)
def test_a_mask_is_boolean_and_flat(mask, words):
    with pytest.raises(UsageError, match=words):
        Inpainting(mask)
