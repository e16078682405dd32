"""A certificate is of the algorithm that runs: of its maps, its step sizes and its relaxation."""

from dataclasses import replace

import pytest
import torch
from cases import random_psf

from recon import solvers
from recon.certificates import certify_forward_backward
from recon.errors import GuaranteeError, UsageError
from recon.evidence import Evidence
from recon.operators import Blur, LeastSquares, operator_properties
from recon.priors import box, l1_prior, l1_term, soft_threshold, tikhonov, total_variation_prior
from recon.solvers import Status, certify, solve

Y = torch.rand(1, 1, 8, 9, generator=torch.Generator().manual_seed(6)).double()
START = torch.zeros_like(Y)
BLUR = Blur(random_psf(3, 3), (8, 9))
LIMIT = 1 / BLUR.properties.norm.value**2
DATA = LeastSquares(BLUR, Y)


def primal_dual(s: float, r: float):
    split = total_variation_prior(0.1).split
    return solvers.condat_vu(DATA, box(0, 1), split.operator, split.conjugate_resolvent(0.05), s, 0.05, r)


ALGORITHMS = {
    "forward_backward": (lambda s, r: solvers.forward_backward(DATA, soft_threshold(0.1), s, r), 2),
    "tseng": (lambda s, r: solvers.tseng(DATA, soft_threshold(0.1), s), 1),
    "fista": (lambda s, r: solvers.fista(DATA, soft_threshold(0.1), s), 1),
    "oracle_ista": (lambda s, r: solvers.oracle_ista(DATA, l1_term(0.1), s), 1),
    "learned_ista": (lambda s, r: solvers.learned_ista(DATA, l1_prior(0.1), (1.5,), s), 1),
    "davis_yin": (lambda s, r: solvers.davis_yin(DATA, soft_threshold(0.1), box(0, 1), s, r), 2),
    "condat_vu": (primal_dual, 2),
}
"""From a step size and a relaxation to an algorithm, and how far its steps may go, in units of 1/||A||^2."""


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_certificate_changes_with_the_step_size(name):
    make, most = ALGORITHMS[name]
    conditions = {condition.name: condition for condition in certify(make(0.4 * most * LIMIT, 1.0)).conditions}
    beyond = {condition.name: condition for condition in certify(make(1.1 * most * LIMIT, 1.0)).conditions}
    failing = {key for key, condition in beyond.items() if not condition.holds and conditions[key].holds}
    assert failing


@pytest.mark.parametrize("name", sorted(ALGORITHMS.keys() - {"tseng", "fista", "oracle_ista", "learned_ista"}))
def test_the_certificate_changes_with_the_relaxation(name):
    make, most = ALGORITHMS[name]
    assert len(certify(make(0.9 * most * LIMIT, 1.9)).missing) > len(certify(make(0.4 * most * LIMIT, 1.0)).missing)


@pytest.mark.parametrize("name", sorted(ALGORITHMS.keys() - {"condat_vu"}))
def test_what_ran_carries_its_own_certificate(name):
    """Of Condat-Vu the maps alone do not say that a solution exists."""
    make, most = ALGORITHMS[name]
    run = solve(make(0.4 * most * LIMIT, 1.0), START, max_steps=20)
    assert run.certificate == certify(run.algorithm)
    assert run.certificate.holds
    assert run.certificate.evidence is Evidence.PROVED


def test_a_diverged_run_is_never_proved():
    run = solve(solvers.forward_backward(DATA, soft_threshold(0.001), 4 * LIMIT), START, max_steps=500)
    assert run.status == (Status.DIVERGED,)
    assert not run.certificate.holds


def test_the_certificate_is_that_of_the_theorem():
    found = certify(solvers.forward_backward(DATA, tikhonov(0.5), LIMIT, 1.2))
    known = operator_properties(BLUR, START)
    assert found == certify_forward_backward(known, tikhonov(0.5).properties, LIMIT, 1.2)


def test_nothing_is_said_of_a_map_that_nothing_is_known_of():
    run = solve(solvers.forward_backward(lambda x: x - Y, box(0, 1), 0.5), START)
    assert not run.certificate.holds
    assert not run.certificate.has_solution
    assert "no LeastSquares" in str(run.certificate)


def test_a_method_without_a_theorem_says_so():
    run = solve(solvers.cgls(BLUR, Y), START, max_steps=3)
    assert not run.certificate.holds
    assert "CGLS" in str(run.certificate)


def test_a_surrogate_gets_the_theorem_of_its_pair():
    wider = Blur(random_psf(3, 3, seed=1), (8, 9))
    data = LeastSquares(BLUR, Y, surrogate=wider.A_adjoint)
    certificate = certify(solvers.forward_backward(data, tikhonov(1.0), 0.1))
    assert "Chouzenoux" in certificate.theorem


class Counted:
    """Somebody else's operator, which knows nothing of itself."""

    def __init__(self, factor: float) -> None:
        self.factor, self.calls = factor, 0

    def A(self, x):
        self.calls += 1
        return BLUR.A(x)

    def A_adjoint(self, y):
        return self.factor * BLUR.A_adjoint(y)


def test_the_adjoint_of_an_operator_that_is_not_ours_is_checked_once():
    operator = Counted(1.0)
    algorithm = solvers.forward_backward(LeastSquares(operator, Y), box(0, 1), LIMIT)
    counts = []
    for _ in range(2):
        solve(algorithm, START, max_steps=5, tolerance=0, scale=1.0)
        counts.append(operator.calls)
    assert counts[1] - counts[0] <= 6
    assert counts[0] > 12


def test_a_wrong_adjoint_is_refused_before_the_first_step():
    wrong = Counted(1.1)
    with pytest.raises(GuaranteeError, match="10 %"):
        solve(solvers.forward_backward(LeastSquares(wrong, Y), box(0, 1), LIMIT), START)
    split = total_variation_prior(0.1).split
    primal = solvers.condat_vu(None, box(0, 1), wrong, split.conjugate_resolvent(0.05), 0.5, 0.5)
    with pytest.raises(GuaranteeError, match="10 %"):
        solve(primal, START)


@pytest.mark.parametrize("shape", [(8, 9), (1, 8, 9), (4, 8, 9)])
def test_a_missing_batch_or_channel_axis_is_refused(shape):
    with pytest.raises(UsageError, match="expected \\(batch, channels, 8, 9\\)"):
        LeastSquares(BLUR, torch.zeros(shape).double())
    algorithm = solvers.forward_backward(DATA, box(0, 1), LIMIT)
    with pytest.raises(UsageError, match="expected \\(batch, channels, height, width\\)"):
        solve(algorithm, torch.zeros(shape).double())


# Found by an attack: certificates of what did not run.


def test_an_algorithm_that_was_changed_has_no_certificate():
    algorithm = solvers.forward_backward(DATA, box(0, 1), LIMIT)
    changed = replace(algorithm, step=lambda state: state._replace(x=3 * state.x + 1))
    assert certify(algorithm).holds
    assert not certify(changed).holds
    assert not solve(changed, START, max_steps=400).certificate.holds


def test_a_data_term_that_does_something_else_has_no_certificate():
    class Odd(LeastSquares):
        def __call__(self, x):
            return -3 * x

    assert not certify(solvers.forward_backward(Odd(BLUR, Y), box(0, 1), LIMIT)).holds
    resolvent = DATA.resolvent(1.0)
    assert certify(solvers.douglas_rachford(resolvent, tikhonov(0.1))).holds
    other = replace(resolvent, apply=lambda z: -3 * z)
    assert not certify(solvers.douglas_rachford(other, tikhonov(0.1))).holds


def test_a_step_size_that_can_be_written_to_is_refused():
    step = torch.tensor(LIMIT)
    with pytest.raises(UsageError, match="stepsize"):
        solvers.forward_backward(DATA, box(0, 1), step)
    with pytest.raises(UsageError, match="relaxation"):
        solvers.forward_backward(DATA, box(0, 1), LIMIT, torch.tensor(1.0))


def test_a_resolvent_of_no_step_is_refused():
    with pytest.raises(UsageError, match="expected a positive finite number"):
        DATA.resolvent(0.0)


def test_a_state_of_another_algorithm_is_refused():
    run = solve(solvers.forward_backward(DATA, box(0, 1), LIMIT), START, max_steps=3)
    with pytest.raises(UsageError, match="state is of another algorithm than FISTA"):
        solve(solvers.fista(DATA, box(0, 1), LIMIT), state=run.state)
