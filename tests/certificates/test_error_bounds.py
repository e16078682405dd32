"""The a-posteriori bounds: never violated, equal to their formula at the limit, and not absurdly loose."""

import dataclasses
import math

import pytest
import torch
from problems import draw, saddle, uniform
from rounding import never_rises

from recon.certificates import limit_error_bound, mismatch_error_bound, primal_dual_error_bound
from recon.certificates.error_bounds import ErrorBound
from recon.errors import UsageError
from recon.evidence import Assumed, Evidence, Measured, Proved
from recon.operators import LeastSquares, OperatorProperties, from_matrix
from recon.priors import Resolvent, ResolventProperties, box, identity, soft_threshold, tikhonov
from recon.solvers import forward_backward, solve


def contraction(random, size, q):
    """J = (Id + Q)/2 with Q a nonlinear, unsymmetric map of Lipschitz constant q: the resolvent of no subgradient."""
    first, second = (torch.linalg.qr(random(size, size)).Q for _ in range(2))
    offset = random(size)

    def resolvent(x):
        return (x + q * torch.tanh(x @ first + offset).add(x @ first) @ second / 2) / 2

    return Resolvent(resolvent, ResolventProperties(lipschitz_Q=Proved(q, "orthogonal, tanh, orthogonal")), "planted")


def limit(step, start, distance=1e-13, budget=60):
    """The fixed point of a contraction, if it is reached in some thousand steps."""
    x = start
    for _ in range(budget):
        for _ in range(30):
            x = step(x)
        following = step(x)
        if bool((following - x).norm() <= distance * (1 + x.norm())):
            return following
    return None


def pairs():
    """Random problems: over- and underdetermined, any mismatch, contractive and merely monotone priors, any step."""
    for seed in range(210):
        random = draw(seed)
        rows, columns = 3 + seed % 7, 3 + (seed // 7) % 5
        A, y = random(rows, columns), random(2, rows) * 3
        size = torch.linalg.matrix_norm(A, 2).item()
        K = A.T + uniform(random, 1e-3, 1) * size * random(columns, rows) / math.sqrt(rows)
        stepsize = uniform(random, 0.02, 1.9) / size**2
        if seed % 3 == 0 and rows > columns:
            prior = (soft_threshold(0.1), box(-0.5, 1.0), identity())[seed % 9 // 3]
        else:
            prior = contraction(random, columns, 1 - uniform(random, 0.02, 0.9))
        yield random, from_matrix(A), K, y, stepsize, prior


@pytest.mark.slow
def test_the_bound_is_never_violated_at_the_limit_or_before_it():
    checked, ratios = 0, []
    for random, operator, K, y, stepsize, prior in pairs():
        shift = 0.02 / stepsize if random(1) > 0 else 0.0
        exact = LeastSquares(operator, y)
        start = torch.zeros(2, operator.entries.shape[1], dtype=torch.float64)
        matched = limit(lambda x: prior(x - stepsize * exact(x)), start)  # noqa: B023
        if matched is None:
            continue
        data = LeastSquares(operator, y, lambda r: r @ K.T, shift)  # noqa: B023
        mismatched = limit(lambda x: prior(x - stepsize * data(x)), start)  # noqa: B023
        images = [start, matched, matched + 1e-3 * random(*start.shape), random(*start.shape)]
        images += [] if mismatched is None or not mismatched.isfinite().all() else [mismatched]
        for image in images:
            bounds = mismatch_error_bound(data, prior, image, stepsize)
            for item, bound in enumerate(bounds):
                truth = (image[item] - matched[item]).norm().item()
                assert truth <= bound.value * (1 + 1e-9) + 1e-11
                checked += 1
                if image is mismatched and math.isfinite(bound.value) and truth > 1e-9:
                    ratios.append(bound.value / truth)
    assert checked > 1500
    assert len(ratios) > 200
    assert sorted(ratios)[len(ratios) // 2] < 8


def problem(seed=3, q=0.8, shift=0.0, surrogate=True):
    random = draw(seed)
    A, y = random(8, 5), random(1, 8)
    K = A.T + 0.1 * random(5, 8)
    prior, stepsize = contraction(random, 5, q), 1.5 / torch.linalg.matrix_norm(A, 2).item() ** 2
    data = LeastSquares(from_matrix(A), y, (lambda r: r @ K.T) if surrogate else None, shift)
    return A, K, y, prior, stepsize, data


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_at_the_fixed_point_it_is_at_most_the_formula(shift):
    A, K, y, prior, stepsize, data = problem(shift=shift)
    x = limit(lambda x: prior(x - stepsize * data(x)), torch.zeros(1, 5, dtype=torch.float64))
    m, least = (1 - 0.8) / (1 + 0.8), torch.linalg.svdvals(A)[-1].item() ** 2
    force = (x @ A.T - y) @ (K - A.T).T + shift * x
    formula = force.norm().item() / (least + m / stepsize)
    (bound,) = mismatch_error_bound(data, prior, x, stepsize)
    assert bound.value <= formula * (1 + 1e-6)
    assert bound.value > 0.3 * formula
    assert bound.evidence is Evidence.PROVED
    assert bound.relative == pytest.approx(bound.value / x.norm().item())


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_with_a_long_step_it_is_the_formula(shift):
    """Beyond 2/||A||^2 the surrogate's own step gives the smaller bound; the fixed point is had by linear algebra."""
    A, K, y, _, _, _ = problem()
    stepsize, weight = 20 / torch.linalg.matrix_norm(A, 2).item() ** 2, 0.4
    system = K @ A + (shift + weight / stepsize) * torch.eye(5).double()
    x = torch.linalg.solve(system, (y @ K.T)[0])[None]
    data = LeastSquares(from_matrix(A), y, lambda r: r @ K.T, shift)
    least = torch.linalg.svdvals(A)[-1].item() ** 2
    formula = ((x @ A.T - y) @ (K - A.T).T + shift * x).norm().item() / (least + weight / stepsize)
    assert mismatch_error_bound(data, tikhonov(weight), x, stepsize)[0].value == pytest.approx(formula, rel=1e-9)


def test_it_shrinks_as_the_run_goes_on_and_ends_at_zero_without_a_surrogate():
    *_, prior, stepsize, data = problem(surrogate=False)
    algorithm = forward_backward(data, prior, stepsize)
    values = []
    for steps in (1, 4, 16, 200):
        run = solve(algorithm, torch.zeros(1, 5, dtype=torch.float64), tolerance=0, max_steps=steps)
        values.append(mismatch_error_bound(data, prior, run.x, stepsize)[0].value)
    assert never_rises(values)
    assert values[-1] < 1e-10


@pytest.mark.parametrize("surrogate", [True, False])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_distance_to_the_own_limit_is_bounded_at_every_step(surrogate, shift):
    """The theorem against the limit, by any step size of the resolvent, and the formula for a step of the method."""
    A, K, _, prior, stepsize, data = problem(shift=shift, surrogate=surrogate)
    back = K if surrogate else A.T
    B = back @ A + shift * torch.eye(5).double()
    monotone = Proved(torch.linalg.eigvalsh((B + B.T) / 2)[0].item(), "by linear algebra")
    m = (1 - 0.8) / (1 + 0.8)
    strong = monotone.value + m / stepsize
    end = limit(lambda x: prior(x - stepsize * data(x)), torch.zeros(1, 5, dtype=torch.float64))
    x = torch.zeros(1, 5, dtype=torch.float64)
    assert strong > 0
    for _ in range(30):
        (bound,) = limit_error_bound(data, prior, x, stepsize, monotone)
        following = prior(x - stepsize * data(x))
        formula = (1 + (1 / stepsize + torch.linalg.matrix_norm(B, 2).item()) / strong) * (following - x).norm().item()
        assert (x - end).norm().item() <= bound.value * (1 + 1e-9) + 1e-12
        assert bound.value <= formula * (1 + 1e-6) + 1e-9
        assert bound.evidence is Evidence.PROVED
        x = following


def test_without_strong_monotonicity_nothing_bounds_the_distance_to_the_limit():
    *_, data = problem()
    (bound,) = limit_error_bound(data, box(0.0, 1.0), torch.zeros(1, 5).double(), 0.1, Proved(0.0, "singular"))
    assert bound.value == math.inf
    assert "strongly monotone" in bound.how


def test_single_precision_allows_for_its_rounding():
    *_, prior, stepsize, data = problem(q=0.99)
    matched = limit(
        lambda x: prior(x - stepsize * LeastSquares(data.operator, data.measurement)(x)),
        torch.zeros(1, 5, dtype=torch.float64),
    )
    single = LeastSquares(data.operator, data.measurement.float())
    prior32 = dataclasses.replace(prior, apply=lambda x: prior(x.double()).float())
    x = matched.float()
    (bound,) = mismatch_error_bound(single, prior32, x, stepsize)
    assert (x - matched).norm().item() <= bound.value < 1e-2


def test_an_inexact_resolvent_costs_what_it_may_be_wrong_by():
    *_, prior, stepsize, data = problem()
    start = torch.zeros(1, 5, dtype=torch.float64)
    matched = limit(lambda x: prior(x - stepsize * LeastSquares(data.operator, data.measurement)(x)), start)
    direction = draw(1)(5)
    error = 1e-2
    wrong = Resolvent(
        lambda x: prior(x) + error * x.norm(dim=1, keepdim=True) * direction / direction.norm(),
        dataclasses.replace(prior.properties, error=Proved(error, "planted")),
        "wrong by one percent",
    )
    x = limit(lambda x: wrong(x - stepsize * data(x)), start)
    (bound,) = mismatch_error_bound(data, wrong, x, stepsize)
    (denied,) = mismatch_error_bound(data, dataclasses.replace(wrong, properties=prior.properties), x, stepsize)
    assert (x - matched).norm().item() <= bound.value
    assert denied.value < bound.value


@pytest.mark.parametrize("kind", [Measured, Assumed])
def test_the_weakest_premise_is_the_evidence(kind):
    *_, prior, stepsize, data = problem()
    known = dataclasses.replace(prior.properties, lipschitz_Q=kind(0.8, "somebody"))
    (bound,) = mismatch_error_bound(
        data, dataclasses.replace(prior, properties=known), data.measurement[:, :5], stepsize
    )
    assert bound.evidence is kind.evidence


WIDE = LeastSquares(from_matrix(torch.ones(2, 5, dtype=torch.float64)), torch.ones(1, 2, dtype=torch.float64))
NO_ADJOINT = OperatorProperties(norm=Proved(1.0, ""), adjoint_gap=Measured(0.1, "Lanczos"), gram_min=Proved(1.0, ""))


@pytest.mark.parametrize(
    ("prior", "properties", "reason"),
    [
        (identity(), None, "strongly monotone"),
        (Resolvent(lambda x: x, ResolventProperties(Measured(1.1, "an attack")), "net"), None, "firmly nonexpansive"),
        (tikhonov(1.0), NO_ADJOINT, "the adjoint is not exact"),
    ],
)
def test_where_nothing_can_be_said_the_bound_is_infinite_and_says_why(prior, properties, reason):
    (bound,) = mismatch_error_bound(WIDE, prior, torch.ones(1, 5, dtype=torch.float64), 0.1, properties)
    assert bound.value == bound.relative == math.inf
    assert reason in bound.how


def test_an_image_that_is_not_finite_has_no_bound_and_spoils_no_other():
    images = torch.ones(2, 5, dtype=torch.float64)
    images[0, 1] = torch.nan
    data = LeastSquares(WIDE.operator, torch.ones(2, 2, dtype=torch.float64))
    bad, good = mismatch_error_bound(data, tikhonov(1.0), images, 0.1)
    assert bad.value == math.inf
    assert "not finite" in bad.how
    assert math.isfinite(good.value)
    assert "%" in str(good)


@pytest.mark.parametrize("stepsize", [0.0, -1.0, math.nan, math.inf])
def test_a_step_size_that_is_none_is_refused(stepsize):
    with pytest.raises(UsageError, match="that of the run"):
        mismatch_error_bound(WIDE, tikhonov(1.0), torch.ones(1, 5, dtype=torch.float64), stepsize)


def test_the_primal_dual_bound_is_never_violated_and_is_the_formula_at_the_fixed_point():
    strengths = Proved(0.7, "diagonal"), Proved(0.4, "diagonal")
    checked = 0
    for seed in range(200):
        case, random = saddle(seed, 0.7, 0.4), draw(seed)
        (matched, _), (x, u) = case.solution(case.A), case.solution(case.V)
        formula = (u @ (case.A - case.V)).norm().item() / 0.7
        for amount in (0, 1e-3, 1.0):
            image, dual = x + amount * random(1, 3), u + amount * random(1, 4)
            (bound,) = primal_dual_error_bound(
                case.gradient, case.resolvent, from_matrix(case.A), case.dual_resolvent, case.back, image, dual,
                case.s, case.t, strengths,
            )  # fmt: skip
            assert (image - matched).norm().item() <= bound.value * (1 + 1e-9)
            assert amount or bound.value == pytest.approx(formula, rel=1e-6)
            checked += 1
    assert checked == 600


def test_the_primal_dual_bound_takes_its_strengths_from_the_resolvents():
    """For tikhonov(w) = the resolvent of s g Id the strength is w / s, if w <= 1."""
    A = draw(0)(4, 3)

    def bound(strengths, w=0.5):
        return primal_dual_error_bound(
            None, tikhonov(w), from_matrix(A), tikhonov(w), lambda u: u @ (A + 0.1), torch.ones(1, 3).double(),
            torch.ones(1, 4).double(), 0.2, 0.4, strengths,
        )[0]  # fmt: skip

    known = bound((Proved(0.5 / 0.2, ""), Proved(0.5 / 0.4, "")))
    assert bound(None).value == pytest.approx(known.value)
    assert bound(None, w=0.0).value == math.inf


def test_a_bound_larger_than_the_image_says_that_it_is_no_help():
    useless = ErrorBound(4.7e20, 5e20, Evidence.MEASURED, "the formula")
    assert str(useless) == "at most 4.7e+20, more than the image itself: no help (measured: the formula)"
    assert str(ErrorBound(0.1, 0.02, Evidence.PROVED, "it")) == "at most 0.1, 2 % (proved: it)"
