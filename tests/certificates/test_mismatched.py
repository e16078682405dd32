"""The theorems of unmatched adjoints on explicit matrices: every interval from both sides where it is sharp."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from problems import draw

from recon.certificates import (
    certify_contractive_forward_backward,
    certify_mismatched_forward_backward,
    certify_shifted_ba,
    contraction_rate,
    residual_bound,
)
from recon.evidence import Evidence, Measured, Proved
from recon.operators import (
    LeastSquares,
    from_matrix,
    linear_iteration_of,
    mismatch_of,
    residual_norm,
)
from recon.priors import ResolventProperties, identity
from recon.solvers import Status, ab_gmres, ba_gmres, forward_backward, solve


def contractive(q, evidence=Proved):
    """J = (Id - q P)/2 with P a permutation: as expansive as Lip(Q) = q allows."""
    properties = ResolventProperties(lipschitz_Q=evidence(q, "planted"))
    return lambda x: (x + q * x) / 2, properties


def planted(seed=0, size=6, deficit=0.05):
    """A square pair whose K A has symmetric part at least -deficit times its norm, and reaches it: BA diverges."""
    random = draw(seed)
    values = torch.linspace(1, 3, size, dtype=torch.float64)
    values[0] = -deficit
    basis = torch.linalg.qr(random(size, size)).Q
    skew = random(size, size)
    B = basis @ (torch.diag(values) + 0.05 * (skew - skew.T)) @ basis.T
    A = random(size, size) + 3 * torch.eye(size)
    back = B @ torch.linalg.inv(A)
    return from_matrix(A), from_matrix(back.T), B


# (c) a prior that contracts.


def test_a_contractive_prior_converges_where_k_a_is_not_monotone():
    """mu < 0: no classical theorem. The plain BA iteration diverges, shifted BA, contractive FB and GMRES converge."""
    operator, surrogate, B = planted()
    y, start = draw(1)(2, 6), torch.zeros(2, 6, dtype=torch.float64)
    pair = mismatch_of(operator, surrogate)
    assert pair.symmetric_part_min.value < 0
    stepsize = 0.5 / pair.norm.value
    data = LeastSquares(operator, y, surrogate.A_adjoint)

    assert not certify_mismatched_forward_backward(pair, identity().properties, stepsize).holds
    assert not certify_shifted_ba(linear_iteration_of(operator, surrogate), stepsize).holds
    assert (
        solve(forward_backward(data, identity(), stepsize), start, tolerance=1e-10, max_steps=50_000).status
        == (Status.DIVERGED,) * 2
    )

    iteration = linear_iteration_of(operator, surrogate, shift=0.2)
    assert certify_shifted_ba(iteration, stepsize).holds
    shifted = LeastSquares(operator, y, surrogate.A_adjoint, 0.2)
    assert solve(forward_backward(shifted, identity(), stepsize), start, tolerance=1e-10, max_steps=5000).converged

    prior, properties = contractive(0.8)
    residual = residual_norm(operator, surrogate, stepsize)
    certificate = certify_contractive_forward_backward(pair, properties, stepsize, residual=residual)
    assert certificate.holds, str(certificate)
    assert certificate.evidence is Evidence.PROVED
    assert solve(forward_backward(data, prior, stepsize), start, tolerance=1e-10).converged

    answer = torch.linalg.solve(B, surrogate.A_adjoint(y).T).T
    for gmres in (ab_gmres(operator, surrogate, y), ba_gmres(operator, surrogate, y)):
        run = solve(gmres, start, tolerance=1e-10)
        assert run.converged
        assert torch.allclose(run.x, answer, atol=1e-7)


@pytest.mark.parametrize("relaxation", [0.6, 1.0, 1.02])
@pytest.mark.parametrize("seed", range(6))
def test_no_step_shrinks_the_distance_less_than_the_rate_says(seed, relaxation):
    operator, surrogate, _ = planted(seed)
    prior, properties = contractive(0.7)
    stepsize = 0.4 / mismatch_of(operator, surrogate).norm.value
    rho = contraction_rate(properties, residual_norm(operator, surrogate, stepsize)).value
    assert rho < 1
    factor = abs(1 - relaxation) + relaxation * rho
    data = LeastSquares(operator, draw(seed)(1, 6), surrogate.A_adjoint)
    step = forward_backward(data, prior, stepsize, relaxation).step
    state = forward_backward(data, prior, stepsize, relaxation).init(torch.zeros(1, 6, dtype=torch.float64))
    states = [state]
    for _ in range(600):
        states.append(step(states[-1]))
    errors = [(s.x - states[-1].x).norm().item() for s in states[:40]]
    assert all(after <= factor * before * (1 + 1e-9) for before, after in pairwise(errors))


def test_the_contraction_is_sharp():
    """A = Id, K = -1/4 Id and J = (1 + q)/2 Id: the map is (1 + q)/2 (1 + s/4) Id."""
    A, K = torch.eye(2, dtype=torch.float64), -torch.eye(2, dtype=torch.float64) / 4
    operator, surrogate = from_matrix(A), from_matrix(K)
    prior, properties = contractive(0.6)
    for side, converges in ((0.98, True), (1.02, False)):
        stepsize = side * 4 * (2 / 1.6 - 1)
        pair, residual = mismatch_of(operator, surrogate), residual_norm(operator, surrogate, stepsize)
        certificate = certify_contractive_forward_backward(pair, properties, stepsize, residual=residual)
        assert certificate.holds is converges
        run = solve(
            forward_backward(LeastSquares(operator, torch.ones(1, 2).double(), surrogate.A_adjoint), prior, stepsize),
            torch.zeros(1, 2, dtype=torch.float64),
            tolerance=1e-8,
            max_steps=10_000,
        )
        assert run.converged is converges


def test_the_constants_of_the_pair_bound_the_residual_norm():
    certified = 0
    for seed in range(60):
        random = draw(seed)
        A = random(7, 5)
        K = A.T + (0.02 + 0.2 * (seed % 3)) * random(5, 7)
        operator, surrogate, shift = from_matrix(A), from_matrix(K.T), 0.3 * (seed % 2)
        pair = mismatch_of(operator, surrogate, shift=shift)
        for fraction in (0.05, 0.5, 1.0, 1.9):
            stepsize = fraction / pair.norm.value
            exact = residual_norm(operator, surrogate, stepsize, shift=shift).value
            bound = residual_bound(pair, stepsize).value
            assert exact <= bound * (1 + 1e-9)
            certified += certify_contractive_forward_backward(pair, contractive(0.5)[1], stepsize).holds
    assert certified > 50


def test_contractive_forward_backward_is_only_as_good_as_its_premises():
    operator, surrogate, _ = planted()
    pair = mismatch_of(operator, surrogate)
    stepsize = 0.5 / pair.norm.value

    def certify(properties, residual=None, relaxation=1.0, step=stepsize):
        residual = residual or residual_norm(operator, surrogate, stepsize)
        return certify_contractive_forward_backward(pair, properties, step, relaxation, residual=residual)

    assert certify(contractive(0.8, Measured)[1]).evidence is Evidence.MEASURED
    assert certify(contractive(0.8)[1], Measured(1.05, "Lanczos")).evidence is Evidence.MEASURED
    assert not certify(contractive(0.8)[1], Measured(1.05, "Lanczos", error=0.1)).holds
    assert not certify(identity().properties).holds
    assert not certify(contractive(0.8)[1], relaxation=1.9).holds
    assert not certify(contractive(0.8)[1], step=-1.0).holds
    inexact = dataclasses.replace(contractive(0.8)[1], error=Proved(1e-3, "an inner iteration"))
    assert certify(inexact).missing == ("the prior is evaluated exactly, relative error",)


# The linear iteration.


@pytest.mark.parametrize("shift", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(12))
def test_the_linear_iteration_converges_exactly_inside_its_interval(seed, shift):
    random = draw(seed)
    A = random(8, 5)
    K = A.T + 0.3 * random(5, 8)
    operator, surrogate, y = from_matrix(A), from_matrix(K.T), random(1, 8)
    iteration = linear_iteration_of(operator, surrogate, shift=shift)
    B = K @ A + shift * torch.eye(5).double()
    eigenvalues = torch.linalg.eigvals(B)
    sharp = (2 * eigenvalues.real / eigenvalues.abs().square()).min().item()
    assert iteration.limit.value == pytest.approx(max(sharp, 0.0), rel=1e-6)
    assert iteration.limit.evidence is Evidence.PROVED
    for side in (0.999, 1.001):
        certificate = certify_shifted_ba(iteration, side * iteration.limit.value)
        assert certificate.holds is (side < 1 and sharp > 0)
        spectral = torch.linalg.eigvals(torch.eye(5).double() - side * iteration.limit.value * B).abs().max()
        assert bool(spectral < 1) is certificate.holds
    inside = 0.9 * iteration.limit.value
    if sharp > 0:
        data = LeastSquares(operator, y, surrogate.A_adjoint, shift)
        run = solve(
            forward_backward(data, identity(), inside), torch.zeros(1, 5).double(), tolerance=1e-13, max_steps=50_000
        )
        assert torch.allclose(run.x[0], torch.linalg.solve(B, K @ y[0]), atol=1e-6)


def test_cocoercivity_is_sufficient_for_the_linear_iteration_and_sharp_for_a_normal_one():
    """2 eta <= min 2 Re(l)/|l|^2, with equality for a normal B."""
    for seed in range(20):
        random = draw(seed)
        A = random(7, 4)
        operator, surrogate = from_matrix(A), from_matrix(A + 0.1 * random(7, 4))
        pair, iteration = mismatch_of(operator, surrogate), linear_iteration_of(operator, surrogate)
        assert 2 * pair.cocoercivity.value <= iteration.limit.value * (1 + 1e-9)
    turn = torch.tensor([[1.0, -0.5], [0.5, 1.0]], dtype=torch.float64)  # normal, eigenvalues 1 +- i/2
    operator, surrogate = from_matrix(torch.eye(2, dtype=torch.float64)), from_matrix(turn.T)
    assert 2 * mismatch_of(operator, surrogate).cocoercivity.value == pytest.approx(1.6)
    assert linear_iteration_of(operator, surrogate).limit.value == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("A", "K"),
    [
        ([[0.0, 1.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]),  # K A is nilpotent: zero is not semisimple
        ([[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]),  # so it is here, though K maps into its range
        ([[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]),  # K brings in what A never sees
    ],
)
def test_the_eigenvalues_alone_do_not_make_the_linear_iteration_converge(A, K):
    """Every nonzero eigenvalue fits, and the iterates grow without end: the two conditions besides are needed."""
    A, K = torch.tensor(A, dtype=torch.float64), torch.tensor(K, dtype=torch.float64)
    operator, surrogate = from_matrix(A), from_matrix(K.T)
    certificate = certify_shifted_ba(linear_iteration_of(operator, surrogate), 0.5)
    assert certificate.missing == ("a solution exists",)
    data = LeastSquares(operator, torch.ones(1, 2).double(), surrogate.A_adjoint)
    run = solve(forward_backward(data, identity(), 0.5), torch.zeros(1, 2).double(), tolerance=0, max_steps=2000)
    assert run.x.norm() > 500


def test_a_null_space_that_k_spares_is_no_obstacle_but_a_matter_of_rounding():
    A = draw(0)(3, 6)
    operator = from_matrix(A)
    iteration = linear_iteration_of(operator, operator)
    certificate = certify_shifted_ba(iteration, 0.9 * iteration.limit.value)
    assert certificate.holds
    assert certificate.evidence is Evidence.MEASURED
    assert iteration.limit.value == pytest.approx(2 / torch.linalg.matrix_norm(A, 2).item() ** 2, rel=1e-9)
