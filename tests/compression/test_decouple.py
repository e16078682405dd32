"""Decoupled maps: what is recovered exactly, what an error says, what is bounded, and what is refused by name."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from recon.compression import BlockReport, FlexibleActivation, compress
from recon.compression import decouple as decouple_module
from recon.compression.blocks import Block, blocks_of
from recon.compression.decouple import decouple, observe, relative
from recon.compression.flexible import design, table_of, values_and_slopes
from recon.errors import UsageError
from recon.priors.networks import ConvexRidgeConfig, DnCNNConfig, make

INPUTS, OUTPUTS, RANK = 6, 5, 4
RIDGE = ConvexRidgeConfig(widths=(2, 4), size=3, noise_range=(0.1, 0.1))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def polynomial(x: torch.Tensor) -> torch.Tensor:
    """Exactly decoupled: cubic functions of four directions."""
    t, c = x @ directions(), draw(RANK, 4, seed=1)
    return (c[:, 0] + c[:, 1] * t + c[:, 2] * t**2 / 2 + c[:, 3] * t**3 / 6) @ draw(RANK, OUTPUTS, seed=2)


def directions() -> torch.Tensor:
    return draw(INPUTS, RANK, seed=3)


def observed(count: int = 300, jacobians: int = 60) -> decouple_module.Observed:
    x = draw(count, INPUTS, seed=4)
    return observe(polynomial, x, polynomial(x), jacobians)


def perceptron(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
    return nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))[:-1].eval()


def repeated(convolutions: bool = False) -> nn.Sequential:
    """A network of 40 smooth units of 3 directions, each with one column: three flexible ones say nearly the same."""
    torch.manual_seed(0)
    first, last = nn.Linear(12, 40), nn.Linear(40, 10)
    with torch.no_grad():
        first.weight.copy_(torch.linspace(-2, 2, 40)[:, None] * torch.randn(3, 12).repeat(14, 1)[:40] / 4)
        last.weight.copy_((torch.randn(10, 3).repeat(1, 14) * torch.randn(42))[:, :40] / 6)
    network = nn.Sequential(first, nn.Softplus(), last)
    if convolutions:
        network = nn.Sequential(nn.Conv2d(12, 40, 1), nn.Softplus(), nn.Conv2d(40, 10, 1))
        with torch.no_grad():
            for mine, other in zip(network, (first, None, last), strict=True):
                if other is not None:
                    mine.weight.copy_(other.weight[:, :, None, None])
                    mine.bias.copy_(other.bias)
    return network.eval()


@pytest.fixture
def tensorly():
    return pytest.importorskip("tensorly", reason="the extra decouple is not installed")


def test_an_exactly_decoupled_polynomial_is_recovered_to_rounding(tensorly) -> None:
    found, x = decouple(observed(), RANK), draw(200, INPUTS, seed=5) / 2
    assert relative(found(x), polynomial(x)) < 1e-24
    cosine = (found.right / found.right.norm(dim=0)).mT @ (directions() / directions().norm(dim=0))
    assert torch.allclose(cosine.abs().amax(0), torch.ones(RANK, dtype=torch.float64), atol=1e-12)
    _, slopes = found.units(x)
    given = observe(polynomial, x, polynomial(x), 50)
    jacobians = found.left @ (slopes[:50, :, None] * found.right.mT)
    assert relative(jacobians, given.jacobians) < 1e-22


def test_the_error_falls_with_the_rank_and_vanishes_at_the_right_one(tensorly) -> None:
    known = observed()
    errors = [relative(decouple(known, rank)(known.inputs), known.outputs) for rank in (1, 2, 4, 5)]
    assert errors[0] > errors[1] > 1e-3
    assert max(errors[2:]) < 1e-24


def test_units_beyond_the_rank_of_a_map_do_no_harm(tensorly) -> None:
    """Alternating least squares divided by zero, and the error was that of one unit."""
    network, x = repeated().double(), draw(200, 12)
    (block,) = blocks_of(network)
    known = observe(block.of_rows, x, block.of_rows(x), 60)
    assert max(relative(decouple(known, rank)(x), known.outputs) for rank in (3, 4)) < 1e-3


def test_wrong_derivatives_are_not_matched(tensorly) -> None:
    """A planted fault: the slopes of another map. Values and Jacobians have no decoupled map in common."""
    known = observed()
    wrong = decouple_module.Observed(known.inputs, known.outputs, known.jacobians.roll(1, 0))
    assert relative(decouple(wrong, RANK)(known.inputs), known.outputs) > 1e-6
    assert relative(decouple(known, RANK)(known.inputs), known.outputs) < 1e-24


def test_derivatives_are_those_of_differences() -> None:
    known, step = observed(20, 20), 1e-6
    for index in range(INPUTS):
        along = step * torch.eye(INPUTS, dtype=torch.float64)[index]
        numeric = (polynomial(known.inputs + along) - polynomial(known.inputs - along)) / (2 * step)
        assert torch.allclose(known.jacobians[:, :, index], numeric, atol=1e-6)


def spline(pieces: int = 5) -> FlexibleActivation:
    activation = FlexibleActivation(3, pieces).double()
    with torch.no_grad():
        activation.coefficients.copy_(draw(3, pieces + 3))
        activation.low.copy_(torch.tensor([-1.0, 0.5, -3.0]))
        activation.high.copy_(torch.tensor([2.0, 0.75, 4.0]))
    return activation


def test_the_splines_are_those_of_scipy() -> None:
    from scipy.interpolate import BSpline  # noqa: PLC0415

    activation = spline()
    for channel in range(3):
        low, high = float(activation.low[channel]), float(activation.high[channel])
        h = (high - low) / 5
        knots = low + h * np.arange(-3, 9)
        wanted = BSpline(knots, activation.coefficients[channel].detach().numpy(), 3)
        t = torch.linspace(low, high, 50, dtype=torch.float64)
        said = activation(t[:, None].expand(-1, 3))[:, channel]
        assert np.allclose(said.detach().numpy(), wanted(t.numpy()))
        beyond = torch.tensor([low - 2, high + 3], dtype=torch.float64)
        line = activation(beyond[:, None].expand(-1, 3))[:, channel].detach().numpy()
        ends = np.array([low, high])
        assert np.allclose(line, wanted(ends) + wanted(ends, 1) * np.array([-2, 3]))


def test_the_slopes_stay_within_their_bounds_and_the_bounds_are_not_loose() -> None:
    activation = spline()
    t = torch.linspace(-8, 8, 8001, dtype=torch.float64)[:, None].expand(-1, 3)
    _, found = values_and_slopes(table_of(activation.coefficients), activation.low, activation.high, t)
    least, most = activation.slopes()
    assert bool((found.amin(0) >= least - 1e-9).all())
    assert bool((found.amax(0) <= most + 1e-9).all())
    assert bool((found.amax(0) - found.amin(0) > 0.3 * (most - least)).all())  # a tenth of the bounds would be refuted
    numeric = activation(t).detach().diff(dim=0) / t.diff(dim=0)
    assert torch.allclose(numeric, (found[1:] + found[:-1]).detach() / 2, atol=0.2)


def test_a_flexible_activation_acts_on_channels_and_begins_as_the_identity() -> None:
    x = draw(2, 3, 4, 5)
    assert torch.allclose(FlexibleActivation(3).double()(x), x)
    activation = spline()
    said = activation(x)
    assert torch.allclose(said.movedim(1, -1).flatten(0, 2), activation(x.movedim(1, -1).flatten(0, 2)))
    assert bool(activation(torch.full((1, 3), torch.nan, dtype=torch.float64)).isnan().all())
    splines, slopes = design(activation.low, activation.high, 5, x[:, :, 0, 0])
    wanted = torch.einsum("ckj,cj->kc", splines, activation.coefficients)
    assert torch.allclose(wanted, activation(x[:, :, 0, 0]))
    assert torch.allclose(slopes.sum(2), torch.zeros(3, 2, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("convolutions", [False, True])
def test_a_network_of_few_directions_becomes_as_many_units(tensorly, convolutions: bool) -> None:
    network = repeated(convolutions)
    x = draw(400, 12).float() if not convolutions else draw(8, 12, 9, 9).float()
    found = compress(network, x, method="decouple", rank=3)
    assert [type(module).__name__ for module in found.network] == [
        *(("Conv2d", "FlexibleActivation", "Conv2d") if convolutions else ("Linear", "FlexibleActivation", "Linear"))
    ]
    (report,) = found.layers
    assert isinstance(report, BlockReport)
    assert (report.name, report.rank, report.remark) == ("0..2", 3, "")
    assert report.kept == sum(parameter.numel() for parameter in found.network.parameters()) < report.weights
    assert report.weights == sum(parameter.numel() for parameter in network.parameters())
    y = draw(*x.shape, seed=7).float()
    with torch.no_grad():
        assert relative(found.network(y), network(y)) < 1e-4
    assert report.error < 1e-4
    assert found.sparsity == pytest.approx(1 - report.kept / report.weights)


def test_a_rank_too_low_is_said_with_its_error_and_a_seed_decides(tensorly) -> None:
    network, x = repeated(), draw(100, 12).float()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = (compress(network, x, method="decouple", rank=1, seed=3) for _ in range(2))
    (report,) = first.layers
    assert report.error > 0.01
    assert f"0..2: rank 1 leaves an error of {report.error:.2e}" in report.remark
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    again = second.network.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.network.state_dict().items())


def test_without_a_rank_the_fewest_units_are_found(tensorly) -> None:
    found = compress(repeated(), draw(160, 12).float(), method="decouple")
    (report,) = found.layers
    assert report.rank == 3
    assert report.error <= 1e-3


def mixed() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Sequential(nn.Conv2d(16, 24, 1), nn.ReLU(), nn.Conv2d(24, 16, 1)), nn.ReLU(),
        nn.Conv2d(16, 1, 3, padding=1), nn.Flatten(), nn.Linear(64, 30), nn.Tanh(),
    ).eval()  # fmt: skip


def test_blocks_are_successions_and_what_is_between_stays(tensorly) -> None:
    network = mixed()
    parts = blocks_of(network)
    named = [part.name if isinstance(part, Block) else part[0] for part in parts]
    assert named == ["0", "1", "2.0..2.2", "3", "4", "5", "6"]
    assert [len(part.modules) for part in parts if isinstance(part, Block)] == [3, 2]
    x = draw(80, 1, 8, 8).float()
    for part in parts:
        x = part(x) if isinstance(part, Block) else part[1](x)
    assert torch.equal(x, network(draw(80, 1, 8, 8).float()))
    found = compress(network, draw(80, 1, 8, 8).float(), method="decouple", rank=2)
    assert [type(module).__name__ for module in found.network] == [
        "Conv2d", "ReLU", "Conv2d", "FlexibleActivation", "Conv2d", "ReLU", "Conv2d", "Flatten",
        "Linear", "FlexibleActivation", "Linear",
    ]  # fmt: skip
    assert torch.equal(found.network[0].weight, network[0].weight)
    assert found.network(draw(2, 1, 8, 8).float()).shape == (2, 30)


def test_a_block_that_would_not_get_smaller_is_left_and_said(tensorly) -> None:
    network = nn.Sequential(*perceptron(12, 60, 12), nn.Flatten(), nn.Linear(12, 12), nn.ReLU()).eval()
    found = compress(network, draw(100, 12).float(), method="decouple", rank=6)
    small, left = found.layers
    assert (small.rank, left.rank) == (6, None)
    assert left.remark == "4: it is as it was, because at most rank 3 would save numbers."
    assert torch.equal(found.network[4].weight, network[4].weight)


@pytest.mark.parametrize(
    ("network", "options", "said"),
    [
        (lambda: nn.Sequential(nn.Conv2d(12, 2, 3), nn.ReLU()), {}, "no matrix and no convolution of 1 x 1"),
        (lambda: nn.Sequential(nn.Linear(12, 2)), {}, "no matrix and no convolution of 1 x 1 with an activation"),
        (lambda: nn.Sequential(nn.Linear(12, 2), nn.GELU()), {}, "1: GELU is not"),
        (lambda: nn.Sequential(FlexibleActivation(12), nn.Linear(12, 2)), {}, "0: FlexibleActivation is not u"),
        (lambda: nn.Sequential(nn.Linear(12, 1), nn.ReLU()), {}, "0 has 13 numbers, and one unit has 26"),
        (lambda: perceptron(12, 40, 5), {"rank": 0}, "rank = 0; expected 1 to 23"),
        (lambda: perceptron(12, 40, 5), {"rank": 24}, "rank = 24; expected 1 to 23"),
        (lambda: perceptron(7, 40, 5), {"rank": 2}, r"0..2: its input has shape \(100, 12\).*7 of them"),
        (lambda: perceptron(12, 40, 5), {"sparsity": 0.5}, "sparsity = 0.5 with method"),
        (lambda: perceptron(12, 40, 5), {"structured": True}, "structured with method"),
        (lambda: perceptron(12, 40, 5), {"method": "decopule"}, "did you mean 'decouple'"),
        (lambda: perceptron(12, 40, 5), {"method": "inclusion"}, "without a sparsity"),
        (lambda: perceptron(12, 40, 5), {"method": "inclusion", "rank": 3, "sparsity": 0.5}, "a rank is of"),
        (lambda: make(DnCNNConfig(features=4, depth=3)), {}, "DnCNN: it has no matrix.*python:FILE.py:CALLABLE"),
        (lambda: make(RIDGE), {}, "ConvexRidge: its filters are tied"),
        (nn.Identity, {}, "Identity: it is not understood"),
    ],
)  # fmt: skip
def test_what_cannot_be_decoupled_is_refused(tensorly, network, options, said) -> None:
    with pytest.raises(UsageError, match=said):
        compress(network(), draw(100, 12).float(), **{"method": "decouple", **options})


def test_too_few_or_equal_samples_are_refused(tensorly) -> None:
    with pytest.raises(UsageError, match="there are 15 samples of what it sees to fit it to; expected 48"):
        compress(perceptron(12, 40, 5), draw(20, 12).float(), method="decouple", rank=2)
    with pytest.raises(UsageError, match="there are 0 samples"):  # of one image all is held out
        compress(repeated(True), draw(1, 12, 9, 9).float(), method="decouple", rank=2)
    with pytest.raises(UsageError, match="the same for all samples"):
        compress(perceptron(12, 40, 5), torch.ones(100, 12), method="decouple", rank=2)


def test_without_tensorly_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorly", None)
    with pytest.raises(UsageError, match=r"tensorly, which.*not installed.*recon-imaging\[decouple\]"):
        compress(perceptron(12, 40, 5), draw(100, 12).float(), method="decouple", rank=2)
