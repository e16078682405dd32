"""The algorithms: known answers, agreement, purity, resumption."""

from itertools import islice

import pytest
import torch

from recon.errors import UsageError
from recon.evidence import Evidence, Fact
from recon.operators import LeastSquares
from recon.priors import l1_prior, l1_term, proximity_operator
from recon.solvers import (
    Status,
    condat_vu,
    davis_yin,
    douglas_rachford,
    fista,
    forward_backward,
    iterate,
    learned_ista,
    oracle_ista,
    solve,
    tseng,
)

MATRIX = torch.randn(12, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
NORM = torch.linalg.matrix_norm(MATRIX, 2).item()
LIPSCHITZ = NORM**2
WEIGHT = 2.0


class Dense:
    def A(self, x):
        return x @ MATRIX.T

    def A_adjoint(self, y):
        return y @ MATRIX

    def data_resolvent(self, measurement, stepsize):
        system = torch.eye(8, dtype=torch.float64) + stepsize * MATRIX.T @ MATRIX
        return lambda z: torch.linalg.solve(system, z + stepsize * measurement @ MATRIX, left=False)


class Identity:
    def A(self, x):
        return x

    def A_adjoint(self, y):
        return y


Y = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(6)) * 5
DATA = LeastSquares(Dense(), Y)
START = torch.zeros(3, 8, dtype=torch.float64)


def shrink(threshold):
    """The proximity operator of threshold * ||.||_1."""
    return proximity_operator(
        lambda x: x.sign() * (x.abs() - threshold).clamp(min=0),
        "l1",
        attains=Fact(Evidence.PROVED, "coercive"),
    )


def ball(radius):
    """The projection on the maximum-norm ball: the dual of the l1 norm."""
    return lambda u: u.clamp(-radius, radius)


def positive(x):
    return x.clamp(min=0)


STEP = 1 / LIPSCHITZ
LASSO = {
    "forward-backward": lambda: forward_backward(DATA, shrink(STEP * WEIGHT), STEP),
    "over-relaxed": lambda: forward_backward(DATA, shrink(STEP * WEIGHT), STEP, 1.4),
    "tseng": lambda: tseng(DATA, shrink(0.9 * STEP * WEIGHT), 0.9 * STEP),
    "douglas-rachford": lambda: douglas_rachford(DATA.resolvent(STEP), shrink(STEP * WEIGHT), 1.5),
    "davis-yin": lambda: davis_yin(DATA, shrink(STEP * WEIGHT), lambda x: x, STEP),
    "condat-vu": lambda: condat_vu(DATA, lambda x: x, Identity(), ball(WEIGHT), STEP, 0.4 * LIPSCHITZ, 1.2),
    "chambolle-pock": lambda: condat_vu(None, DATA.resolvent(STEP), Identity(), ball(WEIGHT), STEP, 0.9 * LIPSCHITZ),
    "fista": lambda: fista(DATA, shrink(STEP * WEIGHT), STEP),
    "oracle ista": lambda: oracle_ista(DATA, l1_term(WEIGHT), STEP),
    "learned ista": lambda: learned_ista(DATA, l1_prior(WEIGHT), (1.6 * STEP, 1.9 * STEP, 0.7 * STEP), STEP),
}


@pytest.fixture(scope="module")
def lasso():
    """The minimiser of ||Ax - y||^2 / 2 + w ||x||_1, checked by its own optimality condition."""
    solution = solve(LASSO["forward-backward"](), START, tolerance=1e-15, max_steps=200_000).x
    gradient = DATA(solution)
    on = solution != 0
    assert torch.allclose(gradient[on], -WEIGHT * solution[on].sign(), atol=1e-9)
    assert (gradient[~on].abs() <= WEIGHT + 1e-9).all()
    assert on.any()
    assert (~on).any()
    return solution


@pytest.mark.parametrize("name", LASSO)
def test_every_solver_finds_the_same_minimiser(name, lasso):
    solution = solve(LASSO[name](), START, tolerance=1e-13, max_steps=100_000)
    assert solution.converged, solution.sentence()
    assert torch.allclose(solution.x, lasso, atol=1e-8)


@pytest.mark.parametrize("name", LASSO)
def test_going_on_from_a_state_is_the_same_as_never_having_stopped(name):
    algorithm = LASSO[name]()
    whole = solve(algorithm, START, tolerance=0, max_steps=40)
    half = solve(algorithm, START, tolerance=0, max_steps=17)
    rest = solve(algorithm, state=half.state, tolerance=0, max_steps=23)
    assert torch.equal(rest.x, whole.x)


@pytest.mark.parametrize("name", LASSO)
def test_a_step_is_pure(name):
    algorithm = LASSO[name]()
    state = solve(algorithm, START, tolerance=0, max_steps=3).state
    before = [field.clone() if isinstance(field, torch.Tensor) else field for field in state]
    once, twice = algorithm.step(state), algorithm.step(state)
    for old, kept, a, b in zip(before, state, once, twice, strict=True):
        if isinstance(old, torch.Tensor):
            assert torch.equal(old, kept)
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", LASSO)
def test_iterate_gives_what_solve_gives(name):
    algorithm = LASSO[name]()
    *_, last = islice(iterate(algorithm, START), 26)
    assert torch.equal(last.x, solve(algorithm, START, tolerance=0, max_steps=25).x)


def test_davis_yin_obeys_the_constraint_and_solves_the_constrained_problem():
    """Nonnegative least squares with an l1 term: optimality says gradient + w >= 0, and = 0 where x > 0."""
    solution = solve(davis_yin(DATA, shrink(STEP * WEIGHT), positive, STEP), START, tolerance=1e-14, max_steps=100_000)
    x, gradient = solution.x, DATA(solution.x) + WEIGHT
    assert (x >= 0).all()
    assert (gradient >= -1e-8).all()
    assert (gradient * x).abs().max() < 1e-8


def test_tseng_converges_where_forward_backward_cannot():
    """A rotation is monotone and nowhere cocoercive."""
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    start = torch.ones(1, 2, dtype=torch.float64)
    spiral = solve(tseng(lambda x: x @ turn, lambda x: x, 0.5), start, tolerance=0, max_steps=500)
    assert spiral.x.norm() < 1e-8
    assert solve(forward_backward(lambda x: x @ turn, lambda x: x, 0.5), start, max_steps=500).status == (
        Status.DIVERGED,
    )


@pytest.mark.parametrize("part", [0.3, 0.995])
def test_tseng_has_not_converged_while_the_resolvent_still_moves(part):
    """With the identity, x+ = (1 - s) z + s x: near s = 1 a step is a small part of what is left."""
    noisy = Y[:, :8]
    solution = solve(tseng(lambda x: x - noisy, shrink(part * WEIGHT), part), noisy, tolerance=1e-3, max_steps=10_000)
    assert solution.converged
    expected = shrink(WEIGHT)(noisy)
    assert (expected - noisy).norm() > 0.1 * noisy.norm()
    assert (solution.x - expected).norm() < 4e-3 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tseng_hands_out_no_image_that_is_not_finite(dtype):
    """A step far too long takes x beyond what numbers hold while the resolvent's point is still finite."""
    noisy = Y[:, :8].to(dtype)
    run = solve(tseng(lambda x: x - noisy, lambda x: x, 90.0), noisy + 1)
    assert not run.converged
    assert run.x.isfinite().all()


def test_fista_refuses_what_is_not_a_proximity_operator_by_name():
    def learned_denoiser(x):
        return x / 2

    with pytest.raises(UsageError, match=r"learned_denoiser.*momentum has no guarantee.*forward_backward"):
        fista(DATA, learned_denoiser, STEP)


def test_fista_is_faster_than_forward_backward():
    errors = {}
    for name in ("forward-backward", "fista"):
        run = solve(LASSO[name](), START, tolerance=0, max_steps=30)
        errors[name] = (DATA.value(run.x) + WEIGHT * run.x.abs().sum(1)).sum().item()
    assert errors["fista"] < errors["forward-backward"]


@pytest.mark.parametrize("stepsize", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "build",
    [
        lambda s: forward_backward(DATA, positive, s),
        lambda s: tseng(DATA, positive, s),
        lambda s: davis_yin(DATA, positive, positive, s),
        lambda s: condat_vu(DATA, positive, Identity(), positive, s, 1.0),
        lambda s: condat_vu(DATA, positive, Identity(), positive, 1.0, s),
        lambda s: fista(DATA, shrink(1.0), s),
    ],
)
def test_a_step_size_that_is_not_positive_and_finite_is_refused(build, stepsize):
    with pytest.raises(UsageError, match="expected a positive finite number"):
        build(stepsize)


@pytest.mark.parametrize("relaxation", [0.0, 2.0, -0.1, float("nan")])
def test_a_relaxation_outside_its_range_is_refused(relaxation):
    with pytest.raises(UsageError, match="between 0 and 2"):
        forward_backward(DATA, positive, STEP, relaxation)


def test_solutions_are_differentiable_through_iterate():
    """Unrolling is `iterate` with gradients on."""
    y = Y.clone().requires_grad_()
    *_, last = islice(iterate(forward_backward(LeastSquares(Dense(), y), lambda x: x, STEP), START), 5)
    (gradient,) = torch.autograd.grad(last.x.sum(), y)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
