"""Resolvents side by side, and the constrained problem that they are for."""

import pytest
import torch

from recon.certificates import certify_condat_vu
from recon.errors import UsageError
from recon.evidence import Assumed, Evidence, Fact, Measured
from recon.operators import Blur, box_psf, stack
from recon.priors import (
    FiniteDifferences,
    Resolvent,
    ResolventProperties,
    box,
    conjugate,
    l2_ball,
    separable,
    soft_threshold,
    total_variation_split,
    total_variation_value,
)
from recon.solvers import condat_vu, solve

SHAPE = (20, 16)
BLUR = Blur(box_psf(3), SHAPE)
DIFFERENCES = FiniteDifferences(SHAPE)
STACK = stack(BLUR, DIFFERENCES)


def test_each_part_meets_its_own_resolvent():
    x = torch.randn(2, 1, *SHAPE, dtype=torch.float64)
    y = STACK.A(x)
    joined = separable(STACK, soft_threshold(0.3), box(-0.1, 0.1))(y)
    first, second = STACK.split(joined)
    assert torch.equal(first, soft_threshold(0.3)(BLUR.A(x)))
    assert torch.equal(second, box(-0.1, 0.1)(DIFFERENCES.A(x)))


def test_the_weakest_part_speaks_for_all():
    proved = soft_threshold(0.3)
    measured = Resolvent(lambda x: x, ResolventProperties(Measured(1.1, "attack"), error=Assumed(0.2, "told")), "net")
    known = separable(STACK, proved, measured).properties
    assert (known.lipschitz_Q.value, known.lipschitz_Q.evidence) == (1.1, Evidence.MEASURED)
    assert (known.error.value, known.error.evidence) == (0.2, Evidence.ASSUMED)
    assert known.proximity is None
    assert separable(STACK, proved, proved).properties.proximity.evidence is Evidence.PROVED


def test_total_variation_under_a_bound_on_the_residual():
    """min TV(x) with ||Hx - y|| <= radius and 0 <= x <= 1: feasible, on the bound, and no rougher than the truth."""
    truth = torch.zeros(1, 1, *SHAPE, dtype=torch.float64)
    truth[..., 5:14, 4:12] = 0.8
    y = BLUR.A(truth) + 0.02 * torch.randn(truth.shape, dtype=torch.float64)
    radius = (BLUR.A(truth) - y).norm().item()
    stepsize = 1e-3  # the dual variable is hundreds of times the image: equal steps take ten times as long
    dual_stepsize = 0.99 / (stepsize * STACK.properties.norm.value**2)
    dual = separable(
        STACK,
        conjugate(l2_ball(y, radius), dual_stepsize),
        total_variation_split(1.0, image_shape=SHAPE).conjugate_resolvent(dual_stepsize),
    )
    positive = box(0, 1)
    feasible = Fact(Evidence.ASSUMED, "the truth satisfies both constraints")
    certificate = certify_condat_vu(
        None, positive.properties, STACK.properties, dual.properties, stepsize, dual_stepsize, 1.8, attains=feasible
    )
    assert certificate.holds, str(certificate)
    assert certificate.evidence is Evidence.ASSUMED
    run = solve(
        condat_vu(None, positive, STACK, dual, stepsize, dual_stepsize, 1.8), y, tolerance=1e-6, max_steps=10_000
    )
    assert run.converged
    assert (BLUR.A(run.x) - y).norm().item() == pytest.approx(radius, rel=1e-3)
    assert total_variation_value(run.x) <= 1.001 * total_variation_value(truth)
    assert (run.x - truth).norm() < 0.5 * (y - truth).norm()


def test_a_wrong_number_of_resolvents_is_refused():
    with pytest.raises(UsageError, match="1 resolvents for 2 parts"):
        separable(STACK, box(0, 1))(STACK.A(torch.zeros(1, 1, *SHAPE)))
    with pytest.raises(UsageError, match="there is no resolvent"):
        separable(STACK)
