"""A learned resolvent on the CPU, 512 x 512, float32: ours against the same weights as plain layers of torch.

The peer is what one writes by hand: an ``nn.Module`` of standard layers in the default layout, and for the proximity
operator the same inner iteration with ``conv2d`` and ``conv_transpose2d`` on the whole image.

Target: at most 0.7 of the peer's time, and the same image up to 1e-5.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from timing import compare, report
from torch import Tensor, nn
from torch.nn import functional

from recon.priors.networks import (
    Config,
    ConvexRidge,
    ConvexRidgeConfig,
    DnCNN,
    DnCNNConfig,
    InnerSolver,
    LipschitzConfig,
    LipschitzNetwork,
    Network,
    make,
    resolvent,
)
from recon.priors.networks.architectures.ridge_potential import Ridge
from recon.priors.networks.architectures.ridge_prox import prox
from recon.types import Map

SIDE, ROUNDS, TARGET, AGREEMENT = 512, 2, 0.7, 1e-5

_RIDGE = ConvexRidgeConfig(noise_range=(0.1, 0.1))
FAMILIES: dict[str, Config] = {
    "DnCNN, 20 x 64, grey": DnCNNConfig(),
    "DnCNN, 20 x 64, colour": DnCNNConfig(channels=3),
    "LipschitzNetwork, 10 residual layers of 64": LipschitzConfig(),
    "LipschitzNetwork, 10 rescaled layers of 64": LipschitzConfig(layers="aol", activation="maxmin"),
    "ConvexRidge, one shot": replace(_RIDGE, one_shot=True),
    "ConvexRidge, prox": _RIDGE,
}


def run() -> dict[str, dict]:
    return {name: case(config) for name, config in FAMILIES.items()}


def case(config: Config) -> dict:
    network = network_of(config)
    x = image(config, SIDE)
    ours, theirs = resolvent(network), plain(network)
    with torch.inference_mode():
        require_agreement(config.family, ours(x), theirs(x))
        timed = {"ours": lambda: ours(x), "plain torch": lambda: theirs(x)}
        return compare(timed, ROUNDS, warm_up=1, targets={"plain torch": TARGET})


def network_of(config: Config) -> Network:
    """A network that is not the identity."""
    torch.manual_seed(0)
    network = make(config)
    if isinstance(network, DnCNN):
        nn.init.kaiming_normal_(network.kernels[-1], a=network.config.slope)
        with torch.no_grad():
            network.kernels[-1].mul_(0.1)
    return network


def image(config: Config, side: int) -> Tensor:
    """A smooth image with noise."""
    at = torch.linspace(-1, 1, side)
    disc = torch.exp(-4 * (at[:, None] ** 2 + (at[None, :] - 0.2) ** 2)).expand(1, config.channels, side, side)
    return disc + 0.1 * torch.randn(disc.shape, generator=torch.Generator().manual_seed(0))


def require_agreement(what: str, ours: Tensor, theirs: Tensor) -> None:
    """A time means something only if the results are the same."""
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    if not error <= AGREEMENT:
        raise SystemExit(f"{what}: ours and plain torch differ by {error:.2g} of the maximum; expected {AGREEMENT:g}.")


def plain(network: Network) -> Map:
    """The same map of standard layers, with the weights derived beforehand."""
    twin = network.frozen(torch.float32)
    if isinstance(twin, DnCNN):
        return Minus(convolutions(twin))
    if isinstance(twin, LipschitzNetwork):
        return Averaged(nn.Sequential(*lipschitz_layers(twin)))
    assert isinstance(twin, ConvexRidge)
    ridge = PlainRidge(twin.ridge())
    return ridge.one_shot if twin.config.one_shot else lambda x: prox(ridge, x, InnerSolver())


def convolutions(network: DnCNN) -> nn.Sequential:
    layers: list[nn.Module] = []
    for kernel, bias in zip(network.kernels, network.biases, strict=True):
        layers += [convolution(kernel, bias), nn.LeakyReLU(network.config.slope)]
    return nn.Sequential(*layers[:-1])


def convolution(kernel: Tensor, bias: Tensor | None) -> nn.Conv2d:
    layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], padding=kernel.shape[2] // 2)
    layer.weight = parameter(kernel)
    layer.bias = None if bias is None else parameter(bias)
    return layer


def parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.clone(memory_format=torch.contiguous_format), requires_grad=False)


def lipschitz_layers(network: LipschitzNetwork) -> Iterator[nn.Module]:
    yield convolution(network.lift.derived()[0], None)
    for layer in network.layers:
        kernel, *gains = layer.derived()
        if gains:
            yield Residual(kernel, layer.bias, gains[0])
        else:
            yield nn.Sequential(convolution(kernel, layer.bias), MaxMin())
    yield convolution(network.lower.derived()[0], None)


class Minus(nn.Module):
    def __init__(self, residual: nn.Module) -> None:
        super().__init__()
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        return x - self.residual(x)


class Averaged(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.inner(x)) / 2


class Residual(nn.Module):
    """``x - K^T (g s(K x + b))``."""

    def __init__(self, kernel: Tensor, bias: Tensor, gains: Tensor) -> None:
        super().__init__()
        hidden, features = kernel.shape[:2]
        self.inward, self.gains = convolution(kernel, bias), gains.view(1, -1, 1, 1)
        self.outward = nn.ConvTranspose2d(hidden, features, kernel.shape[2], padding=kernel.shape[2] // 2, bias=False)
        self.outward.weight = parameter(kernel)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.outward(self.gains * functional.relu(self.inward(x)))


class MaxMin(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], 1)


@dataclass(frozen=True)
class PlainRidge:
    """The gradient of a potential by two convolutions of the whole image."""

    ridge: Ridge
    mask = None

    @property
    def mean_weight(self) -> Tensor:
        return self.weight

    @property
    def smoothness(self) -> Tensor:
        return self.weight

    @property
    def weight(self) -> Tensor:
        return self.ridge.weight

    @property
    def kernel(self) -> Tensor:
        return self.ridge.kernel

    @property
    def padding(self) -> str:
        return self.ridge.padding

    @property
    def has_kinks(self) -> bool:
        return self.ridge.has_kinks

    @property
    def memory(self) -> int:
        return self.ridge.memory

    def curvature(self, x: Tensor) -> Map:
        return self.ridge.curvature(x)

    def preconditioner(self, like: Tensor) -> Map:
        return self.ridge.preconditioner(like)

    def gradient(self, x: Tensor) -> Tensor:
        kernel, scale = self.ridge.kernel.contiguous(), self.ridge.scale
        reach = kernel.shape[-1] // 2
        z = functional.conv2d(x, kernel, padding=reach)
        z = scale * self.ridge.profile.influence(z / scale)
        return self.weight * functional.conv_transpose2d(z, kernel, padding=reach)

    def certified(self, y: Tensor, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm((x - y + self.gradient(x)).flatten(1).double(), dim=1)

    def one_shot(self, x: Tensor) -> Tensor:
        return x - self.gradient(x)


if __name__ == "__main__":
    report(run, __doc__)
