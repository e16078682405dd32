"""Each activation against the definition of a proximity operator, each refusal against the numbers it names."""

import re

import pytest
import torch

from recon.errors import UsageError
from recon.priors.networks.layers.activations import ACTIVATIONS, REFUSED, Activation, activation

every_activation = pytest.mark.parametrize("known", ACTIVATIONS.values(), ids=lambda known: known.name)
POINTS = torch.linspace(-9, 9, 1801, dtype=torch.float64)


def slopes(function, points=POINTS) -> torch.Tensor:
    values = function(points)
    return (values[1:] - values[:-1]) / (points[1:] - points[:-1])


@every_activation
def test_the_activation_minimises_its_potential_plus_half_the_squared_distance(known: Activation) -> None:
    candidates = torch.linspace(-9.5, 9.5, 3801, dtype=torch.float64)
    energy = known.potential(candidates) + (candidates - POINTS[:, None]).square() / 2
    found = known(POINTS)
    reached = known.potential(found) + (found - POINTS).square() / 2
    assert bool((reached <= energy.min(1).values + 1e-9).all())
    inside = energy.isfinite().any(1) & (found.abs() < 9.4)
    best = candidates[energy.argmin(1)]
    assert float((best - found)[inside].abs().max()) < 6e-3  # the spacing of the candidates


@every_activation
def test_the_potential_is_convex(known: Activation) -> None:
    a, b = torch.rand(2, 4000, dtype=torch.float64).mul(12).sub(6)
    middle = known.potential((a + b) / 2)
    assert bool((middle <= (known.potential(a) + known.potential(b)) / 2 + 1e-12).all())


@every_activation
def test_the_slopes_are_as_stated(known: Activation) -> None:
    found = slopes(known)
    low, high = known.slopes
    assert low - 1e-12 <= float(found.min())
    assert float(found.max()) <= high + 1e-12
    assert float(found.max()) > high - 1e-2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@every_activation
def test_no_number_is_too_large_to_be_nondecreasing_and_nonexpansive(known: Activation, dtype: torch.dtype) -> None:
    """A square that overflows made isru fall from 1 to 0 beyond 256 in half precision, 1.8e19 in single.

    And torch's softplus falls by 2e-9 at 20, where it becomes the identity.
    """
    limit = torch.finfo(dtype)
    points = torch.logspace(-4, 0, 4001, dtype=torch.float64) * limit.max
    points = torch.cat(
        [points, 2.0 ** torch.arange(0, 16, 0.125).double(), 20 + torch.linspace(-1, 1, 999).double() ** 11]
    )
    points = points[points <= limit.max].to(dtype).sort().values.unique()
    points = torch.cat([-points.flip(0), points])
    found, seen = known(points).double(), points.double()
    assert bool(found.isfinite().all())
    moved, rounding = found.diff(), 4 * limit.eps * found.abs()[1:].clamp(min=1)
    if dtype in (torch.float32, torch.float64):
        rounding = 2 * limit.eps * found.abs()[1:].clamp(min=1e-3)
    assert bool((moved >= -rounding).all())
    assert bool((moved <= seen.diff() + rounding).all())


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_proximity_operator_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{name!r} is not the proximity operator")):
        activation(name)
    found = slopes(REFUSED[name][0])
    assert float(found.min()) < -1e-3 or float(found.max()) > 1 + 1e-3


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "hardswish", "sin"])
def test_the_slopes_that_a_refusal_names_are_right(name: str) -> None:
    low, high = (float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", REFUSED[name][1]))
    found = slopes(REFUSED[name][0], torch.linspace(-9, 9, 180_001, dtype=torch.float64))
    assert float(found.min()) == pytest.approx(low, abs=1e-3)
    assert float(found.max()) == pytest.approx(high, abs=1e-3)


def test_a_wrong_potential_is_caught() -> None:
    wrong = Activation("wrong", torch.tanh, (0, 1), ACTIVATIONS["softsign"].potential, "")
    with pytest.raises(AssertionError):
        test_the_activation_minimises_its_potential_plus_half_the_squared_distance(wrong)


def test_an_unknown_name_brings_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'tanh'"):
        activation("tahn")
    assert activation("ReLU").name == "relu"
