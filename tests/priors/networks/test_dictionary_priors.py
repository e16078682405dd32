"""Convolutional dictionaries as priors of proximal gradient methods on their coefficients."""

from dataclasses import replace

import pytest
import torch
from dictionary_cases import image, network_of
from torch import Tensor

from recon import priors, solvers
from recon.certificates import DualityGap
from recon.errors import UsageError
from recon.evidence import Evidence
from recon.methods.choice import choose_method
from recon.methods.coefficients import METHODS, composed
from recon.methods.learned_steps import LearnedSteps
from recon.methods.operator_pair import analyse_operator
from recon.methods.setting import Method
from recon.operators import Blur, Identity, gaussian_psf
from recon.operators.composition import CharacterisedOperator
from recon.priors import Prior, elastic_net_prior
from recon.priors.networks import (
    ConvexRidgeConfig,
    ConvolutionalSparseCoding,
    ConvolutionalSparseCodingConfig,
    dictionary_prior,
    make,
)

SIZE, LEVEL = (11, 9), 0.1
CONFIG = ConvolutionalSparseCodingConfig(atoms=6, size=4, stride=2, shifts=1, noise_range=(LEVEL, LEVEL))
LIKE = torch.zeros(1, 1, *SIZE, dtype=torch.float64)
STEPS = LearnedSteps((1.0, 1.4, 1.8, 1.2) * 10)


@pytest.fixture(scope="module")
def network() -> ConvolutionalSparseCoding:
    return network_of(CONFIG)


@pytest.fixture(scope="module")
def shifted() -> ConvolutionalSparseCoding:
    """A network of four lattices."""
    return network_of(replace(CONFIG, shifts=2))


def blur() -> CharacterisedOperator:
    return Blur(gaussian_psf(0.8), SIZE)


def method_of(prior: Prior, name: str | None, operator: CharacterisedOperator | None = None) -> Method:
    pair = analyse_operator(operator or blur(), None, LIKE)
    return choose_method(pair, prior, name, like=LIKE, stepsizes=STEPS if name == "slista" else None)


def ran(method: Method, y: Tensor, steps: int) -> tuple[solvers.Solution, DualityGap]:
    found = solvers.solve(method.algorithm(y), torch.zeros_like(y), tolerance=0, max_steps=steps)
    assert method.gap is not None
    return found, method.gap(y, solvers.unknowns(found.state, found.x))[0]


@pytest.mark.parametrize("kind", ["network", "shifted"])
def test_the_adjoint_of_a_dictionary_and_the_norm_of_its_composition(kind: str, request) -> None:
    synthesis = dictionary_prior(request.getfixturevalue(kind), LEVEL).synthesis
    assert synthesis is not None
    dictionary = synthesis.on(SIZE)
    x = image(2, 1, *SIZE)
    z = image(2, synthesis.bands, *dictionary.domain.shape)
    assert torch.allclose((dictionary.A(z) * x).sum(), (z * dictionary.A_adjoint(x)).sum())
    together = composed(analyse_operator(blur(), None, LIKE), dictionary)
    measured = together.operator.A(z)
    assert measured.shape == (2, synthesis.lattices, *SIZE)
    y = image(*measured.shape, seed=4)
    assert torch.allclose((measured * y).sum(), (z * together.operator.A_adjoint(y)).sum())
    for operator, bound in (
        (together.operator, together.properties.norm),
        (dictionary, dictionary.properties.norm),
    ):
        v = image(1, synthesis.bands, *dictionary.domain.shape)
        for _ in range(30):
            v = operator.A_adjoint(operator.A(v))
            v = v / v.norm()
        assert 0.4 * bound.value < operator.A(v).norm() <= bound.value
        assert bound.evidence is Evidence.PROVED


def test_on_several_lattices_it_is_the_mean_of_reconstructions_on_each(shifted: ConvolutionalSparseCoding) -> None:
    """That know nothing of each other; a lattice that is left out or counted twice, or another weight, breaks it."""
    y = blur().A(image(2, 1, *SIZE))
    found, gap = ran(method_of(dictionary_prior(shifted, LEVEL, 0.7), "fista"), y, 60)
    one, alone = ran(method_of(dictionary_prior(shifted, LEVEL, 0.7, lattices=1), "fista"), y, 60)
    assert not torch.allclose(found.x, one.x, atol=1e-3)
    code = shifted.codes(LEVEL)[0]
    each = []
    for offset in code.offsets:
        moved = network_of(replace(shifted.config, shifts=1))
        moved.load_state_dict(shifted.state_dict())
        with pytest.MonkeyPatch.context() as patch:
            only = replace(code, offsets=(offset,), bounds={})
            patch.setattr(ConvolutionalSparseCoding, "codes", lambda *_, only=only: [only])
            each.append(ran(method_of(dictionary_prior(moved, LEVEL, 0.7), "fista"), y, 60))
    assert torch.allclose(found.x, torch.stack([x.x for x, _ in each]).mean(0), atol=1e-6)
    assert torch.allclose(one.x, each[0][0].x, atol=1e-6)
    assert gap.objective == pytest.approx(sum(each.objective for _, each in each) / 4, rel=1e-6)
    assert alone.objective == pytest.approx(each[0][1].objective, rel=1e-6)


@pytest.mark.parametrize("kind", ["network", "shifted"])
def test_denoising_with_the_prior_is_the_network(kind: str, request) -> None:
    network, y = request.getfixturevalue(kind), image(1, 1, *SIZE)
    found, gap = ran(method_of(dictionary_prior(network, LEVEL), None, Identity(SIZE)), y, 3000)
    assert torch.allclose(found.x, network(y), atol=1e-7)
    assert gap.value < 1e-9
    assert torch.linalg.vector_norm(found.x - network(y)) <= gap.distance + 1e-9


def test_the_conjugate_is_that_of_the_value() -> None:
    """Fenchel's inequality, with equality at the shrunk coefficients; a weight that is forgotten breaks it."""
    prior = elastic_net_prior(0.7, torch.tensor([0.2, 0.0, 1.0]).double().view(1, 3, 1, 1), ridge=1.3)
    assert prior.value is not None
    assert prior.conjugate is not None
    c = image(4, 3, 5, 5)
    z = prior.resolvent(1e9)(1e9 * c)  # the maximiser of <c, z> - w g(z), as the resolvent of a long step
    inner = (c * z).flatten(1).sum(1)
    assert torch.allclose(prior.value(z) + prior.conjugate(c), inner, rtol=1e-6)
    other = z + image(4, 3, 5, 5, seed=2)
    assert (prior.value(other) + prior.conjugate(c) >= (c * other).flatten(1).sum(1)).all()


@pytest.mark.parametrize("name", METHODS)
def test_the_gap_bounds_what_is_left_of_the_energy(shifted: ConvolutionalSparseCoding, name: str) -> None:
    prior, y = dictionary_prior(shifted, LEVEL, 0.8), blur().A(image(1, 1, *SIZE))
    best, tight = ran(method_of(prior, "fista"), y, 3000)
    method = method_of(prior, name)
    assert method.certificate.holds
    before = torch.inf
    for steps in (5, 20, 40):
        found, gap = ran(method, y, steps)
        assert gap.evidence is Evidence.PROVED
        left = gap.objective - tight.objective
        assert -1e-12 <= left <= gap.value
        assert torch.linalg.vector_norm(found.x - best.x) <= gap.distance + tight.distance
        if name != "fista":
            assert gap.objective <= before
            before = gap.objective
    assert gap.value < 0.5 * gap.objective


def test_items_of_a_batch_end_one_by_one(network: ConvolutionalSparseCoding) -> None:
    """The state of the coefficients lies within that of the images, and is held with it."""
    method = method_of(dictionary_prior(network, LEVEL), "ista")
    y = torch.cat([torch.zeros(1, 1, *SIZE, dtype=torch.float64), blur().A(image(1, 1, *SIZE))])
    found = solvers.solve(method.algorithm(y), torch.zeros_like(y), tolerance=1e-6, max_steps=4000, scale=1.0)
    assert found.steps[0] < found.steps[1]
    alone = solvers.solve(method.algorithm(y[1:]), torch.zeros_like(y[1:]), tolerance=1e-6, max_steps=4000, scale=1.0)
    assert torch.allclose(found.x[1:], alone.x)


def test_methods_and_networks_without_coefficients_are_refused(network: ConvolutionalSparseCoding) -> None:
    with pytest.raises(UsageError, match="expected ista, fista, oista or slista"):
        method_of(dictionary_prior(network, LEVEL), "douglas_rachford")
    with pytest.raises(UsageError, match="the network is a ConvexRidge; expected a ConvolutionalSparseCoding"):
        dictionary_prior(make(ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(LEVEL, LEVEL))), LEVEL)
    with pytest.raises(UsageError, match="expected a ConvolutionalSparseCoding of one layer"):
        dictionary_prior(make(replace(CONFIG, layers=2)), LEVEL)
    with pytest.raises(UsageError, match=r"noise_level=0\.0; expected a positive"):
        dictionary_prior(network, 0.0)
    with pytest.raises(UsageError, match="weight=0; expected a number above 0"):
        dictionary_prior(network, LEVEL, 0)
    with pytest.raises(UsageError, match="lattices=2; expected 1 to 1, as the network has"):
        dictionary_prior(network, LEVEL, lattices=2)
    with pytest.raises(UsageError, match="is a penalty of coefficients"):
        dictionary_prior(network, LEVEL).resolvent(1.0)(LIKE)
    assert priors.l1_prior(0.1).synthesis is None
