"""How runs end: each outcome told apart, an item at a time, and never a divergence called convergence."""

import pytest
import torch
from torch.nn import functional

from recon.errors import UsageError
from recon.solvers import Status, forward_backward, solve


def contraction(factor=0.5, target=1.0):
    """An algorithm that halves its distance to the target at every step."""
    return forward_backward(lambda x: (1 - factor) * (x - target), lambda x: x, 1.0)


def box(size):
    kernel = torch.full((1, 1, size, size), 1 / size**2)
    return lambda x: functional.conv2d(x, kernel, padding=size // 2)


def test_the_residual_is_the_length_of_the_last_step_over_the_scale():
    start = torch.zeros(1, 4, dtype=torch.float64)
    run = solve(contraction(), start, tolerance=0, max_steps=3, check_every=1, scale=4.0)
    # x = 1/2, 3/4, 7/8 with changes 1/2, 1/4, 1/8, of norm 1, 1/2, 1/4.
    assert [look.residuals[0] for look in run.history] == pytest.approx([1 / 4, 1 / 8, 1 / 16])
    assert run.status == (Status.OUT_OF_STEPS,)


def test_an_item_stops_on_its_own_and_is_then_frozen():
    rates = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64).view(3, 1)

    def algorithm(rate):
        return forward_backward(lambda x: (1 - rate) * (x - 1), lambda x: x, 1.0)

    start = torch.zeros(3, 5, dtype=torch.float64)
    together = solve(algorithm(rates), start, tolerance=1e-8)
    assert together.converged
    assert together.steps[0] < together.steps[1] < together.steps[2]
    for item in range(3):
        alone = solve(algorithm(rates[item]), start[item : item + 1], tolerance=1e-8)
        assert alone.steps == together.steps[item : item + 1]
        torch.testing.assert_close(alone.x[0], together.x[item], rtol=1e-12, atol=0)


def test_a_start_at_the_solution_converges_at_once():
    run = solve(contraction(), torch.ones(2, 3), tolerance=0)
    assert run.status == (Status.CONVERGED,) * 2
    assert run.steps == (4, 4)  # as many looks as an estimate takes
    assert [distance.value for distance in run.distance] == [0.0, 0.0]


def test_the_zero_image_is_a_solution_like_any_other():
    run = solve(contraction(target=0.0), torch.zeros(1, 3))
    assert run.status == (Status.CONVERGED,)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_planted_nan_or_infinity_spoils_only_its_item(bad):
    calls = []

    def poisoned(x):
        calls.append(1)
        x = x.clone()
        if len(calls) == 7:
            x[1, 2] = bad
        return x

    algorithm = forward_backward(lambda x: 0.5 * (x - 1), poisoned, 1.0)
    run = solve(algorithm, torch.zeros(3, 4), tolerance=1e-6, check_every=2)
    assert run.status == (Status.CONVERGED, Status.NOT_FINITE, Status.CONVERGED)
    assert run.x.isfinite().all()


@pytest.mark.parametrize("check_every", [1, 10, 37])
@pytest.mark.parametrize("factor", [-1.05, -3.0, -1e8, 1.1, 50.0])
def test_divergence_in_float32_is_never_convergence(factor, check_every):
    """Up to and beyond the overflow of squares (1.8e19) and of the numbers themselves (3.4e38)."""
    run = solve(contraction(factor), torch.zeros(2, 16), tolerance=1e-3, max_steps=3000, check_every=check_every)
    assert set(run.status) <= {Status.DIVERGED, Status.NOT_FINITE}
    assert run.x.isfinite().all()


def test_large_finite_values_are_not_mistaken_for_overflow():
    """||x||^2 overflows in float32 at 1.8e19; the numbers do not."""
    run = solve(contraction(target=1e25), torch.zeros(1, 16), tolerance=1e-5)
    assert run.status == (Status.CONVERGED,)
    assert torch.allclose(run.x, torch.tensor(1e25), rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6, 1e15])
def test_the_outcome_does_not_depend_on_the_units(scale):
    reference = solve(contraction(target=1.0), torch.zeros(1, 16, dtype=torch.float64))
    run = solve(contraction(target=scale), torch.zeros(1, 16, dtype=torch.float64))
    assert run.steps == reference.steps
    assert run.converged


def test_a_wrong_adjoint_diverges_and_says_so():
    """The case in which every peer overflows without a word: 5x5 box blur, with a 9x9 box as its adjoint."""
    y = box(5)(torch.rand(2, 1, 48, 48))
    algorithm = forward_backward(lambda x: box(9)(box(5)(x) - y), lambda x: x, 1.9)
    run = solve(algorithm, torch.zeros_like(y), tolerance=1e-6, max_steps=20_000)
    assert run.status == (Status.DIVERGED,) * 2
    assert "diverges" in run.sentence(1)


def test_a_step_too_long_diverges():
    y = torch.rand(1, 1, 32, 32)
    algorithm = forward_backward(lambda x: box(5)(box(5)(x) - y), lambda x: x, 2.5)
    assert solve(algorithm, torch.zeros_like(y), tolerance=1e-6, max_steps=5000).status == (Status.DIVERGED,)


def test_a_slow_divergence_is_told_when_the_budget_runs_out():
    algorithm = contraction(-1.01)  # grows by 1 % a step: 145 times in 500 steps, short of the limit
    assert solve(algorithm, torch.zeros(1, 4), tolerance=1e-6, max_steps=500).status == (Status.DIVERGED,)


def test_an_iteration_that_swings_without_growing_has_diverged():
    """Between the ends of a box, far beyond the longest step size: its steps never grow, and never shrink."""
    algorithm = forward_backward(lambda x: 9.0 * (x - 0.6), lambda x: x.clamp(0, 1), 1.0)
    assert solve(algorithm, torch.zeros(1, 4), max_steps=200).status == (Status.DIVERGED,)
    assert solve(algorithm, torch.zeros(1, 4), max_steps=20).status == (Status.OUT_OF_STEPS,)  # too early to say


@pytest.mark.parametrize("start", [torch.zeros(6, 5), torch.tensor(0.0)])
def test_a_start_without_a_batch_is_refused_by_its_shape(start):
    y = torch.rand(1, 1, 6, 5)
    algorithm = forward_backward(lambda x: 0.5 * (x - y), lambda x: x, 1.0)
    with pytest.raises(UsageError, match=r"(\(6, 5\)|single number).*; expected .*\(batch, .*because"):
        solve(algorithm, start)


def test_a_callback_sees_every_look_and_can_stop_the_run():
    seen = []

    def watch(progress, x):
        seen.append((progress.step, tuple(x.shape)))
        return progress.step >= 20

    run = solve(contraction(0.99), torch.zeros(2, 3), tolerance=0, callback=watch)
    assert seen == [(step, (2, 3)) for step in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 16, 19, 20)]
    assert run.status == (Status.INTERRUPTED,) * 2
    assert run.steps == (20, 20)


def test_an_interrupt_keeps_the_last_iterate_and_can_be_resumed():
    calls = []

    def interrupted(x):
        calls.append(1)
        if len(calls) == 14:
            raise KeyboardInterrupt
        return 0.01 * (x - 1)

    algorithm = forward_backward(interrupted, lambda x: x, 1.0)
    run = solve(algorithm, torch.zeros(1, 3), tolerance=0, scale=1.0)
    assert run.status == (Status.INTERRUPTED,)
    assert run.steps == (13,)
    rest = solve(algorithm, state=run.state, tolerance=0, max_steps=7)
    whole = solve(contraction(0.99), torch.zeros(1, 3), tolerance=0, max_steps=20)
    assert torch.allclose(rest.x, whole.x, rtol=1e-6)


def test_solve_leaves_no_graph_behind():
    x0 = torch.zeros(1, 3, requires_grad=True)
    assert not solve(contraction(), x0).x.requires_grad


def test_complex_images_are_judged_by_their_modulus():
    run = solve(contraction(target=1.0 + 1.0j), torch.zeros(1, 3, dtype=torch.complex64), tolerance=1e-5)
    assert run.converged
    assert torch.allclose(run.x, torch.tensor(1 + 1j), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either x0 or state"),
        ({"x0": torch.zeros(1, 2), "tolerance": -1.0}, "tolerance=-1.0"),
        ({"x0": torch.zeros(1, 2), "tolerance": float("nan")}, "tolerance=nan"),
        ({"x0": torch.zeros(1, 2), "max_steps": 0}, "max_steps=0"),
        ({"x0": torch.zeros(1, 2), "scale": 0.0}, r"scale=0\.0"),
        ({"x0": torch.zeros(1, 2), "scale": [1.0, 2.0]}, r"scale=\[1\.0, 2\.0\]"),
        ({"x0": torch.zeros(1, 2), "scale": float("inf")}, "scale=inf"),
    ],
)
def test_arguments_that_are_not_valid_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        solve(contraction(), **arguments)


@pytest.mark.parametrize(("rounding", "status"), [(1e-2, Status.STALLED), (0.0, Status.OUT_OF_STEPS)])
def test_steps_that_rounding_keeps_from_shrinking_are_said_to_stall(rounding, status):
    """x -> 1 - 0.95 x to two digits swings between 0.51 and 0.52 for ever."""
    swinging = forward_backward(lambda x: 1.95 * x - 1, lambda v: (100 * v).round() / 100, 1.0)
    run = solve(swinging, torch.full((1, 3), 0.9, dtype=torch.float64), max_steps=1000, rounding=rounding)
    assert run.status == (status,)
    assert (run.steps[0] < 500) is (rounding > 0)


def test_a_slow_run_has_not_stalled():
    run = solve(contraction(0.995), torch.zeros(1, 3, dtype=torch.float64), max_steps=5000, rounding=1e-3)
    assert run.status == (Status.CONVERGED,)


def test_a_rounding_that_is_none_is_refused():
    with pytest.raises(UsageError, match=r"rounding=nan; expected a finite number"):
        solve(contraction(), torch.zeros(1, 1), rounding=float("nan"))
