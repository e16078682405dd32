"""A run is called converged where it is near its limit, and nowhere else."""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon import priors
from recon.certificates import certify_forward_backward
from recon.evidence import Evidence, Measured
from recon.operators import Blur, Identity, LeastSquares, from_matrix, operator_properties
from recon.priors import identity, soft_threshold
from recon.solvers import (
    Distance,
    Status,
    condat_vu,
    davis_yin,
    douglas_rachford,
    fista,
    forward_backward,
    solve,
    tseng,
)
from recon.solvers.convergence import distance_left, estimates_distance, sequence_of
from recon.solvers.theorem import certified

TOLERANCE = 1e-3
LOOKS = [step for step in range(1, 5000) if estimates_distance(step)]
SEQUENCES = [[step for step in LOOKS if sequence_of(step) == each] for each in (0, 1)]


def test_distances_are_estimated_in_a_fixed_ratio_of_steps_and_at_the_default_budget():
    assert LOOKS[:16] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 19, 22, 26, 31]
    assert {250, 500, 1000, 2000} <= set(LOOKS)
    assert all(abs(b / a - 2**0.25) < 0.03 for a, b in pairwise(LOOKS) if a > 20)


def test_each_sequence_has_the_ratio_over_which_distances_are_extrapolated():
    assert [sequence[:8] for sequence in SEQUENCES] == [[1, 2, 3, 4, 6, 8, 11, 16], [5, 7, 9, 13, 19, 26, 37, 53]]
    assert sorted(SEQUENCES[0] + SEQUENCES[1]) == LOOKS
    for sequence in SEQUENCES:
        assert all(abs(b / a - math.sqrt(2)) < 0.03 for a, b in pairwise(sequence) if a > 20)


def test_a_run_ends_at_a_step_of_either_sequence():
    """The error falls by a fixed rate a step, so that the distance is known."""
    ends = set()
    for rate in (0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.95, 0.96):
        run = solve(forward_backward(lambda x, rate=rate: (1 - rate) * (x - 1), identity(), 1.0), torch.zeros(1, 9))
        assert run.converged
        assert rate ** run.steps[0] <= run.distance[0].relative + 1e-6
        ends.add(sequence_of(run.steps[0]))
    assert ends == {0, 1}


@given(st.floats(0.05, 3), st.integers(4, 20))
def test_the_distance_of_an_error_like_a_power_is_exact(power, count):
    errors = [2.0 ** (-power * j / 2) for j in range(count + 1)]
    moves = [a - b for a, b in pairwise(errors)]
    assert distance_left(moves) == pytest.approx(errors[-1], rel=1e-6)


@given(st.floats(0.3, 0.9999), st.sampled_from(SEQUENCES))
def test_the_distance_of_a_geometric_error_is_never_too_small(rate, sequence):
    errors = [rate**step for step in sequence]
    moves = [a - b for a, b in pairwise(errors)]
    for j in range(4, len(moves)):
        if errors[j + 1] > 1e-12:
            assert distance_left(moves[: j + 1]) >= 0.999 * errors[j + 1]


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=3))
def test_few_moves_or_moves_that_grow_give_no_distance(moves):
    assert distance_left(moves) == math.inf
    assert distance_left([1.0, 2.0, 4.0, 8.0]) == math.inf
    assert distance_left([1.0, 0.5, 0.6, 0.3]) == math.inf


def test_a_resolvent_without_a_fixed_point_drifts():
    """J x = x + 0.01, whose relative steps fall below any tolerance."""
    run = solve(forward_backward(torch.zeros_like, lambda x: x + 0.01, 1.0), torch.zeros(1, 9), max_steps=1000)
    assert run.status == (Status.DRIFTING,)
    assert run.distance[0].value == math.inf
    assert "no solution was found" in run.sentence().lower()


def test_steps_that_vanish_while_the_iterates_grow_drift():
    """r_k tends to 0 and ||x_k|| to infinity, about as k^0.75."""
    algorithm = forward_backward(lambda x: -1 / (1 + x.abs()) ** (1 / 3), identity(), 1.0)
    run = solve(algorithm, torch.zeros(1, 4).double(), max_steps=4000)
    assert run.status == (Status.DRIFTING,)


def test_a_governing_variable_that_drifts_is_seen_behind_an_image_that_stands():
    """Douglas-Rachford between two sets that do not meet: the image tends to the nearest point, z to infinity."""
    low, high = priors.box(0.0, 1.0), priors.box(2.0, 3.0)
    run = solve(douglas_rachford(high, low), torch.zeros(1, 5).double(), max_steps=1000)
    assert run.status == (Status.DRIFTING,)


@pytest.mark.parametrize("stepsize", [1e-12, 1e-9, 1e-6, 1e-4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_size_far_too_small_is_never_convergence(stepsize, dtype):
    y = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0)).to(dtype)
    data = LeastSquares(Identity((12, 12)), y)
    for start in (torch.zeros_like(y), torch.ones_like(y)):
        for scale in (None, 12.0):
            run = solve(forward_backward(data, identity(), stepsize), start, max_steps=500, scale=scale)
            assert run.status[0] in (Status.DRIFTING, Status.OUT_OF_STEPS, Status.STALLED)


@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_the_start_takes_no_part_in_the_scale(size):
    run = solve(SPLITTINGS["forward-backward"](), size * torch.ones(1, 8).double(), max_steps=20_000)
    assert run.converged
    assert float((run.x - LIMIT).norm()) <= 2 * run.distance[0].value
    assert float((run.x - LIMIT).norm()) <= 1e-2 * float(LIMIT.norm())


@pytest.mark.parametrize("curvature", [1e-4, 3e-5])
def test_the_turning_point_of_an_accelerated_method_is_no_limit(curvature):
    """A = diag(1, sqrt l): the weak mode overshoots, and stands for a moment where it turns."""
    A = from_matrix(torch.diag(torch.tensor([1.0, math.sqrt(curvature)]).double()))
    data = LeastSquares(A, A.A(torch.ones(1, 2).double()))
    run = solve(fista(data, identity(), 1.0), torch.zeros(1, 2).double(), tolerance=TOLERANCE, max_steps=100_000)
    assert run.converged
    assert float((run.x - 1).norm()) <= 2 * TOLERANCE


def test_a_cycle_that_is_met_at_one_phase_is_no_limit():
    """A quarter turn at each step: after every fourth, and after most of those looked at, the image is the same."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()
    run = solve(forward_backward(lambda x: x - x @ turn, identity(), 1.0), torch.ones(1, 2).double(), scale=1.0)
    assert Status.CONVERGED not in run.status


@pytest.mark.parametrize("stepsize", [1.9, 1.99, 1.999])
def test_what_is_proved_to_converge_does_not_diverge(stepsize):
    operator = Identity((6, 6))
    data = LeastSquares(operator, torch.rand(1, 1, 6, 6).double())
    run = solve(forward_backward(data, identity(), stepsize), torch.zeros(1, 1, 6, 6).double())
    assert run.certificate.holds
    assert run.certificate.evidence is Evidence.PROVED
    assert run.status[0] in (Status.CONVERGED, Status.OUT_OF_STEPS)
    short = solve(forward_backward(data, identity(), 1.9999), torch.zeros(1, 1, 6, 6).double())
    assert short.status[0] is Status.OUT_OF_STEPS


def _matrix(seed, condition):
    g = torch.Generator().manual_seed(seed)
    u, v = (torch.linalg.qr(torch.randn(8, 8, generator=g).double())[0] for _ in range(2))
    return u @ torch.diag(torch.logspace(0, -math.log10(condition), 8).double()) @ v


MATRIX = _matrix(0, 10)
DATA = LeastSquares(from_matrix(MATRIX), torch.randn(1, 8, generator=torch.Generator().manual_seed(1)).double())
WEIGHT = 0.02


def _resolvent(z, stepsize=5.0):
    system = torch.eye(8).double() + stepsize * MATRIX.T @ MATRIX
    return torch.linalg.solve(system, (z + stepsize * DATA.measurement @ MATRIX).T).T


def _split():
    dual = priors.conjugate(soft_threshold(WEIGHT / 0.5), 0.5)
    return condat_vu(DATA, identity(), from_matrix(torch.eye(8).double()), dual, 0.9, 0.5)


SPLITTINGS = {
    "forward-backward": lambda: forward_backward(DATA, soft_threshold(1.9 * WEIGHT), 1.9),
    "tseng": lambda: tseng(DATA, soft_threshold(0.9 * WEIGHT), 0.9),
    "douglas-rachford": lambda: douglas_rachford(_resolvent, soft_threshold(5.0 * WEIGHT), 1.9),
    "davis-yin": lambda: davis_yin(DATA, soft_threshold(1.5 * WEIGHT), identity(), 1.5),
    "fista": lambda: fista(DATA, soft_threshold(WEIGHT), 1.0),
    "condat-vu": _split,
}
LIMIT = solve(SPLITTINGS["forward-backward"](), torch.zeros(1, 8).double(), tolerance=1e-11, max_steps=100_000).x


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("name", SPLITTINGS)
def test_the_tolerance_is_the_distance_to_the_limit(name, tolerance):
    """Also of an accelerated method, whose image swings: both ends of a move may be at one phase."""
    for seed in range(2):
        start = torch.randn(1, 8, generator=torch.Generator().manual_seed(seed)).double()
        run = solve(SPLITTINGS[name](), start, tolerance=tolerance, max_steps=50_000, scale=float(LIMIT.norm()))
        assert run.converged
        assert run.distance[0].relative <= tolerance
        assert run.distance[0].evidence is Evidence.MEASURED
        assert float((run.x - LIMIT).norm() / LIMIT.norm()) <= tolerance


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(1, 3), st.floats(0.1, 1.0))
def test_what_is_called_converged_is_near_the_limit(seed, digits, part):
    """Least squares of any condition, by forward-backward with any step size of the theorem."""
    A = _matrix(seed, 10**digits)
    x = torch.randn(1, 8, generator=torch.Generator().manual_seed(seed + 1)).double()
    data = LeastSquares(from_matrix(A), x @ A.T)
    run = solve(forward_backward(data, identity(), 1.99 * part), torch.zeros(1, 8).double(), max_steps=3000)
    if run.converged:
        assert float((run.x - x).norm()) <= 20 * run.distance[0].value


def test_an_early_stop_is_not_called_converged():
    run = solve(partial(forward_backward, DATA, identity(), 1.0)(), torch.zeros(1, 8).double(), early=1e-2)
    assert run.status == (Status.STOPPED_EARLY,)
    assert run.history[-1].residuals[0] <= 1e-2


def test_single_precision_stalls_where_double_precision_goes_on():
    y = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    blur = Blur(torch.ones(3, 3) / 9, (16, 16))
    for dtype, status in ((torch.float32, Status.STALLED), (torch.float64, Status.CONVERGED)):
        data = LeastSquares(blur, y.to(dtype))
        algorithm = forward_backward(data, priors.tikhonov(0.5), 1.0)
        assert solve(algorithm, torch.zeros_like(y).to(dtype), tolerance=1e-9).status == (status,)


@pytest.mark.parametrize(
    ("evidence", "relative", "words"),
    [
        (Evidence.MEASURED, 0.02, "about 2.0e-02 of the image"),
        (Evidence.MEASURED, 1.5, "not known: the estimate, 1.5e+00 of the image, is larger than the image itself"),
        (Evidence.MEASURED, math.inf, "not known: why"),
        (Evidence.PROVED, 1.5, "at most 1.5e+00 of the image"),
    ],
)
def test_an_estimate_larger_than_the_image_is_no_estimate(evidence: Evidence, relative: float, words: str) -> None:
    assert words in str(Distance(relative, relative, evidence, "why"))


def _shaded(slow: float) -> tuple[LeastSquares, torch.Tensor, torch.Tensor]:
    """An image of which a quarter is seen with the factor ``slow``: data, image, its measurement."""
    shade = torch.ones(64).double()
    shade[:16] = slow
    x = torch.rand(1, 64, generator=torch.Generator().manual_seed(0)).double()
    data = LeastSquares(from_matrix(torch.diag(shade)), x * shade)
    return data, x, x * shade


@pytest.mark.parametrize("slow", [0.1, 0.036, 0.02])  # what moves by 1e-4 of its way a step has not moved yet
@pytest.mark.parametrize("start", ["zero", "back-projection"])
@pytest.mark.parametrize("method", ["forward-backward", "tseng", "davis-yin", "fista"])
def test_a_slow_mode_is_neither_a_limit_nor_a_divergence(slow, start, method):
    """Where the fast modes die at once; the certificate is not proved, but that a solution exists is."""
    data, x, y = _shaded(slow)
    box = priors.box(0.0, 1.0)
    algorithm = {
        "forward-backward": forward_backward(data, box, 1.9),
        "tseng": tseng(data, box, 0.95),
        "davis-yin": davis_yin(data, box, identity(), 1.9),
        "fista": fista(data, box, 0.95),
    }[method]
    measured = replace(operator_properties(from_matrix(torch.eye(64))), norm=Measured(1.0, "an iteration"))
    certificate = certify_forward_backward(measured, box.properties, 1.9)
    assert certificate.has_solution
    assert certificate.evidence is Evidence.MEASURED
    algorithm = certified(algorithm, certificate)
    run = solve(algorithm, torch.zeros_like(x) if start == "zero" else y)
    assert run.status[0] in (Status.CONVERGED, Status.OUT_OF_STEPS)
    if run.converged:
        assert float((run.x - x).norm()) <= 0.01 * float(x.norm())


def test_the_slow_runs_would_drift_if_nobody_knew_of_a_solution():
    data, x, _ = _shaded(0.01)
    unknown = forward_backward(partial(LeastSquares.__call__, data), identity(), 1.0)
    assert solve(unknown, torch.zeros_like(x)).status == (Status.DRIFTING,)


def test_a_divergence_is_seen_whatever_is_known_of_a_solution():
    data, x, _ = _shaded(0.5)
    measured = replace(operator_properties(from_matrix(torch.eye(64))), norm=Measured(1.0, "an iteration"))
    certificate = certify_forward_backward(measured, priors.box(0.0, 1.0).properties, 1.9)
    for stepsize in (2.05, 2.5, 10.0):
        algorithm = certified(forward_backward(data, identity(), stepsize), certificate)
        run = solve(algorithm, 0.5 + torch.zeros_like(x))
        assert run.status == (Status.DIVERGED,)
