"""The bound of the error of total variation's prox, against exact arithmetic."""

import sys
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from recon.errors import GuaranteeError
from recon.operators import rounding
from recon.priors import smoothed_total_variation_prior, total_variation, total_variation_gap

MODULE = sys.modules[total_variation.__module__]
WEIGHT = 0.1


def step(seed: int) -> Tensor:
    """Two pixels that differ by more than twice the weight: each moves by the weight towards the other."""
    low, rise = torch.rand(2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.stack([low, low + 2 * WEIGHT + 0.1 + rise]).view(1, 1, 1, 1, 2)


def distance_and_bound(v: Tensor) -> tuple[Fraction, float]:
    """Of the point of the exact dual field, ``p = 1``."""
    p = torch.zeros(2, *v.shape, dtype=torch.float64)
    p[1, ..., 0] = 1
    z, bound = MODULE._certified(v, p, MODULE._Penalty(WEIGHT, True, (1.0, 1.0)), rounding.norms_of(v))
    w = Fraction(WEIGHT)
    exact = [Fraction(float(v.flatten()[0])) + w, Fraction(float(v.flatten()[1])) - w]
    square = sum((Fraction(found) - wanted) ** 2 for found, wanted in zip(z.flatten().tolist(), exact, strict=True))
    return square, float(bound)


def test_rounding_is_in_the_bound_and_needed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: without the worst case of rounding, some bound is below the exact distance."""
    for seed in range(8):
        square, bound = distance_and_bound(step(seed))
        assert square <= Fraction(bound) ** 2
        assert bound < 1e-7
    monkeypatch.setattr(total_variation_gap, "gamma", lambda count: 0.0)
    monkeypatch.setattr(total_variation_gap, "LEAST", 0.0)
    claims = [distance_and_bound(step(seed)) for seed in range(8)]
    assert any(square > Fraction(bound) ** 2 for square, bound in claims)


@pytest.mark.parametrize("isotropic", [True, False])
def test_an_accuracy_that_rounding_hides_is_not_claimed(isotropic: bool) -> None:
    x = torch.rand(1, 1, 8, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with pytest.raises(GuaranteeError, match="expected accuracy=1e-12"):
        total_variation(WEIGHT, isotropic, accuracy=1e-12, max_steps=3000)(x)
    with pytest.raises(GuaranteeError, match="1e-17"):
        smoothed_total_variation_prior(WEIGHT, 0.05, isotropic, accuracy=1e-17).resolvent(1.0)(x)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_images_of_any_size_of_numbers_are_flattened_or_kept(scale: float) -> None:
    """A weight far above the image gives its mean; one far below gives the image."""
    x = scale * torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for weight, wanted in ((1e3 * scale, x.mean().expand_as(x)), (1e-9 * scale, x)):
        found = total_variation(weight, accuracy=1e-6)(x)
        assert float(rounding.norms_of(found - wanted)) <= 2e-6 * float(rounding.norms_of(x))


@pytest.mark.parametrize("weight", [1e-167, 1e-179])
def test_numbers_whose_squares_underflow_are_not_claimed(weight: float) -> None:
    x = 1e-170 * torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with pytest.raises(GuaranteeError):
        total_variation(weight, max_steps=20)(x)
