"""The primal-dual splitting with a mismatched dual adjoint, against the matrices of its iterations."""

import dataclasses

import pytest
import torch
from problems import Saddle, draw, saddle

from recon.certificates import certify_mismatched_condat_vu
from recon.evidence import Evidence, Measured, Proved
from recon.operators import OperatorProperties, from_matrix
from recon.priors import ResolventProperties, tikhonov
from recon.solvers import condat_vu, solve

PRIMAL, DUAL = 1.5, 0.8
STRENGTHS = Proved(PRIMAL, "diagonal"), Proved(DUAL, "diagonal")
RESOLVENT = ResolventProperties(lipschitz_Q=Proved(1.0, "a resolvent"))


def properties(A, V=None):
    norm = torch.linalg.matrix_norm(A, 2).item()
    gap = 0.0 if V is None else torch.linalg.matrix_norm(V - A, 2).item() / norm
    return OperatorProperties(Proved(norm, "dense"), Proved(gap, "dense"))


def certify(case: Saddle, strengths=STRENGTHS):
    data = properties(case.H) if bool(case.H.any()) else None
    pair = properties(case.A, case.V)
    return certify_mismatched_condat_vu(data, RESOLVENT, pair, RESOLVENT, case.s, case.t, strengths)


def test_it_converges_at_least_as_fast_as_certified():
    certified = diverging = 0
    for seed in range(500):
        case = saddle(seed, PRIMAL, DUAL)
        certificate, radius = certify(case), case.spectral_radius()
        if certificate.holds:
            certified += 1
            assert certificate.evidence is Evidence.PROVED
            assert radius <= float(certificate.conclusion.split("factor ")[1].split()[0]) + 1e-5
        diverging += radius > 1
    assert certified > 100
    assert diverging > 10


@pytest.mark.parametrize(("side", "converges"), [(0.999, True), (1.001, False)])
def test_the_interval_of_the_steps_is_sharp(side, converges):
    """A = 1, V = 3 and g h only just above |A - V|^2 / 4 = 1: the largest mismatch that is allowed."""
    one = torch.ones(1, 1).double()
    strong = Proved(1 + 1e-6, "diagonal")
    case = Saddle(one, 3 * one, strong.value * one, strong.value * one, 0 * one, one[0], one[0], side, side)
    assert certify(case, (strong, strong)).holds is converges
    assert bool(case.spectral_radius() < 1) is converges


def test_the_smooth_term_takes_its_share_of_the_step():
    """Without strong monotonicity to speak of x+ = x - s H^T H x - ... diverges beyond s = 2/L."""
    one, small = torch.ones(1, 1).double(), Proved(1e-3, "diagonal")
    for side, converges in ((0.99, True), (1.01, False)):
        case = Saddle(1e-3 * one, 1e-3 * one, 1e-3 * one, 1e-3 * one, 2 * one, one[0], one[0], side * 0.5, 1e-3)
        assert certify(case, (small, small)).holds is converges
        assert bool(case.spectral_radius() < 1) is converges


def test_the_solver_takes_the_mismatched_adjoint_and_finds_the_zero_of_the_mismatched_inclusion():
    case = next(case for case in (saddle(seed, PRIMAL, DUAL) for seed in range(1, 300, 2)) if certify(case).holds)
    algorithm = condat_vu(
        case.gradient, case.resolvent, from_matrix(case.A), case.dual_resolvent, case.s, case.t, back=case.back
    )
    run = solve(algorithm, torch.zeros(1, 3).double(), tolerance=1e-13, max_steps=20_000)
    assert run.converged
    (x, u), (matched, _) = case.solution(case.V), case.solution(case.A)
    assert torch.allclose(run.x, x, atol=1e-9)
    assert torch.allclose(run.state.u, u, atol=1e-9)
    assert (run.x - matched).norm() > 1e-3


def one_dimensional(strong):
    """In one dimension the system ((g, v), (-a, h)) with v = -a is singular at g h = a^2 = |a - v|^2 / 4."""
    one = torch.ones(1, 1).double()
    case = Saddle(one, -one, one, one, 0 * one, one, one, 1e-3, 1e-3)
    return certify(case, (Proved(strong, ""), Proved(strong, "")))


def test_without_enough_strong_monotonicity_there_may_be_no_zero_and_none_is_claimed():
    assert one_dimensional(1.001).conditions[0].holds
    assert not one_dimensional(0.999).conditions[0].holds
    assert not one_dimensional(0.999).holds


def gentle(stepsize, dual_stepsize, strengths=STRENGTHS):
    A = draw(0)(4, 3)
    norm = torch.linalg.matrix_norm(A, 2).item()
    none = torch.zeros(1, 3).double()
    case = Saddle(A, 1.01 * A, none, none, none, none, none, stepsize / norm, dual_stepsize / norm)
    return certify(case, strengths)


def test_steps_that_are_too_long_and_priors_that_do_not_contract_are_refused():
    assert gentle(0.2, 0.2).holds
    assert not gentle(1.1, 1.1).holds
    assert not gentle(0.2, 0.2, None).holds
    assert not gentle(1e9, 0.2).holds
    assert not gentle(-1.0, 0.2).holds
    assert not gentle(0.2, -1.0).holds


def test_the_strengths_of_resolvents_that_contract_come_from_their_constants():
    A, quick = draw(0)(4, 3), tikhonov(0.5).properties
    norm = torch.linalg.matrix_norm(A, 2).item()

    def certify_with(pair, prior=quick):
        return certify_mismatched_condat_vu(None, prior, pair, quick, 0.2 / norm, 0.2 / norm)

    assert certify_with(properties(A, 1.01 * A)).evidence is Evidence.PROVED
    assert certify_with(properties(A, 1.01 * A)).holds
    measured = dataclasses.replace(properties(A), adjoint_gap=Measured(0.01, "Lanczos"))
    assert certify_with(measured).evidence is Evidence.MEASURED
    expansive = ResolventProperties(lipschitz_Q=Measured(1.02, "an attack"))
    assert not certify_with(properties(A, 1.01 * A), expansive).holds
    inexact = dataclasses.replace(quick, error=Proved(1e-4, "an inner iteration"))
    assert any("exactly" in name for name in certify_with(properties(A), inexact).missing)
