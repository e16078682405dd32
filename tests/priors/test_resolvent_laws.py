"""What every resolvent promises, over the list PRIORS."""

from collections.abc import Callable

import pytest
import torch
from cases import ENERGIES, PRIOR_IMAGE, PRIORS, ResolventCase
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor

from recon.errors import GuaranteeError
from recon.evidence import Evidence, Measured
from recon.priors import (
    Prior,
    Resolvent,
    ResolventProperties,
    conjugate,
    name_of,
    relaxed,
    resolvent_properties,
    scaled,
    soft_threshold,
    total_variation,
)

every_prior = pytest.mark.parametrize("case", PRIORS, ids=lambda case: case.name)
BATCH = (3, *PRIOR_IMAGE)


def norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def images(seed: int, scale: float = 1.0, shape: tuple[int, ...] = BATCH) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def firmness_excess(resolvent: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """The largest of (||Jx - Jy||^2 + ||(Id-J)x - (Id-J)y||^2) / ||x - y||^2 - 1, nowhere positive for a resolvent."""
    image, rest = resolvent(x) - resolvent(y), (x - resolvent(x)) - (y - resolvent(y))
    return float(((norm(image) ** 2 + norm(rest) ** 2) / norm(x - y) ** 2 - 1).max())


def lipschitz(resolvent: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """The largest ||Qx - Qy|| / ||x - y||."""
    return float((norm(2 * (resolvent(x) - resolvent(y)) - (x - y)) / norm(x - y)).max())


def slack(resolvent: Resolvent, x: Tensor, y: Tensor) -> float:
    """What the stated error of an inexact resolvent may add to a ratio."""
    return 1e-12 + 20 * resolvent.properties.error.value * float(((norm(x) + norm(y)) / norm(x - y)).max())


@every_prior
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(1e-2, 1e2), distance=st.floats(0.05, 2))
def test_is_firmly_nonexpansive_and_no_more_expansive_than_stated(
    case: ResolventCase, seed: int, scale: float, distance: float
) -> None:
    resolvent = case.make()
    x = images(seed, scale)
    y = x + distance * images(seed + 1, scale)
    try:
        excess, expansion = firmness_excess(resolvent, x, y), lipschitz(resolvent, x, y)
    except GuaranteeError:  # an accuracy out of reach is said, and nothing comes back: there is no map to judge
        reject()
    assert excess <= slack(resolvent, x, y)
    assert expansion <= resolvent.properties.lipschitz_Q.value + slack(resolvent, x, y)


@pytest.mark.parametrize("resolvent", [soft_threshold(0.1), total_variation(0.1, accuracy=1e-5)], ids=name_of)
def test_a_resolvent_ten_per_cent_too_long_is_caught(resolvent: Resolvent) -> None:
    x, y = images(1), images(2)
    assert firmness_excess(lambda x: 1.1 * resolvent(x), x, y + 5) > 0.01
    assert lipschitz(lambda x: 1.1 * resolvent(x), x, y + 5) > 1.01


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in PRIORS if case.differentiable], ids=lambda case: case.name)
def test_the_jacobian_of_a_proximity_operator_and_of_no_other_is_symmetric(case: ResolventCase) -> None:
    x = images(3, shape=(1, *PRIOR_IMAGE))
    jacobian = torch.autograd.functional.jacobian(case.make(), x).reshape(x.numel(), x.numel())
    assert torch.allclose(jacobian, jacobian.T, atol=1e-12) == case.symmetric
    if not case.symmetric:
        return
    spectrum = torch.linalg.eigvalsh((jacobian + jacobian.T) / 2)
    assert spectrum.min() > -1e-12
    assert spectrum.max() < 1 + 1e-12


def test_a_rotation_is_caught_by_the_symmetry_of_the_jacobian() -> None:
    def resolvent_of_a_rotation(x: Tensor) -> Tensor:  # (Id + R)^-1 for R a quarter turn: firmly nonexpansive, no prox
        return (x - torch.stack([-x[:, 1], x[:, 0]], 1)) / 2

    x = images(3, shape=(1, 2, 1, 1))
    assert firmness_excess(resolvent_of_a_rotation, x, images(4, shape=(1, 2, 1, 1))) < 1e-12
    jacobian = torch.autograd.functional.jacobian(resolvent_of_a_rotation, x).reshape(2, 2)
    assert not torch.allclose(jacobian, jacobian.T)


def violation(prior: Prior, stepsize: float, v: Tensor, p: Tensor, error: float) -> float:
    """How far p misses s g(z) + |z-v|^2/2 >= s g(p) + |p-v|^2/2 + |z-p|^2/2 for some z: the prox alone never does.

    A prox that is off by a distance e may miss it by e |z-p| + e^2.
    """
    assert prior.value is not None

    def objective(x: Tensor) -> Tensor:
        return stepsize * prior.value(x) + norm(x - v) ** 2 / 2

    radius = error * norm(v)
    worst = -torch.inf
    for seed, distance in [(6, 1.0), (7, 1e-1), (8, 1e-2)]:
        direction = distance * images(seed)
        for z in (
            p + direction,
            p - direction,
            p + distance * (v - p),
            (1 - distance) * p,
            (1 + distance) * p,
            p.clamp(-0.5, 0.5),
        ):
            shortfall = objective(p) + norm(z - p) ** 2 / 2 - objective(z) - radius * norm(z - p) - radius**2
            worst = max(worst, float(shortfall.max()))
    return worst


@pytest.mark.parametrize("stepsize", [0.2, 1.7])
@pytest.mark.parametrize("name", ENERGIES)
def test_the_resolvent_minimises_the_energy(name: str, stepsize: float) -> None:
    prior, v = ENERGIES[name], images(5)
    resolvent = prior.resolvent(stepsize)
    p = resolvent(v)
    assert prior.value is not None
    assert prior.value(p).shape == (3,)
    error = resolvent.properties.error.value
    assert violation(prior, stepsize, v, p, error) < 1e-10
    assert violation(prior, stepsize, v, 1.1 * p, error) > 1e-3
    if name not in ("none", "box"):
        assert violation(prior, stepsize, v, prior.resolvent(1.1 * stepsize)(v), error) > 1e-5


@every_prior
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_keeps_the_precision_and_the_input(case: ResolventCase, dtype: torch.dtype) -> None:
    x = images(9).to(dtype)
    before = x.clone()
    result = case.make()(x)
    assert result.dtype == dtype
    assert result.shape == x.shape
    assert torch.equal(x, before)
    if dtype == torch.float32:
        assert torch.allclose(result.double(), case.make()(images(9)), atol=1e-5)


@every_prior
def test_batch_items_do_not_meet_not_even_a_broken_one(case: ResolventCase) -> None:
    resolvent = case.make()
    x = images(10) * torch.tensor([1.0, 0.01, 100.0], dtype=torch.float64).view(3, 1, 1, 1)
    alone = torch.cat([resolvent(item[None]) for item in x])
    assert torch.allclose(resolvent(x), alone, rtol=1e-9, atol=1e-12)
    x[0, 0, 2, 3] = torch.nan
    result = resolvent(x)
    assert result[0].isnan().any()
    assert torch.allclose(result[1:], alone[1:], rtol=1e-9, atol=1e-12)


@every_prior
def test_is_stateless(case: ResolventCase) -> None:
    resolvent = case.make()
    first = resolvent(images(11))
    resolvent(images(12, scale=30))
    assert torch.equal(resolvent(images(11)), first)


@every_prior
def test_properties_are_proved_and_named(case: ResolventCase) -> None:
    resolvent = case.make()
    known = resolvent_properties(resolvent)
    assert known.lipschitz_Q.evidence is Evidence.PROVED
    assert known.lipschitz_Q.value <= 1
    assert known.error.evidence is Evidence.PROVED
    assert (known.proximity is not None) == case.symmetric
    assert known.proximity is None or known.proximity.evidence is Evidence.PROVED
    assert (known.attains is None) == case.name.startswith("conjugate")
    assert name_of(resolvent) == resolvent.name


@every_prior
@pytest.mark.parametrize("sigma", [0.3, 4.0])
def test_the_conjugate_is_an_involution_and_moreau_adds_up(case: ResolventCase, sigma: float) -> None:
    resolvent = case.make()
    x = images(13)
    dual = conjugate(resolvent, sigma)
    assert torch.allclose(dual(sigma * x) + sigma * resolvent(x), sigma * x, atol=1e-12)
    assert torch.allclose(conjugate(dual, 1 / sigma)(x), resolvent(x), atol=1e-9)
    assert dual.properties.lipschitz_Q == resolvent.properties.lipschitz_Q
    assert dual.properties.error == resolvent.properties.error


@every_prior
@pytest.mark.parametrize("share", [0.05, 0.6, 1.0])
def test_a_share_of_a_resolvent_is_one_and_keeps_what_is_known(case: ResolventCase, share: float) -> None:
    resolvent, x, z = case.make(), images(15), images(16)
    less = relaxed(resolvent, share)
    assert torch.allclose(less(x) - x, share * (resolvent(x) - x), atol=1e-12)
    known, of_it = resolvent.properties, less.properties
    assert lipschitz(less, x, z) <= of_it.lipschitz_Q.value + slack(resolvent, x, z)
    assert of_it.lipschitz_Q.value == pytest.approx(1 - share + share * known.lipschitz_Q.value)
    assert of_it.lipschitz_Q.evidence is known.lipschitz_Q.evidence
    assert (of_it.proximity is None) == (known.proximity is None)
    assert share == 1 or of_it.everywhere is not None
    assert share == 1 or (of_it.attains is None) == (known.lipschitz_Q.value == 1)
    assert of_it.error.value == pytest.approx(share * known.error.value)


def test_a_share_of_what_expands_may_expand_and_is_not_refuted() -> None:
    """Of Q = -1.4 Id the half and half of the identity is -0.2 Id."""
    expanding = Resolvent(lambda x: 1.2 * x, ResolventProperties(Measured(1.4, "a secant")), "expanding")
    known = relaxed(expanding, 0.5).properties
    assert (known.lipschitz_Q.value, known.lipschitz_Q.evidence) == (pytest.approx(1.2), Evidence.ASSUMED)
    assert known.everywhere is None


@every_prior
def test_scaling_back_and_forth_changes_nothing(case: ResolventCase) -> None:
    resolvent, x = case.make(), images(14)
    assert torch.allclose(scaled(scaled(resolvent, 3.0), 1 / 3)(x), resolvent(x), atol=1e-9)
    assert (scaled(resolvent, 3.0).properties.attains is None) == (resolvent.properties.attains is None)
