"""Least squares without a prior: CGLS, AB- and BA-GMRES and SIRT against dense linear algebra."""

from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from recon.errors import GuaranteeError, UsageError
from recon.operators import CartesianMRI, Matrix, Space, from_matrix, sirt_weights
from recon.priors import box
from recon.solvers import Status, ab_gmres, ba_gmres, cgls, iterate, sirt, solve


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)


RANDOM = draw(11)
TALL, WIDE, SQUARE = RANDOM(12, 7), RANDOM(5, 9), RANDOM(8, 8) + 4 * torch.eye(8)
DEFICIENT = RANDOM(10, 3) @ RANDOM(3, 6)
MATRICES = {"tall": TALL, "wide": WIDE, "square": SQUARE, "deficient": DEFICIENT}


def least_squares(A, y):
    """The solution of least norm of each item."""
    return torch.from_numpy(np.linalg.lstsq(A.numpy(), y.T.numpy(), rcond=None)[0].T)


def measured(A, batch=3):
    return draw(5)(batch, A.shape[0])


def start(A, batch=3):
    return torch.zeros(batch, A.shape[1], dtype=torch.float64)


KRYLOV = {
    "cgls": lambda A, y: cgls(from_matrix(A), y),
    "ab-gmres": lambda A, y: ab_gmres(from_matrix(A), from_matrix(A), y),
    "ba-gmres": lambda A, y: ba_gmres(from_matrix(A), from_matrix(A), y),
    "ab-gmres restarted": lambda A, y: ab_gmres(from_matrix(A), from_matrix(A), y, restart=2),
    "ba-gmres restarted": lambda A, y: ba_gmres(from_matrix(A), from_matrix(A), y, restart=2),
}
ALL = {**KRYLOV, "sirt": lambda A, y: sirt(from_matrix(A.abs()), y)}


@pytest.mark.parametrize("shape", MATRICES)
@pytest.mark.parametrize("name", KRYLOV)
def test_with_the_exact_adjoint_all_find_the_least_squares_solution_of_least_norm(name, shape):
    A = MATRICES[shape]
    y = measured(A)
    run = solve(KRYLOV[name](A, y), start(A), tolerance=1e-10, max_steps=5000)
    assert run.converged, run.sentence()
    assert torch.allclose(run.x, least_squares(A, y), atol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_going_on_from_a_state_is_the_same_as_never_having_stopped(name):
    algorithm, x0 = ALL[name](TALL, measured(TALL)), start(TALL)
    whole = solve(algorithm, x0, tolerance=0, max_steps=6)
    half = solve(algorithm, x0, tolerance=0, max_steps=2)
    assert torch.equal(solve(algorithm, state=half.state, tolerance=0, max_steps=4).x, whole.x)
    *_, last = islice(iterate(algorithm, x0), 7)
    assert torch.equal(last.x, whole.x)


@pytest.mark.parametrize("name", ALL)
def test_a_step_is_pure(name):
    algorithm = ALL[name](TALL, measured(TALL))
    state = algorithm.step(algorithm.init(start(TALL)))
    before = [field.clone() for field in state]
    first, second = algorithm.step(state), algorithm.step(state)
    assert all(torch.equal(old, kept) for old, kept in zip(before, state, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_batch_items_do_not_know_of_each_other(name):
    """Items that are solved at once, that start at the solution and that have nothing to solve among them."""
    y = measured(TALL, 4)
    y[1] = 0
    y[2] = TALL @ torch.linalg.eigh(TALL.T @ TALL).eigenvectors[:, 0]  # a Krylov space of one dimension
    together = solve(ALL[name](TALL, y), start(TALL, 4), tolerance=1e-9, max_steps=3000)
    for item in range(4):
        alone = solve(ALL[name](TALL, y[item : item + 1]), start(TALL, 1), tolerance=1e-9, max_steps=3000)
        assert alone.status == together.status[item : item + 1]
        assert alone.steps == together.steps[item : item + 1]
        assert torch.allclose(alone.x[0], together.x[item], atol=1e-9)
    assert together.converged
    assert torch.equal(together.x[1], torch.zeros(7, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
@pytest.mark.parametrize("name", ALL)
def test_single_precision_and_the_units_of_the_data(name, scale):
    """Squares of 1e25 overflow in single precision."""
    y = (scale * measured(TALL)).float()
    run = solve(ALL[name](TALL.float(), y), start(TALL).float(), tolerance=1e-4, max_steps=20_000)
    assert run.converged, run.sentence()
    assert run.x.dtype == torch.float32
    if name != "sirt":
        answer = least_squares(TALL, y.double())
        assert torch.allclose(run.x.double(), answer, atol=1e-3 * answer.abs().max().item())


@pytest.mark.parametrize("name", ALL)
def test_a_nan_spoils_only_its_item(name):
    y = measured(TALL)
    y[1, 3] = torch.nan
    run = solve(ALL[name](TALL, y), start(TALL), tolerance=1e-8, max_steps=3000)
    assert run.status == (Status.CONVERGED, Status.NOT_FINITE, Status.CONVERGED)
    assert run.x.isfinite().all()


@pytest.mark.parametrize("name", KRYLOV)
def test_a_run_far_beyond_convergence_stays_where_it_is(name):
    y = measured(TALL)
    run = solve(KRYLOV[name](TALL, y), start(TALL), tolerance=0, max_steps=300 if name == "cgls" else 40)
    assert Status.DIVERGED not in run.status
    assert torch.allclose(run.x, least_squares(TALL, y), atol=1e-9)


@pytest.mark.parametrize("name", KRYLOV)
def test_a_start_at_the_solution_is_seen_as_such(name):
    y = measured(TALL)
    run = solve(KRYLOV[name](TALL, y), least_squares(TALL, y), tolerance=1e-9)
    assert run.converged
    assert run.steps == (4, 4, 4)  # as many looks as an estimate takes


@pytest.mark.parametrize("condition", [1e2, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cgls_stops_moving_at_its_rounding_instead_of_diverging(dtype, condition):
    left, _, right = torch.linalg.svd(draw(1)(40, 60), full_matrices=False)
    A = left @ torch.diag(torch.logspace(0, -np.log10(condition), 40).double()) @ right
    y = measured(A) @ left @ torch.diag(torch.logspace(0, -np.log10(condition), 40).double()) @ left.T
    run = solve(cgls(from_matrix(A), y.to(dtype)), start(A).to(dtype), tolerance=0, max_steps=2000)
    assert set(run.status) == {Status.OUT_OF_STEPS}
    rest = (y - run.x.double() @ A.T) @ A
    assert rest.norm() < (1e-4 if dtype == torch.float32 else 1e-10) * (y @ A).norm()


def test_cgls_minimises_over_the_krylov_space():
    """After k steps: the least squares in the span of (A^T A)^j A^T y, j < k."""
    y = measured(TALL, 1)
    vectors = [TALL.T @ y[0]]
    for steps in (1, 2, 3, 4):
        space = torch.linalg.qr(torch.stack(vectors, 1)).Q
        best = space @ least_squares(TALL @ space, y)[0]
        run = solve(cgls(from_matrix(TALL), y), start(TALL, 1), tolerance=0, max_steps=steps)
        assert torch.allclose(run.x[0], best, atol=1e-9)
        vectors.append(TALL.T @ (TALL @ vectors[-1]))


def test_cgls_of_complex_measurements():
    operator = CartesianMRI(torch.rand(6, 7, generator=torch.Generator().manual_seed(0)) > 0.4)
    image = operator.domain.random(2, 1, dtype=torch.float64)
    y = operator.A(image)
    run = solve(cgls(operator, y), torch.zeros_like(image), tolerance=1e-10)
    assert run.converged
    assert torch.allclose(operator.A(run.x), y, atol=1e-8)
    for gmres in (ab_gmres, ba_gmres):
        assert torch.allclose(solve(gmres(operator, operator, y), torch.zeros_like(image)).x, run.x, atol=1e-5)


def test_images_keep_their_shape():
    A = RANDOM(10, 12)
    operator = Matrix(A, Space((3, 4)), Space((2, 5)))
    y = draw(0)(2, 1, 2, 5)
    for algorithm in (cgls(operator, y), ab_gmres(operator, operator, y), ba_gmres(operator, operator, y)):
        run = solve(algorithm, torch.zeros(2, 1, 3, 4).double(), tolerance=1e-10, max_steps=500)
        assert torch.allclose(run.x.reshape(2, 12), least_squares(A, y.reshape(2, 10)), atol=1e-7)
    nonnegative = Matrix(A.abs(), Space((3, 4)), Space((2, 5)))
    assert solve(sirt(nonnegative, y), torch.zeros(2, 1, 3, 4).double(), max_steps=5).x.shape == (2, 1, 3, 4)


# With a surrogate.


@pytest.mark.parametrize("seed", range(5))
def test_ba_gmres_solves_the_mismatched_system_whatever_its_eigenvalues(seed):
    """K is a random matrix: K A has eigenvalues on both sides, where the BA iteration diverges for every step."""
    random = draw(seed)
    K, y = random(7, 12), measured(TALL)
    assert (torch.linalg.eigvals(K @ TALL).real < 0).any()
    run = solve(ba_gmres(from_matrix(TALL), from_matrix(K.T), y), start(TALL), tolerance=1e-11, max_steps=50)
    assert run.converged
    assert torch.allclose(run.x, torch.linalg.solve(K @ TALL, K @ y.T).T, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_ab_gmres_finds_the_least_squares_solution_through_any_surrogate(seed):
    """The range of A K is that of A, so the mismatch costs nothing: the surrogate is a preconditioner."""
    K, y = TALL.T + 0.2 * draw(seed)(7, 12), measured(TALL)
    run = solve(ab_gmres(from_matrix(TALL), lambda r: r @ K.T, y), start(TALL), tolerance=1e-9, max_steps=200)
    assert run.converged
    assert torch.allclose(run.x, least_squares(TALL, y), atol=1e-6)


@pytest.mark.parametrize(
    ("gmres", "size"),
    [
        (ab_gmres, lambda A, K, r: r.norm(dim=1)),
        (ba_gmres, lambda A, K, r: (r @ K.T).norm(dim=1)),
    ],
)
def test_what_gmres_minimises_never_grows_and_one_cycle_is_the_best_of_its_krylov_space(gmres, size):
    K, y = TALL.T + 0.5 * draw(4)(7, 12), measured(TALL)
    algorithm = gmres(from_matrix(TALL), from_matrix(K.T), y, restart=3)
    sizes = [size(TALL, K, y - state.x @ TALL.T) for state in islice(iterate(algorithm, start(TALL)), 8)]
    assert all(bool((after <= before * (1 + 1e-12)).all()) for before, after in pairwise(sizes))
    first = y[:1] @ K.T
    space = torch.stack([first[0], K @ TALL @ first[0], K @ TALL @ K @ TALL @ first[0]], 1)
    one = solve(algorithm, start(TALL), tolerance=0, max_steps=1).x[:1]
    for trial in draw(9)(50, 3):
        other = (one[0] + space @ (1e-3 * trial / space.norm(dim=0)))[None]
        assert size(TALL, K, y[:1] - one @ TALL.T) <= size(TALL, K, y[:1] - other @ TALL.T) + 1e-12


def test_a_restart_that_stands_still_is_not_called_converged():
    """For a cyclic shift GMRES makes no progress before its last dimension: x does not move, and is no solution."""
    shift = torch.eye(6, dtype=torch.float64).roll(1, 0)
    identity = from_matrix(torch.eye(6, dtype=torch.float64))
    y = torch.eye(6, dtype=torch.float64)[:1]
    for gmres in (ab_gmres, ba_gmres):
        stuck = solve(gmres(from_matrix(shift), identity, y, restart=5), start(shift, 1), max_steps=30)
        assert stuck.status == (Status.OUT_OF_STEPS,)
        assert stuck.history[-1].residuals[0] == pytest.approx(1.0)
        free = solve(gmres(from_matrix(shift), identity, y, restart=6), start(shift, 1))
        assert free.converged
        assert torch.allclose(free.x[0], shift.T @ y[0], atol=1e-9)


def test_a_system_without_a_solution_is_not_called_converged():
    """K brings in what K A cannot make."""
    A, K = torch.diag(torch.tensor([1.0, 0.0])).double(), torch.eye(2, dtype=torch.float64)
    run = solve(ba_gmres(from_matrix(A), from_matrix(K), torch.ones(1, 2).double()), start(A, 1), max_steps=20)
    assert run.status == (Status.STALLED,)
    assert run.x[0, 0] == pytest.approx(1.0)


def test_a_surrogate_that_gives_nothing_back_ends_without_a_claim():
    run = solve(
        ab_gmres(from_matrix(TALL), lambda r: torch.zeros(3, 7).double(), measured(TALL)), start(TALL), max_steps=4
    )
    assert run.status == (Status.OUT_OF_STEPS,) * 3
    assert torch.equal(run.x, start(TALL))


def test_cgls_with_a_wrong_adjoint_is_refused_and_does_not_converge():
    class Wrong:
        A = staticmethod(lambda x: x @ TALL.T)
        A_adjoint = staticmethod(lambda y: y @ (TALL + 3 * draw(2)(12, 7)))

    algorithm = cgls(Wrong(), measured(TALL))
    with pytest.raises(GuaranteeError, match="A_adjoint differs from the adjoint of A"):
        solve(algorithm, start(TALL))
    run = solve(replace(algorithm, operators=()), start(TALL), tolerance=1e-6, max_steps=500)
    assert Status.CONVERGED not in run.status


@pytest.mark.parametrize("gmres", [ab_gmres, ba_gmres])
def test_a_cycle_of_nothing_is_refused(gmres):
    with pytest.raises(UsageError, match="restart=0"):
        gmres(from_matrix(TALL), from_matrix(TALL), measured(TALL), restart=0)


# SIRT.


def test_sirt_tends_to_the_weighted_least_squares_solution():
    A = RANDOM(12, 5).abs()
    y = measured(A, 2)
    run = solve(sirt(from_matrix(A), y, 1.9), start(A, 2), tolerance=1e-13, max_steps=100_000)
    root = A.sum(1).rsqrt()
    assert run.converged
    assert torch.allclose(run.x, least_squares(root[:, None] * A, y * root), atol=1e-7)


def test_sirt_in_a_box_satisfies_the_conditions_of_the_weighted_problem():
    A = RANDOM(12, 5).abs()
    y = measured(A, 2) * 3
    run = solve(sirt(from_matrix(A), y, 1.9, box(0.0, 1.0)), start(A, 2), tolerance=1e-13, max_steps=100_000)
    force = ((run.x @ A.T - y) / A.sum(1)) @ A
    assert ((run.x > 0) & (run.x < 1)).any()
    assert force[(run.x > 0) & (run.x < 1)].abs().max() < 1e-7
    assert (force[run.x == 0] > -1e-9).all()
    assert (force[run.x == 1] < 1e-9).all()


def test_sirt_leaves_a_pixel_that_no_ray_meets_as_it_was():
    A = RANDOM(6, 4).abs()
    A[:, 1], A[2] = 0, 0
    x0 = torch.full((1, 4), 0.3, dtype=torch.float64)
    run = solve(sirt(from_matrix(A), measured(A, 1)), x0, max_steps=50)
    assert run.x[0, 1] == 0.3
    assert run.x.isfinite().all()


def test_sirt_refuses_a_matrix_without_row_sums():
    with pytest.raises(UsageError, match="expected none below 0"):
        sirt(from_matrix(-TALL.abs()), measured(TALL))
    assert sirt_weights(from_matrix(TALL.abs())).norm.value == pytest.approx(1, abs=2e-5)
