"""Resolvents evaluated to a fixed accuracy: what is bounded is never exceeded, and an error stated too small shows."""

import dataclasses
import json
import math
from functools import cache

import pytest
import torch
from network_cases import SMALL_RIDGE, Case, network_of
from problems import draw, uniform

from recon.certificates import (
    backward_error,
    certify_backward_error,
    certify_fista,
    certify_forward_backward,
    certify_inexact_forward_backward,
    certify_tseng,
)
from recon.certificates.inexact import contraction_left
from recon.errors import UsageError
from recon.evidence import Assumed, Evidence, Fact, Measured, Proved
from recon.operators import Blur, LeastSquares, from_matrix, gaussian_psf
from recon.priors import Resolvent, box, identity, soft_threshold, tikhonov
from recon.priors.networks import learned_prior
from recon.solvers import forward_backward, solve

SHAPE = (9, 11)
BLUR = Blur(gaussian_psf(0.8), SHAPE)
COARSE = 0.02


def norm(x):
    return torch.linalg.vector_norm(x).item()


@cache
def potential():
    return network_of(Case("ridge", dataclasses.replace(SMALL_RIDGE, padding="circular")))


def learned(accuracy, stepsize):
    return learned_prior(potential(), accuracy=accuracy).resolvent(stepsize)


def learned_problems():
    """(data, step size, images): a potential under a blur, from far away to the end of a run of coarse steps."""
    for seed in range(8):
        random = draw(seed)
        stepsize = uniform(random, 0.1, 1.99)
        data = LeastSquares(BLUR, BLUR.A(random(1, 1, *SHAPE)) + 0.1 * random(1, 1, *SHAPE))
        step = forward_backward(data, learned(COARSE, stepsize), stepsize)
        ended = solve(step, torch.zeros(1, 1, *SHAPE).double(), tolerance=0, max_steps=60).x
        yield data, stepsize, (10 * random(1, 1, *SHAPE), random(1, 1, *SHAPE), ended, ended + 1e-3 * random(*SHAPE))


@pytest.mark.slow
def test_a_learned_potential_of_coarse_accuracy_is_within_its_backward_error():
    """The point p is had to 1e-11, and the force on it from the gradient of the potential."""
    ratios, checked, exceeded = [], 0, 0
    gradient = learned_prior(potential()).smooth.gradient
    for data, stepsize, images in learned_problems():
        for x in images:
            (found,) = backward_error(data, learned(COARSE, stepsize), x, stepsize)
            p = learned(1e-11, stepsize)(x - stepsize * data(x))
            force = norm(data(p) + gradient(p))
            assert norm(x - p) <= found.distance
            assert force <= found.perturbation * (1 + 1e-9)
            assert found.inner == pytest.approx(COARSE * norm(x - stepsize * data(x)))
            assert found.evidence is Evidence.PROVED
            (denied,) = backward_error(data, too_small(learned(COARSE, stepsize)), x, stepsize)
            exceeded += norm(x - p) > denied.distance
            ratios.append(found.distance / norm(x - p))
            checked += 1
    assert checked == 32
    assert min(ratios) < 1.1
    assert exceeded >= 4


def too_small(resolvent):
    """The resolvent with a twentieth of the error that it states."""
    known = resolvent.properties
    return dataclasses.replace(resolvent, properties=dataclasses.replace(known, error=Proved(COARSE / 20, "planted")))


def displaced(resolvent, error, direction, stated=None):
    """The resolvent, wrong by the relative error in a direction, and what it says of that."""
    direction = direction / norm(direction)
    return Resolvent(
        lambda v: resolvent(v) + error * v.flatten(1).norm(dim=1).view(-1, *[1] * (v.ndim - 1)) * direction,
        dataclasses.replace(resolvent.properties, error=Proved(error if stated is None else stated, "planted")),
        "displaced",
    )


def random_problems():
    """(data, step size, exact resolvent, error, direction): linear problems of every shape, steps of every length."""
    for seed in range(100):
        random = draw(seed)
        rows, columns = 3 + seed % 7, 3 + (seed // 7) % 5
        A = random(rows, columns)
        stepsize = uniform(random, 0.05, 6) / torch.linalg.matrix_norm(A, 2).item() ** 2
        prior = (soft_threshold(0.1), box(-0.5, 1.0), identity(), tikhonov(0.3))[seed % 4]
        data = LeastSquares(from_matrix(A), 3 * random(1, rows))
        yield random, data, stepsize, prior, uniform(random, 1e-4, 0.3), random(columns)


@pytest.mark.parametrize(("share", "violated"), [(1.0, False), (0.5, True)])
def test_no_backward_error_is_exceeded_unless_the_error_is_stated_too_small(share, violated):
    exceeded = 0
    for random, data, stepsize, prior, error, direction in random_problems():
        wrong = displaced(prior, error, direction, share * error)
        end = torch.zeros(1, len(direction), dtype=torch.float64)
        for _ in range(80):
            end = wrong(end - stepsize * data(end))
        for x in (random(1, len(direction)), end if norm(end) < 1e6 else torch.zeros_like(end)):
            (found,) = backward_error(data, wrong, x, stepsize)
            v = x - stepsize * data(x)
            p = prior(v)
            beyond = norm(x - p) > found.distance * (1 + 1e-12)
            exceeded += beyond or norm((v - p) / stepsize + data(p)) > found.perturbation * (1 + 1e-9)
    assert (exceeded > 20) == violated
    assert violated or exceeded == 0


@cache
def solved_problems():
    """Those of them that a few hundred exact steps solve, with the solution; inside the interval of step sizes."""
    found = []
    for random, data, stepsize, prior, error, _ in random_problems():
        size = torch.linalg.matrix_norm(data.operator.entries, 2).item()
        step = forward_backward(data, prior, min(stepsize, 1.9 / size**2))
        ended = solve(step, torch.zeros(1, data.operator.entries.shape[1]).double(), tolerance=1e-14, max_steps=300)
        if ended.history[-1].residuals[0] <= 1e-14:
            found.append((random, data, min(stepsize, 1.9 / size**2), prior, error, ended.x))
    return found


@pytest.mark.parametrize(("share", "violated"), [(1.0, False), (0.2, True)])
@pytest.mark.parametrize("relaxation", [1.0, 0.7])
def test_a_step_recedes_from_a_solution_by_no_more_than_its_error(share, violated, relaxation):
    """Along runs whose error points away from the solution."""
    exceeded, checked = 0, 0
    for random, data, stepsize, prior, error, solution in solved_problems():
        x = solution + random(*solution.shape)
        for _ in range(8):
            v = x - stepsize * data(x)
            away = displaced(prior, error, prior(v) - solution + 1e-9 * random(*v.shape))
            following = x + relaxation * (away(v) - x)
            exceeded += norm(following - solution) > norm(x - solution) + relaxation * share * error * norm(v) + 1e-9
            x, checked = following, checked + 1
    assert checked > 300
    assert (exceeded > 5) == violated
    assert violated or exceeded == 0


@pytest.mark.parametrize(("share", "violated"), [(1.0, False), (0.2, True)])
def test_a_contraction_ends_in_the_neighbourhood_that_it_says(share, violated):
    exceeded, checked = 0, 0
    for seed in range(45):
        random = draw(seed)
        matrix = torch.linalg.qr(random(6, 4)).Q @ torch.diag(0.5 + torch.rand(4, dtype=torch.float64) * 0.5)
        data, stepsize = LeastSquares(from_matrix(matrix), 3 * random(1, 6)), uniform(random, 0.3, 1.7)
        prior = (soft_threshold(0.1), tikhonov(0.3), box(-0.5, 1.0))[seed % 3]
        error, relaxation = uniform(random, 1e-3, 0.1), 0.8 + 0.3 * (seed % 2)
        wrong = displaced(prior, error, random(4), share * error)
        known = dataclasses.replace(
            data.operator.properties, gram_min=Proved(torch.linalg.svdvals(matrix)[-1].item() ** 2, "singular values")
        )
        left = contraction_left(known, wrong.properties, stepsize, relaxation)
        if left.value <= 0.02:
            continue
        certificate = certify_inexact_forward_backward(known, wrong.properties, stepsize, relaxation)
        assert "of the only solution" in certificate.conclusion
        start = torch.zeros(1, 4, dtype=torch.float64)
        solution, x = (
            solve(forward_backward(data, J, stepsize, relaxation), start, tolerance=1e-15, max_steps=1500).x
            for J in (prior, wrong)
        )
        reach = relaxation * share * error / left.value * norm(solution - stepsize * data(solution))
        exceeded += norm(x - solution) > reach * (1 + 1e-9) + 1e-9
        checked += 1
    assert checked > 20
    assert (exceeded > 5) == violated
    assert violated or exceeded == 0


@pytest.mark.parametrize("kind", [Proved, Measured, Assumed])
def test_the_weaker_theorem_stands_beside_the_one_that_fails(kind):
    exact = soft_threshold(0.1)
    inexact = dataclasses.replace(exact.properties, error=kind(1e-4, "an inner iteration"))
    for certify in (certify_forward_backward, certify_tseng, certify_fista):
        assert certify(BLUR.properties, exact.properties, 0.9).weaker is None
        certificate = certify(BLUR.properties, inexact, 0.9)
        assert not certificate.holds
        assert any("evaluated exactly" in name for name in certificate.missing)
        assert certificate.weaker.holds
        assert certificate.weaker.evidence is kind.evidence
        assert "e = 0.0001 its error" in str(certificate)
        assert f"weaker: {certificate.weaker.theorem}" in str(certificate)
        assert json.loads(json.dumps(certificate.to_json(), allow_nan=False))["weaker"]["holds"]


def test_the_weaker_theorem_may_fail_too():
    fact = Fact(Evidence.PROVED, "")
    for known in (Measured(1.1, "an attack"), Proved(1.0, "")):
        prior = dataclasses.replace(
            soft_threshold(0.1).properties, lipschitz_Q=known, error=Proved(1e-4, ""), proximity=fact
        )
        for stepsize in (0.9, 3.0):
            holds = known.value <= 1 and stepsize < 2
            assert certify_inexact_forward_backward(BLUR.properties, prior, stepsize).holds == holds
            assert certify_backward_error(BLUR.properties, prior, stepsize).holds == holds
            exact = certify_forward_backward(BLUR.properties, prior, stepsize)
            assert not exact.holds
            assert (exact.strongest is exact.weaker) == holds
            assert exact.sentence.startswith("Proved" if holds else "No guarantee")
            assert "Not established: " in exact.sentence
            assert "the prior is evaluated exactly, relative error: 0.0001, expected <= 0" in exact.sentence


def test_single_precision_allows_for_its_rounding():
    """An exact resolvent at its fixed point: what is left is the rounding of the figures themselves."""
    random = draw(5)
    data = LeastSquares(BLUR, BLUR.A(random(1, 1, *SHAPE)))
    x = random(1, 1, *SHAPE)
    for _ in range(3000):
        x = tikhonov(0.3)(x - data(x))
    single = LeastSquares(BLUR, data.measurement.float())
    (found,) = backward_error(single, tikhonov(0.3), x.float(), 1.0)
    rounded = x.float().double()
    exact = LeastSquares(BLUR, data.measurement.float().double())
    p = tikhonov(0.3)(rounded - exact(rounded))
    assert norm(rounded - p) <= found.distance < 1e-3
    assert found.inner == 0


def test_what_is_not_finite_and_what_is_refused_is_said():
    data = LeastSquares(BLUR, torch.ones(2, 1, *SHAPE))
    x = torch.ones(2, 1, *SHAPE)
    x[1] = torch.nan
    fine, broken = backward_error(data, soft_threshold(0.1), x, 1.0)
    assert math.isfinite(fine.distance)
    assert "not finite" in broken.how
    assert json.loads(json.dumps(broken.to_json(), allow_nan=False))["distance"] is None
    (*_, refused) = backward_error(data, Resolvent(lambda v: 3 * v, measured_expansion(), "a net"), x, 1.0)
    assert "not known to be firmly nonexpansive" in str(refused)
    with pytest.raises(UsageError, match="stepsize=0"):
        backward_error(data, soft_threshold(0.1), x, 0)
    with pytest.raises(UsageError, match=r"a shift of 0\.1; expected neither"):
        backward_error(dataclasses.replace(data, shift=0.1), soft_threshold(0.1), x, 1.0)


def measured_expansion():
    return dataclasses.replace(soft_threshold(0.1).properties, lipschitz_Q=Measured(5.0, "an attack"))
