"""Convolutional sparse coding: the dual, its gap, the lattices, the metric, and what is refused."""

import itertools
from dataclasses import replace

import pytest
import torch
from dictionary_cases import FINE, image, network_of
from torch import Tensor
from torch.nn import functional

from recon.errors import GuaranteeError, UsageError
from recon.evidence import Evidence
from recon.priors.networks import (
    ConvolutionalSparseCoding,
    ConvolutionalSparseCodingConfig,
    InnerSolver,
    learned_prior,
    make,
    resolvent,
)
from recon.priors.networks.architectures.sparse_code import SparseCode

CONFIG = ConvolutionalSparseCodingConfig(atoms=5, size=4, stride=2, noise_range=(0.1, 0.1))

LATTICES = [(4, 2, 0), (5, 2, 0), (4, 4, 2), (3, 1, 0), (5, 3, 3), (4, 4, 1)]


@pytest.mark.parametrize(("size", "stride", "shifts"), LATTICES)
@pytest.mark.parametrize("sides", [(9, 7), (2, 3), (1, 1)])
def test_synthesis_is_the_transpose_of_analysis_at_every_size(
    size: int, stride: int, shifts: int, sides: tuple[int, int]
) -> None:
    code = network_of(replace(CONFIG, size=size, stride=stride, shifts=shifts)).codes()[0]
    u = image(2 * code.shifts, 1, *sides)
    seen = code.analysed(code.embedded(u))
    codes = torch.randn_like(seen)
    assert torch.allclose((seen * codes).sum(), (u * code.image_of(codes, sides)).sum())


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (5, 3), (3, 1), (4, 4)])
def test_the_lattices_together_hold_every_place_of_an_atom_once(size: int, stride: int) -> None:
    code = network_of(replace(CONFIG, size=size, stride=stride)).codes()[0]
    x = image(1, 1, 8, 7)
    every = functional.conv2d(functional.pad(x, (size - 1,) * 4), code.atoms)
    lattices = code.analysed(code.embedded(code.repeated(x)))
    assert torch.allclose(every.square().sum(), lattices.square().sum())


def gap_and_objective(code: SparseCode, y: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gap as half the squared gradient of the dual, and as the difference of the two objectives, and D a."""
    size = (y.shape[-2], y.shape[-1])
    codes = code.codes(u)
    found = code.image_of(codes, size)
    half = (code.repeated(y) - found - u).square().flatten(1).sum(1) / 2
    potential = codes.square().flatten(1).sum(1) / 2
    repeated = code.repeated(y)
    dual = (repeated.square() - (repeated - u).square()).flatten(1).sum(1) / 2 - potential
    return half, code.objective(y, codes) - dual, found


def test_the_duality_gap_is_half_the_squared_gradient_and_bounds_the_error() -> None:
    network = network_of(CONFIG)
    code, y = network.codes()[0], image(1, 1, 9, 8)
    exact = code.mean(code.image_of(network.coefficients(y)[0], (9, 8)))
    for seed in range(4):
        u = code.repeated(y) * 0.1 * seed + 0.1 * image(code.shifts, 1, 9, 8, seed=seed)
        half, difference, found = gap_and_objective(code, y, u)
        assert torch.allclose(half, difference)
        error = torch.linalg.vector_norm(code.mean(found) - exact)
        assert error <= (2 * half).sqrt().mean()


def test_the_denoiser_is_the_dictionary_times_the_minimiser() -> None:
    network = network_of(CONFIG)
    y = image(2, 1, 9, 8)
    code, (codes,) = network.codes()[0], network.coefficients(y)
    assert torch.allclose(network(y), code.mean(code.image_of(codes, (9, 8))), atol=1e-9)
    least = code.objective(y, codes)
    for seed in range(5):
        moved = codes + 1e-3 * torch.randn(codes.shape, generator=torch.Generator().manual_seed(seed)).double()
        assert (code.objective(y, moved) >= least).all()


@pytest.mark.parametrize("metric", ["scalar", "diagonal"])
def test_steps_descend_and_tend_to_the_code_in_every_metric(metric: str) -> None:
    network = network_of(replace(CONFIG, steps=3, metric=metric))
    assert network.metric_norm().evidence is Evidence.PROVED
    assert network.metric_norm().value <= 1
    code, y = network.codes()[0], image(1, 1, 8, 8)
    values = [code.objective(y, network.stepped(code, y, steps)) for steps in (1, 2, 3, 8, 30)]
    assert all((after <= before).all() for before, after in itertools.pairwise(values))
    converged = network_of(CONFIG)
    converged.load_state_dict({k: v for k, v in network.state_dict().items() if "metric" not in k}, strict=False)
    far = network.stepped(code, y, 4000)
    (codes,) = converged.frozen().coefficients(y)
    assert torch.allclose(far, codes, atol=1e-6)


def test_a_truncated_iteration_is_not_firmly_nonexpansive_and_claims_nothing() -> None:
    """The planted fault: after one step of ISTA there are pairs that a firmly nonexpansive map does not have."""
    network = network_of(replace(CONFIG, steps=1, tied=False))
    with torch.no_grad():
        network.decoder[0].mul_(4)
    x, y = image(1, 1, 6, 6), image(1, 1, 6, 6, seed=2)
    moved = network(x) - network(y)
    assert moved.square().sum() > ((x - y) * moved).sum()
    assert network.lipschitz_Q().evidence is Evidence.ASSUMED
    assert resolvent(network).properties.proximity is None


def test_a_code_that_is_solved_for_is_firmly_nonexpansive_and_contracts() -> None:
    network = network_of(CONFIG)
    smoothness = network.codes()[0].norm.value ** 2
    for seed in range(5):
        x, y = image(1, 1, 6, 6, seed=seed), image(1, 1, 6, 6, seed=seed + 9)
        moved = network(x) - network(y)
        assert (1 + 1 / smoothness) * moved.square().sum() <= ((x - y) * moved).sum() * (1 + 1e-9)


def test_layers_are_relaxed_to_a_resolvent_that_is_no_proximity_operator() -> None:
    network = network_of(replace(CONFIG, layers=2, shifts=1))
    found = resolvent(network)
    assert found.properties.proximity is None
    assert "averaged" in found.properties.lipschitz_Q.how
    assert found.properties.error.value == 2e-4
    for seed in range(5):
        x, y = image(1, 1, 6, 6, seed=seed), image(1, 1, 6, 6, seed=seed + 9)
        moved = network(x) - network(y)
        assert moved.square().sum() <= ((x - y) * moved).sum()


def test_gradients_reach_every_parameter() -> None:
    network = make(replace(CONFIG, levels=2, noise_range=(0.05, 0.1))).double()
    network.solver = FINE
    y = 0.5 * image(1, 1, 7, 6)
    network(y, 0.07).square().sum().backward()
    for parameter in network.parameters():
        place = tuple(0 if length == 1 else length // 2 for length in parameter.shape)
        assert parameter.grad is not None
        step, values = 1e-5, []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[place] += sign * step
                values.append(float(network(y, 0.07).square().sum()))
                parameter[place] -= sign * step
        assert float(parameter.grad[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-8)


def test_the_shifts_one_after_the_other_give_what_they_give_together(monkeypatch: pytest.MonkeyPatch) -> None:
    network, y = network_of(CONFIG), image(2, 1, 9, 8)
    together = network(y)
    monkeypatch.setattr("recon.priors.networks.architectures.convolutional_sparse_coding._LARGE", 1)
    with torch.no_grad():
        assert torch.allclose(network(y), together, atol=1e-9)


def test_its_accuracy_is_what_was_asked_for() -> None:
    network, y = network_of(CONFIG), image(1, 1, 9, 8)
    exact = network(y)
    for accuracy in (1e-2, 1e-5):
        found = resolvent(network, accuracy=accuracy)
        assert found.properties.error.value == accuracy
        assert torch.linalg.vector_norm(found(y) - exact) <= accuracy * torch.linalg.vector_norm(y)
    network.solver = InnerSolver(accuracy=1e-15, max_steps=3)
    with pytest.raises(GuaranteeError, match="expected accuracy=1e-15"):
        network(y)


def test_images_that_are_not_finite_come_back_for_the_solver_to_report() -> None:
    network = network_of(CONFIG)
    y = image(2, 1, 6, 6)
    y[1, 0, 2, 2] = torch.nan
    found = network(y)
    assert found[0].isfinite().all()
    assert found[1].isnan().any()


REFUSED = [
    ({"atoms": 0}, "expected at least one atom"),
    ({"size": 2, "stride": 3}, "a stride of at most its size"),
    ({"stride": 4, "shifts": 3}, "expected 0, or a divisor of the stride"),
    ({"padding": "circular"}, "expected 'zero'"),
    ({"noise_range": (0.0, 0.0)}, "expected positive levels"),
    ({"levels": 3}, "expected 1 for a single noise level"),
    ({"layers": 4}, "expected 1 to 3 sparse codings"),
    ({"metric": "full", "steps": 3}, "expected 'scalar' or 'diagonal'"),
    ({"metric": "diagonal"}, "expected a number of steps"),
    ({"tied": False}, "expected a number of steps"),
    ({"tied": False, "steps": 3, "metric": "diagonal"}, "expected tied=True"),
    ({"steps": -1}, "expected a number of steps"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_an_architecture_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(replace(CONFIG, **change))  # type: ignore[arg-type]


def test_images_of_other_channels_and_levels_below_zero_are_refused() -> None:
    network = network_of(replace(CONFIG, levels=2, noise_range=(0.05, 0.1)))
    with pytest.raises(UsageError, match="the network was made for grey images"):
        network(image(1, 3, 8, 8), 0.1)
    with pytest.raises(UsageError, match=r"noise_level=-1\.0; expected a positive"):
        network(image(1, 1, 8, 8), -1.0)
    with pytest.raises(UsageError, match="no noise level was given"):
        learned_prior(network)


STEEP = ConvolutionalSparseCodingConfig(atoms=4, size=3, stride=2, shifts=1, noise_range=(0.1, 0.1))
"""With weights disturbed by 1.5, a dictionary of ||D||^2 = 7e4: gradient steps need thousands, and so do those of
Newton's method that end at the first kinks."""


def steep_network() -> ConvolutionalSparseCoding:
    """To the accuracy that its rounding in double precision lets prove."""
    return network_of(STEEP, disturbed=1.5, solver=InnerSolver(accuracy=1e-9, max_steps=3000))


def test_a_dictionary_of_large_norm_is_coded_to_the_accuracy_that_was_asked_for() -> None:
    network, y = steep_network(), image(1, 1, 40, 9)
    (code,) = network.codes()
    assert code.norm.value > 200
    u = code.repeated(y) - code.image_of(network.coefficients(y)[0], (40, 9))
    left = u - code.repeated(y) + code.gradient(u)
    assert (left.flatten(1).norm(dim=1) <= 1e-9 * (1 + code.norm.value**2) * y.norm()).all()


def test_single_precision_claims_no_accuracy_that_rounding_takes_away() -> None:
    """The planted fault: in single precision ||grad F|| itself is rounded by more than the accuracy."""
    network, y = steep_network(), image(1, 1, 20, 9).float()
    single = network.frozen(torch.float32)
    single.solver = InnerSolver(accuracy=1e-4)
    (code,), wide = single.codes(), network.codes()[0]
    u = 0.6 * code.repeated(y)
    rounded = (code.gradient(u).double() - wide.gradient(u.double())).flatten(1).norm(dim=1)
    assert (rounded > 1e-4 * y.norm()).any()
    assert torch.linalg.vector_norm(single(y).double() - network(y.double())) <= 1e-4 * y.norm()
