"""The inner iteration: its accuracy is proved, its gradients are those of the solution."""

from dataclasses import replace

import pytest
import torch
from network_cases import SMALL_RIDGE
from torch import Tensor

from recon.errors import GuaranteeError, UsageError
from recon.priors.networks import ConvexRidge, InnerSolver
from recon.priors.networks.architectures.ridge_potential import by_strips
from recon.priors.networks.architectures.ridge_prox import prox, solve_curved

PRECISE = InnerSolver(accuracy=1e-13, adjoint_accuracy=1e-13, max_steps=20_000)
variants = pytest.mark.parametrize(
    "config",
    [SMALL_RIDGE, replace(SMALL_RIDGE, group=2, padding="zero"), replace(SMALL_RIDGE, profile="huber", pieces=2)],
    ids=["spline", "groups", "huber"],
)


def network_of(config, solver: InnerSolver = PRECISE) -> ConvexRidge:
    torch.manual_seed(1)
    network = ConvexRidge(config, solver).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def noisy(*shape: int) -> Tensor:
    return 0.5 + 0.2 * torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@variants
@pytest.mark.parametrize("accuracy", [1e-1, 1e-3, 1e-6])
def test_the_stated_accuracy_is_kept(config, accuracy: float) -> None:
    network, y = network_of(config), noisy(3, 1, 11, 12)
    with torch.no_grad():
        truth, found = network(y), prox(network.ridge(), y, InnerSolver(accuracy=accuracy))
    error = (found - truth).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)
    assert float(error.max()) <= accuracy
    assert float((truth - y).norm() / y.norm()) > 0.1  # the prox is far from the identity


@variants
def test_the_solution_minimises(config) -> None:
    network, y = network_of(config), noisy(1, 1, 9, 9)
    ridge = network.ridge()

    def energy(x: Tensor) -> float:
        return float((x - y).square().sum() / 2 + ridge.value(x))

    with torch.no_grad():
        p = network(y)
        best = energy(p)
        for seed in range(20):
            direction = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            for distance in (1e-3, 1e-1):
                z = p + distance * direction
                assert energy(z) >= best + float((z - p).square().sum()) / 2 - 1e-10


@variants
def test_the_gradient_and_the_curvature_are_those_of_the_value(config) -> None:
    network, x = network_of(config), noisy(2, 1, 7, 8).requires_grad_()
    ridge = network.ridge()
    (by_value,) = torch.autograd.grad(ridge.value(x).sum(), x, create_graph=True)
    assert torch.allclose(by_value, ridge.gradient(x), atol=1e-10)
    v = noisy(2, 1, 7, 8) - 0.5
    (pushed,) = torch.autograd.grad(ridge.gradient(x), x, v)  # symmetric
    assert torch.allclose(ridge.curvature(x.detach())(v), pushed, atol=1e-10)


@variants
def test_the_implicit_gradients_are_those_of_a_long_unrolling(config) -> None:
    y, weights = noisy(2, 1, 10, 9), noisy(2, 1, 10, 9)
    gradients = []
    for solver in (PRECISE, InnerSolver(steps=400)):
        network, point = network_of(config, solver), y.clone().requires_grad_()
        (network(point) * weights).sum().backward()
        gradients.append([point.grad, *(parameter.grad for parameter in network.parameters())])
    for implicit, unrolled in zip(*gradients, strict=True):
        assert float((implicit - unrolled).norm()) <= 1e-6 * float(unrolled.norm()) + 1e-12


def test_each_item_is_solved_by_itself() -> None:
    network = network_of(SMALL_RIDGE)
    y = torch.cat([noisy(1, 1, 9, 9), torch.zeros(1, 1, 9, 9).double(), 10 * noisy(1, 1, 9, 9)])
    coarse = InnerSolver(accuracy=1e-3)
    with torch.no_grad():
        together = prox(network.ridge(), y, coarse)
        alone = torch.cat([prox(network.ridge(), item[None], coarse) for item in y])
    assert torch.allclose(together, alone, rtol=0, atol=1e-13)
    assert bool((together[1] == 0).all())


def test_an_item_that_is_not_finite_is_returned_and_spoils_no_other() -> None:
    network, y = network_of(SMALL_RIDGE), noisy(2, 1, 9, 9)
    with torch.no_grad():
        clean = network(y)
        y[0, 0, 3, 3] = torch.nan
        found = network(y)
    assert bool(found[0].isnan().any())
    assert torch.allclose(found[1], clean[1], atol=1e-12)


def test_a_spent_budget_is_no_solution() -> None:
    network = network_of(SMALL_RIDGE, InnerSolver(accuracy=1e-12, max_steps=5))
    with pytest.raises(GuaranteeError, match=r"after 5 steps; expected accuracy=1e-12"):
        network(noisy(1, 1, 9, 9))
    for wrong in ({"accuracy": 0.0}, {"max_steps": 0}, {"steps": 0}, {"adjoint_accuracy": 1.0}):
        with pytest.raises(UsageError, match="InnerSolver"):
            InnerSolver(**wrong)


def test_an_image_smaller_than_the_filters_has_no_potential() -> None:
    network, y = network_of(SMALL_RIDGE), noisy(1, 1, 2, 9)
    assert torch.equal(network(y), y)
    assert float(network.ridge().value(y).detach()) == 0


@pytest.mark.parametrize("padding", ["zero", "valid"])
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_strips_change_nothing(padding: str, rows: int) -> None:
    ridge, x = network_of(replace(SMALL_RIDGE, padding=padding, group=2)).ridge(), noisy(2, 1, 13, 9)

    def stripped(x: Tensor, rows: int) -> Tensor:
        return ridge.weight * by_strips(x, ridge.kernel, padding, rows, ridge.influence)

    with torch.no_grad():
        assert torch.allclose(stripped(x, rows), ridge.gradient(x), atol=1e-14)
        wide = noisy(1, 1, 600, 500)
        assert torch.allclose(ridge.gradient(wide), stripped(wide, 600), atol=1e-14)
        small = noisy(1, 1, 3, 600)  # smaller than the filters
        assert torch.allclose(stripped(small, 2), ridge.gradient(small), atol=1e-14) or padding == "zero"


def test_beyond_its_range_a_network_follows_the_scaling_law() -> None:
    config = replace(SMALL_RIDGE, levels=3, noise_range=(0.05, 0.2))
    network, y = network_of(config), noisy(1, 1, 9, 9)
    with torch.no_grad():
        edge = network(y, 0.2)
        assert torch.allclose(network(3 * y, 0.6), 3 * edge, atol=1e-9)
        assert not torch.allclose(network(2 * y, 0.2), 2 * network(y, 0.1), atol=1e-4)
        levels = torch.tensor([0.07, 0.2], dtype=torch.float64)
        both = network(y.expand(2, -1, -1, -1), levels)
        assert torch.allclose(both[1], edge[0], atol=1e-9)
        assert torch.allclose(both[0], network(y, 0.07)[0], atol=1e-9)


UNITS = pytest.mark.parametrize("unit", [1e-25, 1e-20, 1e-15, 1.0])


@UNITS
@variants
def test_the_stated_accuracy_is_kept_in_single_precision_whatever_the_unit(config, unit: float) -> None:
    """Squares of such numbers are zero in single precision, and what is zero is soon near enough."""
    network, y = network_of(config), unit * noisy(2, 1, 11, 12)
    with torch.no_grad():
        truth = network(y)
        found = prox(network.float().ridge(), y.float(), InnerSolver(accuracy=1e-4)).double()
    error = torch.linalg.vector_norm((found - truth).flatten(1), dim=1) / torch.linalg.vector_norm(y.flatten(1), dim=1)
    assert float(error.max()) <= 1.01e-4


@UNITS
def test_a_linear_solve_keeps_its_accuracy_whatever_the_unit(unit: float) -> None:
    network, g = network_of(SMALL_RIDGE), noisy(2, 1, 9, 8)
    point = noisy(2, 1, 9, 8)
    with torch.no_grad():
        exact = solve_curved(network.ridge(), point, g, 1e-12)
        found = solve_curved(network.float().ridge(), point.float(), (unit * g).float(), 1e-3).double() / unit
    assert float((found - exact).norm() / g.norm()) < 2e-3
