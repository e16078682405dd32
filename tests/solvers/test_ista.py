"""ISTA, oracle ISTA and learned steps: the energy falls at every step, and long steps are taken where that is safe."""

from itertools import islice

import pytest
import torch

from recon import operators, priors
from recon.errors import UsageError
from recon.operators import Blur, LeastSquares
from recon.solvers import forward_backward, iterate, learned_ista, oracle_ista, solve

SHAPE = (20, 23)
GENERATOR = torch.Generator().manual_seed(3)
MATRIX = torch.randn(40, 90, dtype=torch.float64, generator=GENERATOR) / 40**0.5


class Dense:
    """An operator without low frequencies to favour, whose norm on a small support is far below its own."""

    def A(self, x):
        return x @ MATRIX.T

    def A_adjoint(self, y):
        return y @ MATRIX


def dense_problem():
    x = torch.zeros(2, 90, dtype=torch.float64)
    x[0, :4], x[1, 50:53] = 2.0, -3.0
    data = LeastSquares(Dense(), x @ MATRIX.T + 0.05 * torch.randn(2, 40, dtype=torch.float64, generator=GENERATOR))
    return data, priors.l1_prior(0.3), 1 / float(torch.linalg.matrix_norm(MATRIX, 2)) ** 2, torch.zeros_like(x)


def blur_problem():
    operator = Blur(operators.gaussian_psf(1.0), SHAPE)
    x = torch.zeros(2, 1, *SHAPE, dtype=torch.float64)
    x[:, :, 4:12, 5:15] = 1
    data = LeastSquares(operator, operator.A(x) + 0.02 * torch.randn(x.shape, dtype=x.dtype, generator=GENERATOR))
    return data, priors.wavelet_prior(0.02, "db2", 2), 1.0, operator.A_adjoint(data.measurement)


PROBLEMS = {"dense": dense_problem, "blur": blur_problem}


def algorithms(data, prior, s):
    wild = tuple(s * factor for factor in (1.9, 6.0, 0.5, 1.8, 30.0))
    return {
        "ista": forward_backward(data, prior.resolvent(s), s),
        "oista": oracle_ista(data, prior.sparse, s),
        "slista": learned_ista(data, prior, wild, s),
    }


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", ["ista", "oista", "slista"])
def test_the_energy_falls_at_every_step(problem, name):
    data, prior, s, start = PROBLEMS[problem]()
    states = islice(iterate(algorithms(data, prior, s)[name], start), 60)
    energies = torch.stack([data.value(state.x) + prior.value(state.x) for state in states])
    rises = energies[1:] - energies[:-1]
    assert (rises <= 1e-12 * energies[:-1]).all()
    assert (energies[-1] < energies[0]).all()


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_long_step_is_taken_only_if_the_support_stays(problem):
    """Every step is the proximal step of one length: that of ISTA, or one under which no coefficient is new."""
    data, prior, s, start = PROBLEMS[problem]()
    term, shape, long = prior.sparse, start.shape, 0
    before = None
    for state in islice(iterate(oracle_ista(data, term, s), start), 80):
        if before is not None:
            gradient = term.analyse(data(before.x))
            short = term.shrink(before.z - s * gradient, s, shape)
            for item in range(2):
                if torch.allclose(state.z[item], short[item], atol=1e-13):
                    continue
                long += 1
                new = term.penalised((state.z != 0) & (before.z == 0), shape)[item]
                assert not new.any()
        before = state
    assert long > 0 or problem == "blur"


def test_oracle_steps_are_faster_where_the_support_is_small():
    data, prior, s, start = dense_problem()
    found = {}
    for name in ("ista", "oista"):
        x = solve(algorithms(data, prior, s)[name], start, tolerance=0, max_steps=60).x
        found[name] = data.value(x) + prior.value(x)
    least = solve(algorithms(data, prior, s)["ista"], start, tolerance=0, max_steps=20_000).x
    least = data.value(least) + prior.value(least)
    assert ((found["oista"] - least) < 0.5 * (found["ista"] - least)).all()


def test_steps_after_which_the_energy_rises_are_replaced_and_counted():
    data, prior, s, start = dense_problem()
    run = solve(learned_ista(data, prior, (1e3 * s, s, 1e3 * s), s), start, tolerance=0, max_steps=3)
    plain = solve(forward_backward(data, prior.resolvent(s), s), start, tolerance=0, max_steps=3)
    assert run.state.refused.tolist() == [2, 2]
    assert torch.allclose(run.x, plain.x)


def test_beyond_the_learned_steps_those_of_ista_are_taken():
    data, prior, s, start = dense_problem()
    first = solve(learned_ista(data, prior, (1.5 * s,), s), start, tolerance=0, max_steps=1)
    after = solve(forward_backward(data, prior.resolvent(s), s), first.x, tolerance=0, max_steps=4)
    assert torch.allclose(solve(learned_ista(data, prior, (1.5 * s,), s), start, tolerance=0, max_steps=5).x, after.x)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (oracle_ista, "expected a SparseTerm"),
        (lambda data, prior, s: oracle_ista(lambda x: x, prior.sparse, s), "expected LeastSquares"),
        (lambda data, prior, s: oracle_ista(data, prior.sparse, -s), "positive finite"),
        (lambda data, prior, s: learned_ista(data, priors.total_variation_prior(0.1), (-1.0,), s), "positive finite"),
        (lambda data, prior, s: learned_ista(data, priors.wavelet_prior(0.1, shifts=4), (1.0,), s), "has no value"),
        (lambda data, prior, s: learned_ista(lambda x: x, prior, (1.0,), s), "expected LeastSquares"),
    ],
)
def test_what_has_no_energy_is_refused(build, words):
    data, prior, s, _ = dense_problem()
    with pytest.raises(UsageError, match=words):
        build(data, prior, s)
