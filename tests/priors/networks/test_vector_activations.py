"""Each activation of vectors against the definition of a proximity operator, and the bound of squashing."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recon.errors import UsageError
from recon.priors.networks import LipschitzConfig
from recon.priors.networks.layers.activations import (
    MOST_SQUASHING,
    VECTOR_ACTIVATIONS,
    VectorActivation,
    activation,
    squash,
    squashed,
)

KNOWN = [*VECTOR_ACTIVATIONS.values(), squash(0.7)]
every_activation = pytest.mark.parametrize("known", KNOWN, ids=["squash", "softmax", "squash-0.7"])
SCALES = (1e-3, 0.3, 1.0, 3.0, 30.0)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vectors(count: int, n: int, seed: int = 0) -> Tensor:
    """Of many norms, and zero."""
    scales = torch.tensor(SCALES, dtype=torch.float64).repeat(count // len(SCALES) + 1)[:count, None]
    return torch.cat([torch.zeros(1, n).double(), scales * normal(count, n, seed=seed)])


def competitors(known: VectorActivation, n: int, count: int = 4000) -> Tensor:
    """Points of the domain of the potential: anywhere, near its border, and images."""
    if known.name == "softmax":
        shares = torch.rand(count, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64) ** 4
        corners = torch.eye(n).double()
        return torch.cat([shares / shares.sum(1, keepdim=True), corners]) - 1 / n
    mu = float(torch.linalg.vector_norm(known(1e9 * torch.ones(n).double())))
    lengths = mu * torch.linspace(0, 1 - 1e-12, count, dtype=torch.float64)[:, None]
    return lengths * torch.nn.functional.normalize(normal(count, n, seed=1), dim=1)


def minimises(known: VectorActivation, n: int) -> None:
    z = vectors(40, n)
    y = known(z)
    everywhere = competitors(known, n)
    near = y[:, None] + 0.05 * (everywhere[None, :60] - y[:, None])  # the domain is convex: within it
    energies = torch.cat(
        [
            known.potential(everywhere) + (everywhere - z[:, None]).square().sum(-1) / 2,
            known.potential(near) + (near - z[:, None]).square().sum(-1) / 2,
        ],
        1,
    )
    reached = known.potential(y) + (y - z).square().sum(-1) / 2
    assert bool(reached.isfinite().all())
    margin = 1e-12 * (1 + z.square().sum(-1))
    assert bool((reached <= energies.min(1).values + margin).all())


@every_activation
@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_activation_minimises_its_potential_plus_half_the_squared_distance(known: VectorActivation, n: int) -> None:
    minimises(known, n)


@every_activation
def test_what_is_left_is_a_subgradient(known: VectorActivation) -> None:
    z, w = vectors(40, 4), competitors(known, 4)
    y = known(z)
    linear = known.potential(y)[:, None] + torch.einsum("in,ijn->ij", z - y, w - y[:, None])
    assert bool((known.potential(w) >= linear - 1e-12 * (1 + z.square().sum(-1, keepdim=True))).all())


@every_activation
def test_the_potential_is_convex(known: VectorActivation) -> None:
    a, b = competitors(known, 3), competitors(known, 3).flip(0)
    middle = known.potential((a + b) / 2)
    assert bool((middle <= (known.potential(a) + known.potential(b)) / 2 + 1e-12).all())


def excess(function: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """``||F x - F y||^2 - <F x - F y, x - y>`` relative to ``||x - y||^2``: at most 0 if F is firmly nonexpansive."""
    image, change = function(x) - function(y), x - y
    return ((image * (image - change)).sum(-1)) / change.square().sum(-1)


@every_activation
@pytest.mark.parametrize("distance", [1e-5, 1e-2, 1.0, 10.0])
def test_the_activation_is_firmly_nonexpansive(known: VectorActivation, distance: float) -> None:
    x = vectors(4000, 3)
    y = x + distance * normal(*x.shape, seed=5)
    assert float(excess(known, x, y).max()) < 1e-10


@every_activation
def test_the_jacobian_is_symmetric_with_eigenvalues_in_the_unit_interval(known: VectorActivation) -> None:
    for z in vectors(20, 4):
        matrix = torch.autograd.functional.jacobian(known, z)
        assert torch.allclose(matrix, matrix.T, atol=1e-12)
        values = torch.linalg.eigvalsh(matrix)
        assert -1e-12 <= float(values[0]) <= float(values[-1]) <= 1 + 1e-12


def test_known_values() -> None:
    one = torch.tensor([1.0, 0.0, 0.0]).double()
    assert torch.allclose(squash(1.0)(3 * one), 0.9 * one)
    assert torch.allclose(squash()(one), MOST_SQUASHING / 2 * one)
    assert float(squash(1.0).potential(one)) == pytest.approx((math.pi - 1) / 2)
    assert float(squash(1.0).potential(2 * one)) == math.inf
    softmax = VECTOR_ACTIVATIONS["softmax"]
    assert torch.equal(softmax(torch.zeros(4).double()), torch.zeros(4).double())
    assert torch.allclose(softmax(torch.tensor([math.log(3), 0.0])), torch.tensor([0.25, -0.25]))
    assert float(softmax.potential(one)) == math.inf  # its entries do not sum to 0
    assert float(softmax.potential(torch.zeros(2).double())) == pytest.approx(-math.log(2) - 0.25)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_no_vector_is_too_long_to_be_squashed(dtype: torch.dtype) -> None:
    """The square of the norm overflows: beyond 256 in half precision all vectors were squashed to 0."""
    ray = torch.tensor([0.6, -0.8], dtype=torch.float64)
    for size in (2.0, 300.0, float(torch.finfo(dtype).max) ** 0.6, float(torch.finfo(dtype).max)):
        found = squash()((size * ray).to(dtype)).double()
        wanted = MOST_SQUASHING * ray / (1 + size**-2.0)
        assert float((found - wanted).norm()) <= 8 * torch.finfo(dtype).eps


def test_squashing_is_steepest_where_the_proof_says() -> None:
    place = torch.full((1,), 1 / math.sqrt(3)).double()
    slope = torch.autograd.functional.jacobian(lambda x: squash()(x, 0), place)
    assert float(slope) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("mu", [MOST_SQUASHING * 1.001, 2.0, 0.0, -1.0, math.nan, math.inf])
def test_another_mu_is_refused(mu: float) -> None:
    with pytest.raises(UsageError, match=r"squash: mu=.*; expected .* at most 8/\(3 sqrt\(3\)\) = 1\.5396"):
        squash(mu)


def test_beyond_the_bound_squashing_expands() -> None:
    """The fault that the refusal keeps out: one per mille too much, and pairs along a ray drift apart."""
    ray = torch.tensor([1.0, 2.0, 2.0]).double() / 3
    x, y = (r * ray for r in (0.999 / math.sqrt(3), 1.001 / math.sqrt(3)))
    within, beyond = (lambda z, mu=mu: squashed(z, -1, mu) for mu in (MOST_SQUASHING, 1.001 * MOST_SQUASHING))
    assert float(excess(within, x, y)) <= 0
    assert float(excess(beyond, x, y)) > 5e-4
    assert float((beyond(x) - beyond(y)).norm() / (x - y).norm()) > 1.0005


def test_a_wrong_potential_is_caught() -> None:
    softmax = VECTOR_ACTIVATIONS["softmax"]
    for wrong in (
        VectorActivation("squash", squash(1.0).apply, squash(0.9).potential, ""),
        VectorActivation("softmax", torch.softmax, softmax.potential, ""),  # without its shift
        VectorActivation("softmax", lambda x, dim: softmax(2 * x, dim), softmax.potential, ""),
    ):
        with pytest.raises(AssertionError):
            minimises(wrong, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squashing_and_its_first_two_derivatives_are_finite(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max ** 0.5 / 4
    x = torch.tensor([[0.0, 0.0], [1e-20, 0.0], [0.6, 0.8], [largest, largest]], dtype=dtype, requires_grad=True)
    found = squash()(x)
    (first,) = torch.autograd.grad(found.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    for each in (found, first, second):
        assert bool(each.isfinite().all())
    assert float(found[-1].detach().norm()) == pytest.approx(MOST_SQUASHING, rel=1e-5)


def test_a_function_of_numbers_and_a_group_without_one_are_refused() -> None:
    with pytest.raises(UsageError, match="'softmax' acts on vectors"):
        activation("softmax")
    with pytest.raises(UsageError, match=r"group=2 with activation='relu'; expected 0"):
        LipschitzConfig(features=4, group=2).check()
    with pytest.raises(UsageError, match=r"activation='squash' for abba layers; expected .* pointwise activation"):
        LipschitzConfig(layers="abba", features=4, activation="squash").check()
