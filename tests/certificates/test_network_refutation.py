"""The search for violations: it finds what is planted, attains what is known, and never refutes what is true."""

import math
from dataclasses import replace

import pytest
import torch
from network_cases import CASES, SMALL_RIDGE, Case, network_of
from torch import Tensor

from recon.certificates import lipschitz_search
from recon.certificates.ascent import Climb, Search
from recon.certificates.lipschitz_search import (
    LipschitzLowerBound,
    hardest,
    hardest_of_network,
    jacobian_norm,
    reconcile_constant,
    starting_images,
    worst_windows,
)
from recon.errors import GuaranteeError, UsageError
from recon.evidence import Assumed, Evidence, Measured, Proved
from recon.operators.spectral import Effort
from recon.priors.networks import ConvexRidgeConfig, Derivative, DnCNNConfig, LipschitzConfig, make
from recon.types import Map

QUICK = Search(lanczos=Effort(tolerance=1e-3, applications=30), rounds=1, steps=6)
KNOWN = ConvexRidgeConfig(widths=(2, 4), size=3, pieces=5, noise_range=(0.1, 0.1), one_shot=True)


def gain(case: Case, factor: float):
    """Q of a proved network times a factor: the planted fault."""
    network = network_of(case)
    return (
        lambda x: factor * network.Q(x),
        lambda x: Derivative(
            lambda v: factor * network.derivative(x).forward(v), lambda v: factor * network.derivative(x).transpose(v)
        ),
    )


def test_a_network_five_per_cent_too_large_is_found() -> None:
    case = Case("one-shot", KNOWN)  # Q leaves constants alone, so its constant is one exactly
    Q, derivative = gain(case, 1.05)
    starts = starting_images(side=10)
    for found in (hardest(Q, starts, derivative, QUICK), hardest(Q, starts, search=replace(QUICK, steps=60))):
        assert 1.04 < found.quotient.value <= 1.05 + 1e-9
        with pytest.raises(GuaranteeError, match=r"said to be proved \(the weights\), but a search found 1\.0"):
            reconcile_constant(Proved(1.0, "the weights"), found)
        assert reconcile_constant(Assumed(1.0, "a penalty"), found) is found.quotient


def test_the_pair_that_is_returned_is_the_evidence() -> None:
    network = network_of(CASES[0])
    found = hardest_of_network(network, side=9, search=replace(QUICK, steps=20))
    assert found.quotient.evidence is Evidence.MEASURED
    if torch.equal(found.x, found.y):
        value, _ = jacobian_norm(network.derivative(found.x), found.x)
    else:
        value = (network.Q(found.x) - network.Q(found.y)).norm() / (found.x - found.y).norm()
        value = Measured(float(value), "")
    assert value.value == pytest.approx(found.quotient.value, rel=1e-2)


@pytest.mark.parametrize(
    "case", [case for case in CASES if isinstance(case.config, LipschitzConfig)], ids=lambda case: case.name
)
def test_no_search_exceeds_a_proof(case: Case) -> None:
    network = network_of(case)
    found = hardest_of_network(network, case.level, side=8, search=QUICK)
    assert reconcile_constant(network.lipschitz_Q(case.level), found).evidence is Evidence.PROVED


def test_no_search_exceeds_the_constant_of_a_prox() -> None:
    network = network_of(Case("ridge", SMALL_RIDGE), strength=0.1)
    search = Search(lanczos=Effort(applications=6), rounds=1, steps=2, distances=(0.05,))
    found = hardest_of_network(network, side=6, search=search)
    assert found.quotient.value > 0.9
    assert reconcile_constant(network.lipschitz_Q(), found).evidence is Evidence.PROVED


def test_the_derivative_norm_is_the_dense_one() -> None:
    network = network_of(CASES[0])
    x = torch.randn(1, 1, 5, 6, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(network.Q, x).reshape(30, 30)
    value, direction = jacobian_norm(network.derivative(x), x, Effort(tolerance=1e-6))
    assert value.value == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-6)
    assert float((matrix @ direction.flatten()).norm()) == pytest.approx(value.value, rel=1e-6)


def test_the_ascent_finds_a_violation_that_no_start_shows() -> None:
    """Q is the identity up to a bump of slope 1.3 far from every starting image: only moving the point finds it."""

    def bumped(x: Tensor) -> Tensor:
        return 0.9 * x + 0.4 * torch.tanh(2 * (x - 1.6)) / 2

    Q: Map = bumped
    starts = {"a constant": torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)}
    fixed = hardest(Q, starts, search=Search(steps=0 + 1, rate=1e-9))
    moved = hardest(Q, starts, search=Search(steps=60, rounds=4, rate=0.1))
    assert fixed.quotient.value < 1
    assert moved.quotient.value > 1.2


def kept_and_bumped(x: Tensor) -> Tensor:
    """Q keeps the mean of an image, and expands its details by 1.2 where they are near 0.4, elsewhere by 0.8."""
    mean = x.mean((-2, -1), keepdim=True)
    return mean + 0.8 * (x - mean) + 0.02 * torch.tanh(20 * (x - mean - 0.4))


def without_mean(x: Tensor) -> Tensor:
    return x - x.mean((-2, -1), keepdim=True)


def test_what_a_map_keeps_does_not_end_the_search_of_what_it_expands() -> None:
    """The mean has a quotient of 1, above that of most details: the ascent goes along what Q may change."""
    starts, search = {"a constant": torch.full((1, 1, 6, 6), 0.5).double()}, Search(steps=60, box=(0.0, 1.0))
    found = hardest(kept_and_bumped, starts, search=search, climbed=Climb(kept_and_bumped, without_mean))
    assert 1.1 < found.quotient.value <= 1.2 + 1e-9


@pytest.mark.parametrize("box", [(0.0, 1.0), (0.2, 0.3), None])
def test_a_search_stays_in_its_box_and_leaves_it_where_there_is_none(box) -> None:
    starts = {"noise": torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0)).double()}
    search = Search(steps=40, box=box)

    def Q(x: Tensor) -> Tensor:
        return (x - 0.5).abs() * (x - 0.5)  # expands with the distance from 0.5

    found = hardest(Q, starts, search=search)
    values = torch.cat([found.x, found.y])
    low, high = float(values.min()), float(values.max())
    assert (low < 0 or high > 1) if box is None else (box[0] <= low and high <= box[1])
    seen = float((Q(found.y) - Q(found.x)).norm() / (found.y - found.x).norm())
    assert found.quotient.value == pytest.approx(seen, rel=1e-9)


def test_the_ascent_in_single_precision_is_judged_in_double() -> None:
    case = Case("one-shot", KNOWN)
    Q, _ = gain(case, 1.0)
    swift = network_of(case).float()
    starts = starting_images(side=10)
    found = hardest(Q, starts, search=QUICK, climbed=Climb(swift.Q, dtype=torch.float32))
    assert found.x.dtype == torch.float64
    assert 0.99 < found.quotient.value <= 1 + 1e-9


def test_who_watches_a_search_sees_how_far_it_is_and_the_largest_quotient_so_far() -> None:
    starts = {str(value): torch.full((1, 1, 4, 4), value, dtype=torch.float64) for value in (0.2, 1.6)}
    seen: list[tuple[int, int, float]] = []
    found = hardest(lambda x: torch.tanh(x - 1.6), starts, search=QUICK, watch=lambda *told: seen.append(told))
    counts = [done for done, _, _ in seen]
    assert counts == list(range(1, len(starts) * len(QUICK.distances) + 1))
    assert {count for _, count, _ in seen} == {counts[-1]}
    values = [value for _, _, value in seen]
    assert values == sorted(values)
    assert values[0] < 0.9 < values[-1] == found.quotient.value


def test_the_worst_windows_of_the_data_are_among_the_starts(monkeypatch) -> None:
    network = make(DnCNNConfig(features=4, depth=2, channels=3))
    with torch.no_grad():
        network.kernels[-1].mul_(100.0)
    seen, x = {}, torch.zeros(1, 3, 2, 2)
    nothing = LipschitzLowerBound(Measured(2.0, ""), x, x, "")
    monkeypatch.setattr(lipschitz_search, "hardest", lambda Q, starts, *others: seen.update(starts) or nothing)
    hardest_of_network(network, images={"data": torch.rand(1, 3, 40, 20)}, side=16)
    assert {"a constant", "noise", "data", "data with noise", "data denoised"} <= seen.keys()
    assert seen["data"].shape == (1, 3, 16, 16)
    with pytest.raises(UsageError, match="no image to begin with"):
        hardest(lambda x: x, {})


def test_a_window_is_laid_where_the_derivative_is_largest() -> None:
    """A network that amplifies only where the image is bright, and an image with one bright spot in a corner."""
    network = make(DnCNNConfig(features=1, depth=2, slope=0.0))
    with torch.no_grad():
        for kernel in network.kernels:
            kernel.zero_()[..., 1, 1] = 1.0
        network.kernels[-1].mul_(4.0)  # N(x) = 4 max(x - 1/2, 0), so Q' = -7 where x > 1/2 and 1 elsewhere
        network.biases[0].fill_(-0.5)
    image = torch.zeros(1, 1, 60, 90)
    image[..., 50:54, 7:11] = 0.9
    window = worst_windows(network, None, {"spot": image}, side=12)["spot"]
    assert window.image.shape == (1, 1, 12, 12)
    assert float(window.image.sum()) == pytest.approx(float(image.sum()))
    assert window.norm == pytest.approx(7, rel=1e-3)


def test_a_norm_that_only_a_large_image_has_is_found() -> None:
    """Of a blur whose norm, with zeros around the image, grows with its size; no search of a window can see it."""
    network = make(DnCNNConfig(features=1, depth=2, slope=1.0))
    with torch.no_grad():
        network.kernels[0].fill_(-1 / 9)
        network.kernels[1].zero_()[..., 1, 1] = 0.5  # N(x) = -mean/2, so Q = Id + mean
    found = hardest_of_network(network, images={"data": torch.rand(1, 1, 40, 48)}, side=8, search=QUICK)
    cosine = [(1 + 2 * math.cos(math.pi / (size + 1))) / 3 for size in (40, 48)]
    assert found.quotient.value == pytest.approx(1 + cosine[0] * cosine[1], abs=1e-3)
    assert found.origin.endswith("derivative of the whole")
    assert "40 x 48 pixels" in found.quotient.how
    assert found.quotient.value > hardest_of_network(network, side=8, search=QUICK).quotient.value + 0.01


def test_a_network_that_keeps_constants_is_no_contraction() -> None:
    """Whatever it does to details: here Q makes nothing of them."""
    network = make(DnCNNConfig(features=1, depth=2, slope=1.0, coarse=2.0))
    with torch.no_grad():
        for kernel, value in zip(network.kernels, (1.0, 0.5), strict=True):
            kernel.zero_()[..., 1, 1] = value
    found = hardest_of_network(network, side=12, search=Search(steps=1)).quotient.value
    assert found == pytest.approx(1, abs=1e-8)
    assert found <= 1  # nor an expansion, by rounding


def test_an_inner_iteration_is_given_its_accuracy() -> None:
    x = torch.zeros(1, 1, 2, 2)
    found = LipschitzLowerBound(Measured(1.0001, "", error=2e-4), x, x, "a secant")
    assert reconcile_constant(Proved(1.0, ""), found).evidence is Evidence.PROVED
    assert DnCNNConfig().features == 64
