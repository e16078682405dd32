"""Networks as resolvents and priors: evidence, energy, splitting, and that training later changes nothing."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from network_cases import SMALL_RIDGE, Case, images, network_of
from torch import Tensor

from recon.certificates import certify_condat_vu, certify_forward_backward
from recon.errors import UsageError
from recon.evidence import Evidence, Measured
from recon.operators import Blur, Identity, Matrix, Space, adjoint_gap, gaussian_psf, operator_properties
from recon.priors import Resolvent, relaxed, reweighted, scaled, scaled_prior, weighted_prior
from recon.priors.networks import DnCNNConfig, LipschitzConfig, learned_prior, learned_resolvent, make, resolvent
from recon.priors.networks.layers.high_pass import details
from recon.solvers import Solution, condat_vu, solve

RIDGES = {
    "spline": SMALL_RIDGE,
    "groups": replace(SMALL_RIDGE, group=2, padding="zero"),
    "huber": replace(SMALL_RIDGE, profile="huber", pieces=2, padding="circular"),
    "colour": replace(SMALL_RIDGE, channels=3, group=2),
}
every_ridge = pytest.mark.parametrize("config", RIDGES.values(), ids=RIDGES)


def made(config, seed: int = 0) -> Resolvent:
    return resolvent(network_of(Case("", config), seed), accuracy=1e-10)


def test_each_family_brings_its_evidence() -> None:
    network = make(DnCNNConfig(features=2, depth=2))
    free = resolvent(network).properties.lipschitz_Q
    assert free.evidence is Evidence.ASSUMED
    measured = resolvent(network, measured=Measured(1.01, "a search")).properties
    assert (measured.lipschitz_Q.evidence, measured.lipschitz_Q.value) == (Evidence.MEASURED, 1.01)
    assert measured.attains is None
    for value in (1 - 1e-9, 0.985):  # found of a network that may well have 1
        near = resolvent(network, measured=Measured(value, "a search")).properties
        assert (near.lipschitz_Q.value, near.attains, near.everywhere) == (1.0, None, None)
    contracting = resolvent(network, measured=Measured(0.9, "a search")).properties
    assert contracting.lipschitz_Q.value == 0.9
    assert contracting.attains.evidence is contracting.everywhere.evidence is Evidence.MEASURED
    built = resolvent(make(LipschitzConfig(features=2, depth=1)), measured=Measured(0.5, "a search")).properties
    assert built.lipschitz_Q.evidence is Evidence.PROVED
    assert built.proximity is None
    assert built.error.value == 0
    ridge = made(SMALL_RIDGE).properties
    assert ridge.lipschitz_Q.evidence is ridge.proximity.evidence is Evidence.PROVED
    assert ridge.error.value == 1e-10
    exact = made(replace(SMALL_RIDGE, one_shot=True)).properties
    assert exact.error.value == 0
    assert exact.proximity.evidence is Evidence.PROVED


def test_a_network_with_clipped_details_is_onto() -> None:
    """J = (Id + S)/2 + b: what b adds is bounded however large the image is, whatever the weights."""
    clipped = DnCNNConfig(features=3, depth=3, coarse=2.0, clip=0.5, divisor=1.2)
    assert resolvent(make(clipped)).properties.everywhere.evidence is Evidence.PROVED
    for other in (replace(clipped, clip=0.0), replace(clipped, clip=0.0, divisor=1.0, coarse=0.0)):
        assert resolvent(make(other)).properties.everywhere is None
    network = network_of(Case("", clipped))
    x = torch.randn(1, 1, 12, 14, dtype=torch.float64)
    coarse = x - details(details(x, 2.0), 2.0)
    bounded = [float((network(size * x) - size * (x + coarse) / 2).norm()) for size in (1e3, 1e6)]
    assert bounded[1] < 1.5 * bounded[0] + 1
    assert bounded[1] < 1e3


def test_with_clipped_details_there_is_a_solution_for_every_operator_that_sees_constants() -> None:
    clipped = DnCNNConfig(features=3, depth=3, coarse=2.0, clip=0.5, divisor=1.2)
    network, x = make(clipped), torch.zeros(1, 1, 12, 14)
    measured = resolvent(network, measured=Measured(1.0, "a search"))
    assert resolvent(make(replace(clipped, clip=0.0))).properties.attains_where_constants_are_seen is None
    averaging = Blur(gaussian_psf(1.0), (12, 14))
    known = operator_properties(averaging, x)
    assert known.sees_constants.evidence is Evidence.MEASURED
    for prior in (measured, relaxed(measured, 0.3), scaled(measured, 2.0)):
        assert certify_forward_backward(known, prior.properties, 0.5).holds
    blind = operator_properties(Matrix(torch.eye(12 * 14) - 1 / (12 * 14), Space((12, 14)), Space((12, 14))), x)
    assert blind.sees_constants is None
    assert certify_forward_backward(blind, measured.properties, 0.5).missing == ("a solution exists",)


def test_a_proved_network_makes_a_proved_certificate() -> None:
    operator = Identity((8, 8)).properties
    proved = certify_forward_backward(operator, made(LipschitzConfig(features=3, depth=2)).properties, 1.5)
    assert proved.holds
    assert proved.evidence is Evidence.PROVED
    free = certify_forward_backward(operator, made(DnCNNConfig(features=2, depth=2)).properties, 1.5)
    assert not (free.holds and free.evidence is Evidence.PROVED)


def test_training_later_does_not_change_a_resolvent() -> None:
    network = make(LipschitzConfig(features=3, depth=2))
    known, x = resolvent(network), torch.randn(1, 1, 6, 6)
    before, in_double = known(x), network.frozen()(x.double())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert torch.equal(known(x), before)
    assert torch.equal(known(x.double()), in_double)  # a copy that is made only now


@every_ridge
def test_the_prior_minimises_its_energy_at_every_step_size(config) -> None:
    prior = learned_prior(network_of(Case("", config)), accuracy=1e-10)
    v = 0.3 * images(Case("", config), 2, 9, 8)
    for stepsize in (0.2, 1.0, 3.0):
        p = prior.resolvent(stepsize)(v)

        def energy(x: Tensor, stepsize: float = stepsize) -> Tensor:
            return stepsize * prior.value(x) + (x - v).square().flatten(1).sum(1) / 2

        for seed in range(5):
            z = p + 0.05 * images(Case("", config), 2, 9, 8, seed=seed)
            assert bool((energy(z) >= energy(p) + (z - p).square().flatten(1).sum(1) / 2 - 1e-9).all())


@every_ridge
def test_the_splitting_is_that_of_the_energy(config) -> None:
    """Fenchel and Young with equality, the adjoint, and the norm: what a primal-dual method stands on."""
    prior = learned_prior(network_of(Case("", config)), accuracy=1e-10)
    bank, x = prior.split.operator, 0.3 * images(Case("", config), 2, 9, 8)
    assert adjoint_gap(bank, x).value < 1e-12
    assert bank.properties.norm.evidence is Evidence.PROVED
    assert bank.properties.norm.value <= 1
    z = bank.A(x).requires_grad_()
    network = network_of(Case("", config))
    ridge = network.ridge()
    dual = ridge.weight * ridge.influence(0, z.detach())  # the gradient of g, so (z, dual) is in its graph
    assert torch.allclose(bank.A_adjoint(dual), ridge.gradient(x), atol=1e-12)
    for sigma in (0.1, 1.0, 7.0):  # prox of sigma g* at dual + sigma z is dual, whatever sigma
        found = prior.split.conjugate_resolvent(sigma)(dual + sigma * z.detach())
        assert torch.allclose(found, dual, atol=1e-10)


def test_a_splitting_on_images_of_one_size_takes_each_channel_by_itself() -> None:
    split = learned_prior(make(SMALL_RIDGE)).split
    sized, x = split.on((9, 8)), torch.randn(2, 3, 9, 8)
    responses = sized.operator.A(x)
    assert responses.shape == (2, 3, *sized.operator.range.shape)
    dual, back = sized.conjugate_resolvent(0.7)(responses), sized.operator.A_adjoint(responses)
    for channel in range(3):
        alone = split.operator.A(x[:, channel : channel + 1])
        torch.testing.assert_close(responses[:, channel], alone)
        torch.testing.assert_close(dual[:, channel], split.conjugate_resolvent(0.7)(alone))
        torch.testing.assert_close(back[:, channel : channel + 1], split.operator.A_adjoint(alone))
    assert sized.on((4, 4)) is sized
    assert sized.operator.domain.shape == (9, 8)


def test_a_primal_dual_run_with_the_split_is_certified_exactly() -> None:
    prior = learned_prior(network_of(Case("", SMALL_RIDGE)))
    split = prior.split
    from recon.priors import identity  # noqa: PLC0415

    certificate = certify_condat_vu(
        Identity((9, 9)).properties, identity().properties, split.operator.properties,
        split.conjugate_resolvent(1.0).properties, 0.5, 0.5, attains=prior.resolvent(1.0).properties.attains,
    )  # fmt: skip
    assert certificate.holds
    assert certificate.evidence is Evidence.PROVED


@every_ridge
@pytest.mark.parametrize("batch", [1, 2])
def test_a_sweep_is_the_update_and_its_adjoint(config, batch, monkeypatch) -> None:
    monkeypatch.setattr(learned_resolvent, "STRIP", 1)  # strips of the least height, the last one shorter
    prior = learned_prior(network_of(Case("", config)))
    bank, x = prior.split.operator, images(Case("", config), batch, 29, 12)
    u = torch.randn_like(bank.A(x))

    def update(u: Tensor, image: Tensor, top: int = 0) -> Tensor:
        return 0.5 * u + prior.split.conjugate_resolvent(0.7)(u + image)

    v, back = bank.sweep(x, u, update)
    torch.testing.assert_close(v, update(u, bank.A(x)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(back, bank.A_adjoint(v), rtol=1e-12, atol=1e-12)


@every_ridge
@pytest.mark.parametrize("relaxation", [1.0, 1.8])
def test_a_primal_dual_run_by_sweeps_is_the_same_run(config, relaxation, monkeypatch) -> None:
    monkeypatch.setattr(learned_resolvent, "STRIP", 1)
    prior = weighted_prior(scaled_prior(learned_prior(network_of(Case("", config))), 0.9), 1.3)
    split, y = prior.split, images(Case("", config), 2, 29, 12)
    assert split.local

    def found(local: bool) -> Solution:
        steps = (0.5, 0.9 / (0.5 * split.operator.properties.norm.value**2))
        data = partial(torch.lerp, y, weight=2 / 3)
        algorithm = condat_vu(None, data, split.operator, split.conjugate_resolvent(steps[1]), *steps, relaxation,
                              local=local)  # fmt: skip
        return solve(algorithm, y, max_steps=25, tolerance=0)

    swept, whole = found(True), found(False)
    assert swept.state.pulled is not None
    assert whole.state.pulled is None
    torch.testing.assert_close(swept.x, whole.x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(swept.state.u, whole.state.u, rtol=1e-10, atol=1e-10)


def test_scaling_and_reweighting_keep_the_evidence() -> None:
    built = made(LipschitzConfig(features=3, depth=2))
    for changed in (scaled(built, 2.0), reweighted(built, 0.4), reweighted(built, 3.0)):
        assert changed.properties.lipschitz_Q.evidence is Evidence.PROVED
        assert changed.properties.lipschitz_Q.value <= 1
    free = made(DnCNNConfig(features=2, depth=2))
    assert reweighted(free, 0.4).properties.lipschitz_Q.evidence is Evidence.ASSUMED


def test_a_noise_level_that_does_not_fit_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="no noise level"):
        resolvent(make(DnCNNConfig(features=2, depth=2, conditioned=True)))
    with pytest.raises(UsageError, match="made for one level"):
        resolvent(make(SMALL_RIDGE), 0.1)
    with pytest.raises(UsageError, match="expected at least 5 x 5"):
        learned_prior(make(SMALL_RIDGE)).split.operator.A(torch.zeros(1, 1, 3, 9))


@every_ridge
def test_the_gradient_is_that_of_the_value_also_scaled_and_weighted(config) -> None:
    prior = weighted_prior(scaled_prior(learned_prior(network_of(Case("", config))), 0.3), 2.5)
    x = images(Case("", config), 2, 9, 8).requires_grad_()
    (expected,) = torch.autograd.grad(prior.value(x).sum(), x)
    torch.testing.assert_close(prior.smooth.gradient(x.detach()), expected)


@every_ridge
def test_the_constant_of_the_gradient_is_a_bound_and_not_a_loose_one(config) -> None:
    network = network_of(Case("", config))
    prior, x = learned_prior(network), 1e-6 * images(Case("", config), 1, 40, 40)
    steepest = 0.0
    v = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    for _ in range(60):
        v = prior.smooth.gradient(x + 1e-6 * v / v.norm()) - prior.smooth.gradient(x)
        steepest = max(steepest, float(v.norm()) / 1e-6)
    assert 0.5 * prior.smooth.lipschitz.value < steepest
    assert steepest <= prior.smooth.lipschitz.value * (1 + 1e-6)  # a quotient of differences


def test_a_resolvent_alone_has_no_gradient() -> None:
    assert learned_prior(make(DnCNNConfig(features=2, depth=2))).smooth is None
    assert learned_prior(make(replace(SMALL_RIDGE, one_shot=True))).smooth is None
