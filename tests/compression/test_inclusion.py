"""The criterion of inclusion against its definition, and what its minimisers are."""

import pytest
import torch

from recon.compression.inclusion import Inclusion, Samples, Weights, each_channel, each_weight, path, refit, sparse
from recon.priors.networks import ACTIVATIONS


def draw(name: str = "relu", inputs: int = 6, outputs: int = 3, count: int = 400) -> tuple[Samples, Weights]:
    """Samples of a layer with a sparse matrix, and a start far from it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, inputs, generator=generator, dtype=torch.float64) * 2 - 0.5
    matrix = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64)
    matrix += 0.3 * matrix.sign()  # no weight is so small that another explains as much
    matrix *= torch.rand(outputs, inputs, generator=generator) < 0.5
    bias = torch.randn(outputs, generator=generator, dtype=torch.float64) / 4
    act = ACTIVATIONS[name]
    return Samples(x, act(x @ matrix.mT + bias), act), Weights(matrix, bias)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"identity"}))
def test_the_gradient_is_that_of_the_criterion_by_the_potential(name: str) -> None:
    """D(u) = f(y) + y^2/2 + phi(u) - u y with phi(u) = u R(u) - f(R(u)) - R(u)^2/2, from the table of potentials."""
    act = ACTIVATIONS[name]
    u = torch.linspace(-3, 3, 41, dtype=torch.float64, requires_grad=True)
    y = act(torch.linspace(2, -2, 41, dtype=torch.float64))
    said = act(u.detach())
    value = (
        u.detach() * said - act.potential(said) - said.square() / 2 + act.potential(y) + y.square() / 2 - u.detach() * y
    )
    assert bool((value >= (said - y).square() / 2 - 1e-9).all())  # Baillon and Haddad
    step = 1e-5
    above, below = act(u.detach() + step), act(u.detach() - step)
    phi = [(u.detach() + s) * r - act.potential(r) - r.square() / 2 for s, r in ((step, above), (-step, below))]
    assert torch.allclose((phi[0] - phi[1]) / (2 * step), said, atol=1e-4)


@pytest.mark.parametrize("name", ["identity", "relu", "leaky_relu", "tanh", "soft_threshold"])
def test_a_planted_sparse_layer_is_found(name: str) -> None:
    samples, true = draw(name, count=3000)
    kept = int((true.matrix != 0).sum())
    noise = torch.randn(true.matrix.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, error, _ = sparse(samples, Weights(true.matrix + 0.1 * noise, true.bias), kept)
    assert torch.equal(found.matrix != 0, true.matrix != 0)
    assert error < 1e-3
    assert torch.allclose(found.matrix, true.matrix, atol=0.1)


def test_the_minimiser_without_an_activation_is_that_of_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(500, 2, generator=generator, dtype=torch.float64)
    problem = Inclusion(Samples(x, y, lambda u: u))
    found = problem.plain(
        refit(
            problem, Weights(torch.ones(2, 5).double(), torch.zeros(2).double()), each_weight((2, 5)), torch.arange(10)
        )
    )
    ones = torch.cat([x, torch.ones(500, 1, dtype=torch.float64)], 1)
    wanted = torch.linalg.lstsq(ones, y).solution
    assert torch.allclose(found.matrix, wanted[:-1].mT, atol=1e-3)
    assert torch.allclose(found.bias, wanted[-1], atol=1e-3)


def test_the_path_satisfies_the_conditions_of_the_l1_problem() -> None:
    """At a minimiser each gradient entry is -l sign(w) where w is not 0, and at most l elsewhere."""
    samples, true = draw("relu", count=1000)
    problem = Inclusion(samples)
    level = 0.02
    start = problem.standard(true)
    support = each_weight((3, 6))
    found = problem.minimise(start, lambda matrix: support.shrunk(matrix, level / problem.lipschitz), 3000)
    gradient = problem.gradient(found)
    live = found.matrix != 0
    assert 0 < int(live.sum()) < live.numel()
    assert torch.allclose(gradient.matrix[live], -level * found.matrix[live].sign(), atol=1e-6)
    assert float(gradient.matrix[~live].abs().max()) <= level + 1e-6
    assert float(gradient.bias.abs().max()) < 1e-6


def test_the_refit_is_nearer_than_what_the_l1_norm_leaves() -> None:
    samples, true = draw("relu", inputs=12, count=1500)
    problem, support = Inclusion(samples), each_weight((3, 12))
    at = path(problem, problem.standard(true), support, 8)
    parts = support.sizes(at.matrix).argsort(descending=True)[:8]
    assert problem.error(refit(problem, at, support, parts)) < problem.error(at)


def test_channels_go_together_and_those_without_effect_go_first() -> None:
    samples, true = draw("relu", inputs=12, count=3000)
    matrix = true.matrix.clone()
    matrix[:, 3:6] = 0  # the second of four channels of three columns
    y = samples.activation(samples.inputs @ matrix.mT + true.bias)
    found, error, parts = sparse(
        Samples(samples.inputs, y, samples.activation), Weights(matrix, true.bias), 3, channels=4
    )
    assert parts.tolist() == [0, 2, 3]
    assert error < 1e-4
    assert not found.matrix[:, 3:6].any()


def test_a_block_is_shrunk_by_its_norm() -> None:
    matrix = torch.tensor([[3.0, 4.0, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0]])
    shrunk = each_channel((2, 4), 2).shrunk(matrix, 1.0)
    assert torch.allclose(shrunk[0, :2], torch.tensor([2.4, 3.2]))
    assert not shrunk[:, 2:].any()


def test_an_input_that_is_always_zero_has_no_weight() -> None:
    samples, true = draw("relu", count=500)
    x = samples.inputs.clone()
    x[:, 2] = 0
    found, _, _ = sparse(Samples(x, samples.activation(x @ true.matrix.mT + true.bias), samples.activation), true, 15)
    assert found.matrix.isfinite().all()
    assert not found.matrix[:, 2].any()


def test_an_input_that_is_quiet_on_the_samples_has_no_large_weight() -> None:
    """It may be loud on other images: a part of the output, a thousand times weaker, would weigh 1000."""
    samples, true = draw("relu", count=500)
    x = samples.inputs.clone()
    generator = torch.Generator().manual_seed(2)
    unexplained = torch.randn(500, generator=generator, dtype=torch.float64)
    x[:, 2] = 1e-3 * unexplained
    y = samples.activation(x @ true.matrix.mT + true.bias + unexplained[:, None])
    found, _, _ = sparse(Samples(x, y, samples.activation), true, 18)
    assert float(found.matrix.abs().max()) < 100
