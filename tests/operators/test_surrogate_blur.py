"""The worked example of a declared surrogate: a 5 x 5 box forward, a wider box back."""

import pytest
import torch

from recon.certificates import certify_mismatched_forward_backward
from recon.evidence import Evidence
from recon.operators import Blur, LeastSquares, adjoint_gap, box_psf, mismatch_of, shift_for
from recon.priors import box, resolvent_properties
from recon.solvers import Status, forward_backward, solve

SHAPE = (40, 36)
FORWARD, BACK = Blur(box_psf(5), SHAPE), Blur(box_psf(9), SHAPE)
POSITIVE = box(0.0, 1.0)


@pytest.fixture
def measurement():
    image = torch.zeros(1, 1, *SHAPE, dtype=torch.float64)
    image[..., 10:25, 8:30] = 1
    return FORWARD.A(image)


def test_the_symbols_give_the_gap_that_lanczos_finds():
    example = torch.zeros(1, 1, *SHAPE, dtype=torch.float64)
    exact = mismatch_of(FORWARD, BACK)
    measured = adjoint_gap(FORWARD, example, surrogate=BACK.A_adjoint)
    assert measured.value == pytest.approx(exact.adjoint_gap.value, rel=1e-2)
    assert exact.adjoint_gap.value > 0.5


def test_without_a_remedy_there_is_no_guarantee():
    bare = mismatch_of(FORWARD, BACK)
    certificate = certify_mismatched_forward_backward(bare, resolvent_properties(POSITIVE), 1.9)
    assert not certificate.holds
    assert any("cocoercive" in name for name in certificate.missing)


def test_without_a_remedy_it_diverges(measurement):
    naive = forward_backward(LeastSquares(FORWARD, measurement, BACK.A_adjoint), lambda x: x, 1.9)
    assert solve(naive, torch.zeros_like(measurement), tolerance=1e-9, max_steps=20_000).status == (Status.DIVERGED,)


def test_with_the_shift_it_is_proved_and_converges_to_a_zero_of_the_shifted_inclusion(measurement):
    shift = shift_for(mismatch_of(FORWARD, BACK))
    pair = mismatch_of(FORWARD, BACK, shift=shift)
    stepsize = 1.99 * pair.cocoercivity.value
    certificate = certify_mismatched_forward_backward(pair, resolvent_properties(POSITIVE), stepsize)
    assert certificate.holds, str(certificate)
    assert certificate.evidence is Evidence.PROVED
    data = LeastSquares(FORWARD, measurement, BACK.A_adjoint, shift)
    run = solve(
        forward_backward(data, POSITIVE, stepsize), torch.zeros_like(measurement), tolerance=1e-10, max_steps=50_000
    )
    assert run.converged
    # A zero of B + N_[0,1]: B x = 0 inside, >= 0 where x = 0, <= 0 where x = 1.
    force, x = data(run.x), run.x
    assert (force[(x > 0) & (x < 1)].abs() < 1e-6).all()
    assert (force[x == 0] > -1e-6).all()
    assert (force[x == 1] < 1e-6).all()


@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_the_interval_is_sharp(factor, measurement):
    pair = mismatch_of(FORWARD, BACK, shift=shift_for(mismatch_of(FORWARD, BACK)))
    data = LeastSquares(FORWARD, torch.zeros_like(measurement), BACK.A_adjoint, pair.shift)
    start = torch.randn(1, 1, *SHAPE, dtype=torch.float64)
    algorithm = forward_backward(data, lambda x: x, factor * 2 * pair.cocoercivity.value)
    run = solve(algorithm, start, tolerance=1e-8, max_steps=5000)
    assert (run.status == (Status.DIVERGED,)) is (factor > 1)
