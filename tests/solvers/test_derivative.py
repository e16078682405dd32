"""The derivative of a solution against dense matrices, and small changes against a problem that is solved anew."""

import math

import pytest
import torch
from torch import Tensor

from recon.priors import box, smoothed_total_variation_prior, soft_threshold, tikhonov
from recon.priors.networks import LipschitzConfig, make, resolvent
from recon.solvers.derivative import Optimality, leading_singular, moved_solution
from recon.solvers.krylov import norms

SHAPE = (1, 1, 6, 5)
PIXELS = 30


def matrix(seed: int, rows: int = 40) -> Tensor:
    drawn = torch.randn(rows, PIXELS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn / math.sqrt(rows) + 0.3 * torch.eye(rows, PIXELS, dtype=torch.float64)


def of_matrix(entries: Tensor):
    return lambda v: (v.flatten(1) @ entries.T).reshape(len(v), *SHAPE[1:])


def network():
    torch.manual_seed(3)
    net = make(LipschitzConfig(channels=1, features=4, depth=2)).double()
    return resolvent(net)


PENALTY = smoothed_total_variation_prior(0.05, 0.02)
CASES = {
    "least squares": {},
    "a gradient": {"gradient": PENALTY.smooth.gradient},
    "a gradient within bounds": {
        "gradient": PENALTY.smooth.gradient, "resolvent": box(0.0, 0.6), "stepsize": 0.05, "is_projection": True
    },
    "a proximity operator": {"resolvent": tikhonov(0.3), "stepsize": 0.2},
    "soft thresholds": {"resolvent": soft_threshold(0.02), "stepsize": 0.2},
    "any map": {"resolvent": network, "stepsize": 0.2, "symmetric": False},
    "a surrogate": {"resolvent": tikhonov(0.3), "stepsize": 0.2, "symmetric": False, "surrogate": True},
    "a surrogate and a gradient": {"gradient": PENALTY.smooth.gradient, "symmetric": False, "surrogate": True},
    "a surrogate, a gradient and bounds": {
        "gradient": PENALTY.smooth.gradient, "resolvent": box(0.0, 0.6), "stepsize": 0.05, "is_projection": True,
        "symmetric": False, "surrogate": True,
    },
}  # fmt: skip


def solution(gram, force: Tensor, options: dict) -> Tensor:
    """By forward-backward, in double precision, to rounding."""
    x = torch.zeros(SHAPE, dtype=torch.float64)
    s, gradient, resolve = options.get("stepsize", 0.05), options.get("gradient"), options.get("resolvent")
    with torch.no_grad():
        for _ in range(40_000):
            slope = gram(x) - force
            if gradient is not None:
                slope = slope + gradient(x)
            moved = x - s * slope
            moved = moved if resolve is None else resolve(moved)
            if float((moved - x).norm()) < 1e-15:
                break
            x = moved
    return x


def problem(name: str):
    options = dict(CASES[name])
    if options.get("resolvent") is network:
        options["resolvent"] = network()
    A = matrix(1)
    K = A.T if not options.pop("surrogate", False) else (A + 0.05 * matrix(2)).T
    gram, transposed = of_matrix(K @ A), of_matrix((K @ A).T)
    y = torch.rand(40, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    force = (K @ y).reshape(SHAPE)
    x = solution(gram, force, options)
    equation = Optimality(gram, transposed, x, force - gram(x), **options)
    return equation, lambda f: solution(gram, f, options), force, K


@pytest.mark.parametrize("name", CASES)
def test_the_derivative_is_that_of_the_solution(name: str) -> None:
    equation, solve, force, _ = problem(name)
    change = torch.randn(SHAPE, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    small = 1e-6
    expected = (solve(force + small * change) - solve(force - small * change)) / (2 * small)
    found = equation.derivative.solve(change, 1e-10)
    assert float(found.left.max()) <= 1e-10
    torch.testing.assert_close(found.x, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_transpose_is_one(name: str) -> None:
    equation, _, _, _ = problem(name)
    a, b = torch.randn(2, 3, *SHAPE[1:], generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    forward = equation.derivative.solve(a, 1e-11).x
    back = equation.derivative.solve(b, 1e-11, transposed=True).x
    torch.testing.assert_close((forward * b).flatten(1).sum(1), (a * back).flatten(1).sum(1), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("accuracy", [0.5, 1e-2])
@pytest.mark.parametrize("name", CASES)
def test_a_pair_is_exact_however_early_the_iteration_ends(name: str, accuracy: float) -> None:
    equation, _, _, _ = problem(name)
    wanted = torch.randn(3, *SHAPE[1:], generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    force, found, left = equation.derivative.transposed_pairs(wanted, accuracy)
    assert float(left.max()) <= accuracy
    torch.testing.assert_close(found, equation.derivative.solve(force, 1e-11, transposed=True).x, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_a_changed_problem_is_solved_to_its_accuracy(name: str) -> None:
    equation, solve, force, _ = problem(name)
    changes = 0.05 * torch.randn(2, *SHAPE[1:], generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    moved, left = moved_solution(equation, changes, 1e-6)
    assert float(left.max()) <= 1e-6
    for change, found in zip(changes, moved, strict=True):
        torch.testing.assert_close(found[None], solve(force + change) - equation.point, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("blind", [False, True])
def test_only_where_a_pixel_is_not_measured_are_steps_without_the_circulant_matrix_taken(blind: bool) -> None:
    gram = of_matrix(matrix(1).T @ matrix(1))
    seen = torch.ones(SHAPE, dtype=torch.float64)
    seen[..., :2, :] = 0 if blind else 1
    masked = lambda v: seen * gram(seen * v)  # noqa: E731
    force = torch.rand(SHAPE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    x = torch.rand(SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    derivative = Optimality(masked, masked, x, force - masked(x), gradient=PENALTY.smooth.gradient).derivative
    found = derivative.solve(force, 1e-3)
    steps = derivative.newton(force, 1e-3)  # the same system, once
    assert (torch.equal(found.x, steps)) is not blind


@pytest.mark.parametrize("transposed", [False, True])
def test_a_system_with_a_surrogate_takes_fewer_steps_by_the_preconditioner_of_the_symmetric_one(transposed) -> None:
    axes = torch.fft.fftfreq(24, dtype=torch.float64)
    distance = axes[:, None].square() + axes.square()
    true, other = torch.exp(-20 * distance), torch.exp(-18 * distance) * (1 + 0.1j * torch.sin(6 * axes))
    other[12], other[:, 12] = other[12].abs() + 0j, other[:, 12].abs() + 0j  # of a real map

    def gram(v: Tensor) -> Tensor:
        return torch.fft.ifft2(torch.fft.fft2(v) * true * other).real

    def gram_transposed(v: Tensor) -> Tensor:
        return torch.fft.ifft2(torch.fft.fft2(v) * true * other.conj()).real

    x = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradient = smoothed_total_variation_prior(0.003, 0.05).smooth.gradient
    equation = Optimality(gram, gram_transposed, x, gradient(x), gradient, symmetric=False)
    force = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = equation.derivative.solve(force, 1e-6, transposed=transposed)
    equation.derivative.__dict__["_best_near_inverse"] = lambda v: v
    slow = equation.derivative.solve(force, 1e-6, 1000, transposed=transposed)
    assert max(float(each.left.max()) for each in (found, slow)) <= 1e-6
    assert float(norms(found.x - slow.x)) <= 1e-4 * float(norms(slow.x))
    assert 2 * found.steps <= slow.steps


def test_the_longest_stretch_is_a_singular_value_from_below() -> None:
    maps = torch.stack([matrix(seed, 12) for seed in range(4)])
    start = torch.randn(4, 1, PIXELS, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def forward(v: Tensor) -> Tensor:
        return (maps @ v[:, 0]).unsqueeze(1)

    def transposed(u: Tensor) -> Tensor:
        return (maps.mT @ u[:, 0]).unsqueeze(1)

    exact = torch.linalg.matrix_norm(maps, 2)
    few, many = (leading_singular(forward, transposed, start, steps) for steps in (3, 12))
    assert bool((few.values <= exact * (1 + 1e-12)).all())
    assert bool((few.values <= many.values * (1 + 1e-12)).all())
    torch.testing.assert_close(many.values, exact)
    torch.testing.assert_close(norms(forward(many.inputs)) / norms(many.inputs), many.values)


def test_a_space_of_few_dimensions_is_exhausted() -> None:
    """More steps than dimensions leave the value where it is; an item of zeros is zero."""
    start = torch.zeros(2, 1, 3, 1, dtype=torch.float64)
    start[0, 0, 1] = 2.0
    found = leading_singular(lambda v: 3 * v, lambda u: 3 * u * (start != 0), start, 4)
    assert found.values.tolist() == [3.0, 0.0]
