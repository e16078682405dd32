"""Compression of whole networks: how many weights are left, what they say, and what is refused by name."""

import copy
import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn

from recon.certificates.lipschitz_search import jacobian_norm
from recon.compression import compress
from recon.compression import ridges as ridges_module
from recon.compression.dncnn import links_of, with_links
from recon.compression.sequential import links_of as sequential_links
from recon.errors import UsageError
from recon.priors.networks import (
    ConvexRidgeConfig,
    DnCNNConfig,
    GuidedRidgeConfig,
    LipschitzConfig,
    make,
)
from recon.training.sparsity import keep_largest

LEVELS = (0.05, 0.2)
RIDGE = {"widths": (3, 8), "size": 3, "pieces": 5, "levels": 2, "noise_range": LEVELS}


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridges_module, "STEPS", 40)


def images(count: int = 6, channels: int = 1, side: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, side).expand(count, channels, side, side)
    return ramp + 0.1 * torch.randn(ramp.shape, generator=generator)


def redundant(make_modules: Callable[[], list[nn.Module]]) -> nn.Sequential:
    """A network most of whose weights are small beside a few, the same at every call."""
    torch.manual_seed(0)
    network = nn.Sequential(*make_modules())
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(torch.where(torch.rand(module.weight.shape) < 0.3, 1.0, 0.02))
                if module.bias is not None:
                    module.bias.abs_()  # so that rectifiers let something through
    return network.eval()


def distance(network: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((network(x) - other(x)).square().sum() / network(x).square().sum())


def convolutions() -> list[nn.Module]:
    return [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=2, dilation=2), nn.LeakyReLU(0.1),
            nn.Conv2d(6, 1, 3, stride=2, padding=1, padding_mode="circular")]  # fmt: skip


def matrices() -> list[nn.Module]:
    return [nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 10, bias=False), nn.Softplus(), nn.Linear(10, 3)]


def mixed() -> list[nn.Module]:
    return [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 18 * 18, 5), nn.Softmax(dim=1)]


@pytest.mark.parametrize("modules", [convolutions, matrices, mixed], ids=lambda each: each.__name__)
def test_a_sequential_network_keeps_what_it_says(modules: Callable[[], list[nn.Module]]) -> None:
    network = redundant(modules)
    x = torch.randn(400, 8, generator=torch.Generator().manual_seed(1)) if modules is matrices else images(12)
    found = compress(network, x, 0.5)
    for (name, before), (_, after) in zip(network.named_parameters(), found.network.named_parameters(), strict=True):
        assert after.shape == before.shape
        if name.endswith("weight"):
            assert int((after != 0).sum()) <= round(0.5 * before.numel())
    assert found.sparsity >= 0.48
    assert 0 < distance(network, found.network, x) < 0.02


def test_the_given_network_is_not_changed_and_a_seed_decides() -> None:
    network, x = redundant(convolutions), images()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = (compress(network, x, 0.6, seed=3).network.state_dict() for _ in range(2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_beats_magnitude_pruning() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise((1, 8, 8, 8, 1))]
    network = nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))[:-1]
    x = images(12)
    found = compress(network, x, 0.7).network
    ours = distance(network, found, x)
    pruned = copy.deepcopy(network)
    with torch.no_grad():
        for module in pruned:
            if isinstance(module, nn.Conv2d):
                keep_largest(module.weight, round(0.3 * module.weight.numel()))
    assert ours < 0.1 * distance(network, pruned, x)


def test_whole_filters_go_and_what_is_left_is_dense() -> None:
    network = redundant(lambda: [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
                                 nn.Flatten(), nn.Linear(8 * 400, 3)])  # fmt: skip
    with torch.no_grad():
        network[0].weight[5:] = 0  # filters that say nothing but their bias
        network[0].bias[5:] = 0
    x = images(60)
    found = compress(network, x, 0.6, structured=True).network
    assert found[0].weight.shape == (5, 1, 3, 3)
    assert found[2].weight.shape == (5, 5, 3, 3)
    assert found[5].weight.shape == (3, 5 * 400)
    assert found[0].out_channels == found[2].in_channels == 5
    assert found[5].in_features == 2000
    assert found(x).shape == network(x).shape
    assert torch.equal(found[0].weight, network[0].weight[:5])


@pytest.mark.parametrize(
    ("modules", "named"),
    [
        ((nn.Conv2d(1, 2, 3), nn.GELU()), "1: GELU is not the proximity operator.*-0.129 to 1.129"),
        ((nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), "1: BatchNorm2d is no layer.*folded"),
        ((nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)), "1: MaxPool2d is not understood"),
        ((nn.Conv2d(2, 2, 3, groups=2),), "0: a convolution of 2 groups"),
        ((nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"),), "0: padding_mode = 'reflect'"),
        ((nn.Sequential(nn.ConvTranspose2d(1, 2, 3)),), "0.0: ConvTranspose2d is not understood"),
        ((nn.Conv2d(1, 2, 3), nn.LeakyReLU(1.5)), "1: LeakyReLU.*slope is 1.5"),
        ((nn.Conv2d(1, 2, 3), nn.ELU(2.0)), "1: ELU.*slopes reach 2"),
        ((nn.Conv2d(1, 2, 3), nn.PReLU(init=-0.2)), "1: PReLU.*slopes run from -0.2"),
        ((nn.Conv2d(1, 2, 3), nn.Softmax(dim=3)), "1: Softmax.*dimension 3"),
        ((nn.ReLU(),), "no convolution and no matrix"),
        ((nn.Conv2d(1, 2, 3), nn.Flatten()), "ends with Flatten"),
    ],
)
def test_what_is_not_understood_is_named(modules: tuple[nn.Module, ...], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        compress(nn.Sequential(*modules), images(), 0.5)


def test_values_out_of_range_are_refused() -> None:
    network = redundant(convolutions)
    for sparsity in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(UsageError, match="sparsity"):
            compress(network, images(), sparsity)
    with pytest.raises(UsageError, match="finite real numbers"):
        compress(network, images() * float("nan"), 0.5)
    with pytest.raises(UsageError, match=r"0: its input has shape .*channels, height, width\), 1 of them"):
        compress(network, images(channels=2), 0.5)
    with pytest.raises(UsageError, match=r"0: its input has shape \(4, 3\)"):
        compress(redundant(matrices), torch.zeros(4, 3), 0.5)
    with pytest.raises(UsageError, match=r"Softmax.*structured"):
        compress(nn.Sequential(*mixed()), images(), 0.5, structured=True)
    with pytest.raises(UsageError, match="a single layer"):
        compress(nn.Sequential(nn.Conv2d(1, 2, 3)), images(), 0.5, structured=True)
    with pytest.raises(UsageError, match="Module is not understood"):
        compress(nn.Module(), images(), 0.5)
    with pytest.raises(UsageError, match="Lipschitz network derives"):
        compress(make(LipschitzConfig(features=4, depth=2)), images(), 0.5)


@pytest.mark.parametrize(
    "config",
    [
        DnCNNConfig(features=6, depth=4),
        DnCNNConfig(features=6, depth=3, conditioned=True, coarse=2.0, clip=0.5, padding="circular"),
    ],
    ids=["plain", "details"],
)
@pytest.mark.parametrize("structured", [False, True])
def test_a_dncnn_stays_one(config: DnCNNConfig, structured: bool) -> None:
    torch.manual_seed(0)
    network = make(config).eval()
    x, level = images(10), torch.linspace(*LEVELS, 10)
    found = compress(network, x, 0.5, noise_level=level, structured=structured).network
    assert found.config.features == (4 if structured else 6)
    told = level if config.conditioned else None
    with torch.no_grad():
        dense = network.residual(x, told)
        assert (found.residual(x, told) - dense).square().sum() < 0.3 * dense.square().sum()


def test_the_chain_of_a_dncnn_says_what_its_layers_say() -> None:
    torch.manual_seed(0)
    network = make(DnCNNConfig(features=4, depth=4, padding="circular")).eval()
    z = network.layer_input(images())
    for link in links_of(network):
        z = link(z)
    assert torch.allclose(z, network.residual(images()), atol=1e-6)
    again = with_links(network, links_of(network))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


def test_the_rows_of_a_layer_are_what_it_sees() -> None:
    layer = nn.Conv2d(2, 3, (3, 5), stride=2, padding=(1, 2), dilation=(1, 2))
    (link, *_) = sequential_links(nn.Sequential(layer))
    x = images(3, 2)
    z = link.linear(x)
    places = torch.tensor([0, 7, z[0, 0].numel() + 3, z[:, 0].numel() - 1])
    rows = link.rows(x, places)
    wanted = z.permute(0, 2, 3, 1).reshape(-1, 3)[places]
    assert torch.allclose(rows @ link.weight.flatten(1).mT + link.bias, wanted, atol=1e-5)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("structured", [False, True])
def test_a_potential_stays_one_and_near(group: int, structured: bool) -> None:
    torch.manual_seed(0)
    network = make(ConvexRidgeConfig(**RIDGE, group=group)).eval()
    x, level = images(6), torch.linspace(*LEVELS, 6)
    found = compress(network, x, 0.5, noise_level=level, structured=structured)
    small = found.network
    claim = small.lipschitz_Q(0.1)
    assert (claim.value, claim.evidence.value) == (1.0, "proved")
    if structured:
        assert small.config.widths == (3, 4)
    else:
        last = small.filters.kernels[1]
        assert int((last != 0).sum()) <= round(0.5 * last.numel())
    assert all(report.error < 0.5 for report in found.layers)
    point, along = images(1), small.derivative(images(1), 0.1)
    assert jacobian_norm(along, point)[0].value <= 1 + 1e-3
    v = torch.randn(point.shape, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(along.forward(v), along.transpose(v))  # symmetric: the tie is kept


@pytest.mark.parametrize("structured", [False, True])
def test_a_mask_network_goes_with_its_potential(structured: bool) -> None:
    torch.manual_seed(0)
    network = make(GuidedRidgeConfig(**RIDGE, mask_width=4)).eval()
    with torch.no_grad():
        network.mask.corrector.leave.weight.normal_(std=0.1)
    x, level = images(6), torch.linspace(*LEVELS, 6)
    found = compress(network, x, 0.5, noise_level=level, structured=structured).network
    with torch.no_grad():
        before, after = network(x, level), found(x, level)
    assert (before - after).square().mean() < 0.1 * (before - x).square().mean()
    enter = found.mask.corrector.enter.weight
    if structured:
        assert enter.shape == (4, 5, 1, 1)
    else:
        assert int((enter != 0).sum()) <= round(0.5 * enter.numel())


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"sparsity": 0.5, "structured": True}])
def test_layers_with_numbers_that_are_none_are_refused(part: str, value: float, layer: int, options) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 3))
    with torch.no_grad():
        getattr(network[layer], part)[0] = value
    with pytest.raises(UsageError, match=rf"^{layer}: .* are NaN or infinite"):
        compress(network, torch.rand(2, 1, 16, 16), **options)


def test_a_potential_of_a_lifting_is_refused() -> None:
    network = make(ConvexRidgeConfig(widths=(6,), size=3, lifting=2, noise_range=(0.1, 0.1)))
    with pytest.raises(UsageError, match=r"lifting=2: expected DnCNN, ConvexRidge.* without a lifting"):
        compress(network, torch.rand(1, 1, 16, 16), 0.5)


def test_a_potential_of_one_convolution_is_refused() -> None:
    network = make(ConvexRidgeConfig(widths=(4,), size=3, pieces=5, noise_range=(0.1, 0.1)))
    with pytest.raises(UsageError, match="one convolution"):
        compress(network, images(), 0.5)
