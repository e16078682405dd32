"""By strips of rows, in any layout and in single precision: the same image as by plain layers."""

import pytest
import torch
from network_cases import CASES, Case, images, network_of
from torch import Tensor, nn
from torch.nn import functional

from recon.priors.networks import DnCNNConfig, LipschitzConfig, learned_prior, make, resolvent
from recon.priors.networks.layers import strip_evaluation
from recon.priors.networks.layers.strip_evaluation import Stage, through

CHAINS = [case for case in CASES if case.config.family not in ("ConvexRidge", "ConvolutionalSparseCoding")]
SHAPES = ((1, 40, 9), (2, 37, 13), (3, 61, 1), (2, 1, 7))


@pytest.fixture
def short_strips(monkeypatch) -> None:
    monkeypatch.setattr(strip_evaluation, "_HELD", 600)
    monkeypatch.setattr(strip_evaluation, "_LEAST_ROWS", 1)


@pytest.mark.usefixtures("short_strips")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", CHAINS, ids=lambda case: case.name)
def test_strips_change_nothing(case: Case, shape: tuple[int, int, int]) -> None:
    network, x = network_of(case), images(case, *shape)
    whole = network(x, case.level)  # a gradient may be asked for, so there are no strips
    with torch.no_grad():
        assert torch.allclose(network(x, case.level), whole, rtol=0, atol=1e-12)
    single = network.frozen(torch.float32)
    with torch.no_grad():
        found = single(x.float(), case.level)
    assert torch.allclose(found.double(), whole, rtol=0, atol=1e-5 * float(whole.abs().max()))
    assert found.is_contiguous()


@pytest.mark.parametrize("reach", [1, 2, 3])
@pytest.mark.parametrize("rows", [9, 10, 17])
def test_a_strip_is_no_larger_than_it_must_be(monkeypatch, reach: int, rows: int) -> None:
    monkeypatch.setattr(strip_evaluation, "_HELD", rows * 5)
    monkeypatch.setattr(strip_evaluation, "_LEAST_ROWS", 1)
    kernel, seen = torch.rand(1, 1, 2 * reach + 1, 1), []

    def blur(z: Tensor) -> Tensor:
        seen.append(z.shape[2])
        return functional.conv2d(z, kernel, padding=(reach, 0))

    x = torch.rand(1, 1, 100, 5)
    chain = [Stage(blur, reach), Stage(blur, reach)]
    whole = blur(blur(x))
    seen.clear()
    with torch.no_grad():
        assert torch.allclose(through(chain, x, 1, "zero"), whole, atol=1e-5 * float(whole.max()))
    assert len(seen) > 6
    assert max(seen) <= max(rows, 4 * reach + 1) + 4 * reach


def test_a_large_batch_is_taken_a_few_items_at_a_time(monkeypatch) -> None:
    monkeypatch.setattr(strip_evaluation, "_HELD", 2 * 30)
    seen = []

    def count(z: Tensor) -> Tensor:
        seen.append(len(z))
        return z

    x = torch.rand(5, 1, 6, 5)
    with torch.no_grad():
        assert torch.equal(through([Stage(count, 1)], x, 1, "zero"), x)
    assert seen == [2, 2, 1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(31, 45), (64, 64)], ids=str)
def test_a_network_is_its_plain_layers(channels: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = make(DnCNNConfig(channels=channels, features=8, depth=5))
    nn.init.kaiming_normal_(network.kernels[-1], a=0.01)
    layers: list[nn.Module] = []
    for kernel, bias in zip(network.kernels, network.biases, strict=True):
        layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
        layer.weight, layer.bias = kernel, bias
        layers += [layer, nn.LeakyReLU(0.01)]
    plain, x = nn.Sequential(*layers[:-1]), torch.rand(2, channels, *size)
    expected = x - plain(x)
    assert torch.allclose(resolvent(network)(x), expected, rtol=0, atol=1e-5 * float(expected.detach().abs().max()))


def test_a_resolvent_still_has_a_gradient() -> None:
    network = network_of(Case("", LipschitzConfig(features=4, depth=2)))
    x = images(Case("", network.config), 1, 9, 8).requires_grad_()
    known = learned_prior(network).resolvent(1.0)
    weights = torch.rand(1, 1, 9, 8, dtype=torch.float64)
    (known(x) * weights).sum().backward()
    derivative = network.derivative(x.detach())
    assert torch.allclose(x.grad, (weights + derivative.transpose(weights)) / 2, atol=1e-12)
