"""The data term of projections behind a ramp filter: the same problem, better conditioned."""

import math

import pytest
import torch
from rounding import at_most

from recon import priors, solvers
from recon.errors import UsageError
from recon.methods.choice import choose_method
from recon.methods.operator_pair import analyse_operator
from recon.operators import AlongAxis, Detector, Geometry, LeastSquares, Tomography, Volume, evenly_spaced, scale
from recon.operators.tomography import WeightedTomography
from recon.operators.tomography.projectors.ramp_preconditioner import ramp_split
from recon.operators.tomography.projectors.row_filter import RowFilter
from recon.priors.networks import ConvexRidgeConfig, learned_prior
from recon.priors.networks import make as make_network

SIDE, PIXELS, VIEWS = 12, 17, 9
NORM = 2.5


def projector() -> Tomography:
    return Tomography(
        Geometry("parallel", evenly_spaced(0, 180, VIEWS), Detector(PIXELS, 1.0), Volume((SIDE, SIDE), 1.0))
    )


def weighted() -> WeightedTomography:
    root = torch.rand(VIEWS, PIXELS, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 0.1
    root[:, 3] = 0
    return WeightedTomography(projector(), root)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix(operator) -> torch.Tensor:
    basis = torch.eye(math.prod(operator.domain.shape), dtype=torch.float64)
    return operator.A(basis.reshape(-1, *operator.domain.shape)).flatten(1).T


@pytest.mark.parametrize("pixels", [8, 9])
def test_a_row_filter_is_symmetric_and_has_its_gains_as_eigenvalues(pixels: int) -> None:
    gains = torch.rand(pixels // 2 + 1, dtype=torch.float64) + 0.1
    dense = matrix(RowFilter(gains, (1, pixels)))
    assert float((dense - dense.T).abs().max()) < 1e-14
    found = torch.linalg.eigvalsh(dense).sort().values
    twice = [gain for k, gain in enumerate(gains) for _ in range(1 if k in (0, pixels / 2) else 2)]
    assert torch.allclose(found, torch.stack(twice).sort().values)


def test_a_filter_with_a_negative_gain_or_too_few_is_refused() -> None:
    with pytest.raises(UsageError, match="none negative"):
        RowFilter(torch.tensor([1.0, -1.0, 1.0]), (2, 4))
    with pytest.raises(UsageError, match="expected \\(3,\\)"):
        RowFilter(torch.ones(4), (2, 4))


@pytest.mark.parametrize("make", [projector, weighted])
def test_the_split_data_term_is_the_data_term(make) -> None:
    """For every x the dual point of g at K x is F^(-1/2)(A x - y): there u = prox_{s g*}(u + s K x)."""
    A = make()
    split = ramp_split(A, NORM)
    x, y = drawn(1, 1, SIDE, SIDE), drawn(1, 1, VIEWS, PIXELS, seed=1)
    inverse_root = RowFilter(1 / split.operator.root.gains, (VIEWS, PIXELS))
    u = inverse_root.A(A.A(x) - y)
    for s in (0.01, 1.0, 30.0):
        back = split.conjugate_resolvent(y, s)(u + s * split.operator.A(x))
        assert torch.allclose(back, u, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", [projector, weighted])
def test_the_norm_that_is_claimed_bounds_the_true_one_and_is_near_it(make) -> None:
    true = float(torch.linalg.matrix_norm(matrix(ramp_split(make(), NORM).operator), 2))
    assert 0.9 * NORM < true <= NORM


def test_the_filter_evens_out_the_spectrum() -> None:
    plain = torch.linalg.svdvals(matrix(projector()))[: SIDE * SIDE // 2]
    filtered = torch.linalg.svdvals(matrix(ramp_split(projector(), NORM).operator))[: SIDE * SIDE // 2]
    assert filtered[0] / filtered[-1] < 0.5 * plain[0] / plain[-1]


@pytest.mark.slow
@pytest.mark.parametrize("make", [projector, weighted])
def test_all_split_finds_the_minimiser_that_the_gradient_finds(make) -> None:
    A, weight = make(), 0.3
    y = A.A(torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64)) + 0.1 * drawn(1, 1, VIEWS, PIXELS)
    prior = priors.total_variation_prior(weight, image_shape=(SIDE, SIDE), bounds=(0.99, math.inf))
    values = []
    for operator in (A, scale(A, 1.0)):  # a multiple has no split of its own, and goes by the gradient
        zero = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64)
        method = choose_method(analyse_operator(operator, None, zero), prior, "condat_vu", weight=weight)
        assert method.certificate.holds
        x = solvers.solve(method.algorithm(y), zero, tolerance=1e-9, max_steps=1000).x.clamp(min=0.99)
        values.append(float(LeastSquares(A, y).value(x) + prior.value(x)))
    assert values[0] == pytest.approx(values[1], rel=1e-3)


@pytest.mark.slow
def test_a_learned_potential_is_split_off_with_the_data_term() -> None:
    torch.manual_seed(0)
    prior = learned_prior(make_network(ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.05, 0.05))))
    A = projector()
    y, zero = A.A(drawn(1, 1, SIDE, SIDE)), torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64)
    found = []
    for name in ("condat_vu", "fista"):
        method = choose_method(analyse_operator(A, None, zero), prior, name)
        assert method.certificate.holds
        x = solvers.solve(method.algorithm(y), zero, tolerance=1e-9, max_steps=3000).x
        found.append(float(LeastSquares(A, y).value(x) + prior.value(x)))
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[0] < 0.5 * float(LeastSquares(A, y).value(zero))
    assert choose_method(analyse_operator(A, None, zero), prior).name == "condat_vu"


def test_weights_of_another_shape_or_sign_are_refused() -> None:
    with pytest.raises(UsageError, match="9 x 17"):
        WeightedTomography(projector(), torch.ones(VIEWS, PIXELS + 1))
    with pytest.raises(UsageError, match="none negative"):
        WeightedTomography(projector(), -torch.ones(VIEWS, PIXELS))


def test_a_dead_ray_leaves_no_trace() -> None:
    A, y = weighted(), drawn(1, 1, VIEWS, PIXELS)
    other = y.clone()
    other[..., 3] = 1e6
    assert torch.equal(A.A_adjoint(y), A.A_adjoint(other))
    assert torch.equal(A.weigh(y), A.weigh(other))


def cone() -> Tomography:
    detector = Detector(13, 2.2, 0.6, rows=AlongAxis(9, 2.4, -0.5))
    volume = Volume((7, 8), 1.0, slices=AlongAxis(6, 1.2))
    return Tomography(Geometry("cone", evenly_spaced(0, 360, 10), detector, volume, 40.0, 80.0))


def weighted_cone() -> WeightedTomography:
    return WeightedTomography(cone(), drawn(10, 9, 13, seed=7).abs())


@pytest.mark.parametrize("make", [cone, weighted_cone])
def test_the_rows_of_a_panel_are_split_as_those_of_a_sinogram(make) -> None:
    A = make()
    split, shape = ramp_split(A, NORM), A.range.shape
    x, y = drawn(1, 1, *A.domain.shape), drawn(1, 1, *shape, seed=1)
    u = RowFilter(1 / split.operator.root.gains, shape).A(A.A(x) - y)
    for s in (0.01, 1.0, 30.0):
        assert torch.allclose(split.conjugate_resolvent(y, s)(u + s * split.operator.A(x)), u, rtol=1e-9, atol=1e-9)
    singular = torch.linalg.svdvals(matrix(split.operator))
    assert float(singular[0]) > 0.9 * NORM
    assert at_most(float(singular[0]), NORM)
    if make is cone:
        half, plain = len(singular) // 2, torch.linalg.svdvals(matrix(A))
        assert singular[0] / singular[half] < 0.7 * plain[0] / plain[half]
