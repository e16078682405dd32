"""Bounds of networks with flexible activations: above what is found, and not far above."""

import itertools

import pytest
import torch
from torch import nn

from recon.certificates.feedforward_bounds import layered_bound, sector_bound
from recon.compression import FlexibleActivation, lipschitz_bound
from recon.errors import UsageError

UNITS = 6


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def largest(first: torch.Tensor, low: torch.Tensor, high: torch.Tensor, last: torch.Tensor) -> float:
    """``max ||W D V||`` over the box of slopes: a convex function of D, so at a corner."""
    corners = itertools.product(*zip(low.tolist(), high.tolist(), strict=True))
    return max(float(torch.linalg.matrix_norm(last * torch.tensor(c, dtype=torch.float64) @ first, 2)) for c in corners)


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_is_above_every_slope_and_below_the_product(seed: int) -> None:
    first, last = draw(UNITS, 5, seed=seed), draw(4, UNITS, seed=seed + 10)
    ends = draw(2, UNITS, seed=seed + 20)
    low, high = ends.amin(0), ends.amax(0)
    found, reached = sector_bound(first, low, high, last).value, largest(first, low, high, last)
    assert reached <= found <= 1.3 * reached
    most = torch.maximum(low.abs(), high.abs())
    assert found <= float(torch.linalg.matrix_norm(first, 2) * most.max() * torch.linalg.matrix_norm(last, 2))
    assert sector_bound(first, low / 2, high / 2, last).value < reached  # a planted fault: slopes that are too small


def test_of_slopes_from_0_to_1_it_is_the_bound_of_layers() -> None:
    first, last = draw(UNITS, 5), draw(4, UNITS, seed=1)
    low, high = torch.zeros(UNITS), torch.ones(UNITS)
    assert sector_bound(first, low, high, last, iterations=200).value == pytest.approx(
        layered_bound([first, last], iterations=200).value, rel=1e-3
    )


def test_units_without_a_choice_are_a_matrix() -> None:
    first, last, slope = draw(UNITS, 5), draw(4, UNITS, seed=1), draw(UNITS, seed=2)
    wanted = float(torch.linalg.matrix_norm(last * slope @ first, 2))
    assert sector_bound(first, slope, slope, last).value == pytest.approx(wanted, rel=1e-2)


def test_slopes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="expected 6 finite"):
        sector_bound(draw(6, 5), torch.zeros(5), torch.ones(5), draw(4, 6))
    with pytest.raises(UsageError, match="expected 6 finite"):
        sector_bound(draw(6, 5), torch.ones(6), torch.zeros(6), draw(4, 6))


def flexible(channels: int) -> FlexibleActivation:
    activation = FlexibleActivation(channels, 4)
    with torch.no_grad():
        activation.coefficients.add_(0.3 * draw(channels, 7).float())
    return activation


@pytest.mark.parametrize(
    "network",
    [
        lambda: nn.Sequential(nn.Linear(36, 8), flexible(8), nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 7)),
        lambda: nn.Sequential(nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 6), flexible(6), nn.Linear(6, 7), flexible(7)),
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 1),
            flexible(5), nn.Conv2d(5, 4, 1), nn.Conv2d(4, 2, 3, dilation=2, padding=2, padding_mode="circular"),
            nn.Flatten(), nn.Linear(18, 3),
        ),
    ],
    ids=["matrices", "chains", "convolutions"],
)  # fmt: skip
def test_the_bound_of_a_network_is_above_its_derivatives(network) -> None:
    torch.manual_seed(0)
    made = network()
    bound = lipschitz_bound(made)
    found = 0.0
    for seed in range(12):
        jacobian = torch.autograd.functional.jacobian(made, 2 * draw(1, 36, seed=seed).float())
        found = max(found, float(torch.linalg.matrix_norm(jacobian[0, :, 0], 2)))
    assert bound.evidence.value == "proved"
    assert found <= bound.value < 40 * found
    with torch.no_grad():
        for module in made:
            if isinstance(module, FlexibleActivation):
                module.coefficients.mul_(3)
    assert lipschitz_bound(made).value > 2.5 * bound.value
