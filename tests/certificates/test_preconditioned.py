"""Forward-backward with diagonal weights: SIRT and what fits its metric."""

import dataclasses
import math

import torch
from problems import draw

from recon.certificates import certify_preconditioned_forward_backward
from recon.evidence import Assumed, Evidence, Proved
from recon.operators import (
    PreconditionedLeastSquares,
    Weights,
    from_matrix,
    mismatch_of,
    sirt_weights,
    to_matrix,
    weighted,
)
from recon.operators.base import Buffer
from recon.priors import box, identity, soft_threshold, tikhonov
from recon.solvers import forward_backward, solve


def nonnegative(seed=0, rows=9, columns=6):
    A = draw(seed)(rows, columns).clamp(min=0)
    A[:, 2] = 0  # a pixel that no ray meets
    A[4] = 0  # a ray that meets no pixel
    return from_matrix(A)


def test_the_relaxation_of_sirt_is_proved_below_two_and_sharp():
    operator = nonnegative()
    weights = sirt_weights(operator)
    known = operator.properties
    start = draw(1)(1, 6)
    data = PreconditionedLeastSquares(operator, torch.zeros(1, 9).double(), weights)
    for side, converges in ((0.99, True), (1.01, False)):
        for prior in (identity(), box(-math.inf, math.inf)):
            certificate = certify_preconditioned_forward_backward(known, weights, prior.properties, 2 * side)
            assert certificate.holds is converges
            assert certificate.evidence is Evidence.PROVED
            run = solve(forward_backward(data, prior, 2 * side), start, tolerance=1e-11, max_steps=50_000)
            assert run.converged is converges


def test_a_prior_that_does_not_fit_the_metric_is_refused_by_name():
    operator = nonnegative()
    weights, known = sirt_weights(operator), operator.properties
    assert certify_preconditioned_forward_backward(known, weights, box().properties, 1.0).holds
    for prior in (tikhonov(0.1), soft_threshold(0.1)):
        certificate = certify_preconditioned_forward_backward(known, weights, prior.properties, 1.0)
        assert certificate.missing == ("the prior fits the metric of D",)
        assert any("Euclidean" in condition.how for condition in certificate.conditions)
    uniform = Weights(Buffer(torch.full((6,), 0.3).double()), weights.data, Proved(0.5, "planted"))
    assert certify_preconditioned_forward_backward(known, uniform, soft_threshold(0.1).properties, 1.0).holds


def test_an_unsymmetric_resolvent_in_the_wrong_metric_can_diverge():
    """What the refusal is for: J is firmly nonexpansive, 0 < s < 2, and the iteration with D diverges."""
    found = 0
    for seed in range(400):
        random = draw(seed)
        D = torch.diag(torch.tensor([1.0, 0.02], dtype=torch.float64))
        Q = torch.linalg.qr(random(2, 2)).Q
        J = (torch.eye(2).double() + Q) / 2
        c = random(1, 2)
        C = D.sqrt() @ c.T @ c @ D.sqrt()
        step = 1.9 / torch.linalg.matrix_norm(C, 2)
        found += bool(torch.linalg.eigvals(J @ (torch.eye(2).double() - step * D @ c.T @ c)).abs().max() > 1.0001)
    assert found > 0


def test_a_mismatched_pair_in_the_metric_of_the_weights_has_its_cocoercivity():
    """D^1/2 K R A D^1/2 is what the plain theory takes."""
    random = draw(3)
    A = random(9, 5).abs()
    operator, surrogate = from_matrix(A), from_matrix(A + 0.1 * random(9, 5).abs())
    weights = sirt_weights(operator)
    example = torch.zeros(1, 5).double()
    pair = mismatch_of(*(to_matrix(weighted(each, weights), example) for each in (operator, surrogate)))
    limit = 2 * pair.cocoercivity.value
    assert limit > 0
    y = random(1, 9)
    data = PreconditionedLeastSquares(operator, y, weights, surrogate.A_adjoint)
    run = solve(forward_backward(data, box(0, 1), 0.99 * limit), example, tolerance=1e-12, max_steps=50_000)
    assert run.converged


def test_assumed_weights_are_not_proved():
    operator = nonnegative()
    weights = dataclasses.replace(sirt_weights(operator), norm=Assumed(1.0, "somebody"))
    certificate = certify_preconditioned_forward_backward(operator.properties, weights, box().properties, 1.0)
    assert certificate.holds
    assert certificate.evidence is Evidence.ASSUMED
